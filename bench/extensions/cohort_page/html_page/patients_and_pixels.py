"""Sections of the cohort page on patients and on pixels."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from bench.extensions.cohort_page.html_page import figures as draw
from bench.extensions.cohort_page.html_page import sentences as say
from bench.extensions.cohort_page.html_page.content import DataPage
from bench.extensions.cohort_page.statistics.cohort_statistics import Stats
from bench.extensions.cohort_page.statistics.group_counts import NOT_STATED
from bench.extensions.cohort_page.statistics.image_sample import ImageSample
from reports.formatting import integer, is_number, percent, places
from reports.html.section import Section, write

VIEW_CSS = {"PA": "dot", "AP": "bar1", "FRONTAL": "s-not", "LATERAL": "s-unc", "UNKNOWN": "s-unm"}
VIEW_WORDS = {"FRONTAL": "frontal (AP or PA not stated)", "LATERAL": "lateral", "UNKNOWN": "unknown"}
SEX_CSS = {"F": "bar1", "M": "s-abs", NOT_STATED: "s-not"}
SEX_WORDS = {"F": "women", "M": "men"}
DECADES = (*(f"{10 * d:02d}-{10 * d + 9:02d}" for d in range(9)), "90+")
STARTS = tuple(str(10 * d) for d in range(10))  # first age of each decade, the text below a column of the histogram


def patients(page: DataPage) -> Section:
    """Write the section on views, sex, age, devices, and number of images per patient and per study."""
    women = {
        page.title(s): (g.get("F", 0), g.get("F", 0) + g.get("M", 0))
        for s in page.cohorts
        for g in [page.images(s, "sex")]
    }
    devices = [(s, _devices(page, s)) for s in page.cohorts]
    content = {
        "rows": [_person(page, s) for s in page.cohorts],
        "key": {"sex": _key(page, "sex", SEX_CSS, SEX_WORDS), "view": _key(page, "view", VIEW_CSS, VIEW_WORDS)},
        "axis": draw.age_axis(),
        "title": say.age({page.title(s): s.facts["age_median"] for s in page.cohorts}),
        "women": say.sex(women, [name for name, (_, number) in women.items() if not number]),
        "ages": _ages(page),
        "old": say.aged_80({page.title(s): _old(page.images(s, "age")) for s in page.cohorts}),
        "decades": [*DECADES, NOT_STATED],
        "counts": {s.name: page.images(s, "age") for s in page.cohorts},
        "devices": [(s, rows) for s, rows in devices if rows],
        "device_title": say.devices({page.title(s): len(rows) for s, rows in devices}),
        "owners": [_owners(page, "images per patient", "patients"), _owners(page, "images per study", "studies")],
        "per_title": say.per_patient({page.title(s): _most(s) for s in page.cohorts}),
    }
    return Section("patients", "Patients", write("cohort_patients.html.j2", page=page, **content))


def pixels(page: DataPage) -> Section:
    """Write the section on sizes, gray values and pictures; it is empty if no image was opened."""
    if not page.samples:
        return Section("pixels", "", Markup(""))
    sampled = [(s, page.samples[s.name]) for s in page.cohorts if s.name in page.samples]
    read = [(s, sample) for s, sample in sampled if sample.readable]
    aspects = [float(a) for _, x in read for a in x.sizes["width"] / x.sizes["height"]]
    median_sizes = {
        page.title(s): (float(x.sizes["width"].median()), float(x.sizes["height"].median())) for s, x in read
    }
    gray = {page.title(s): float(np.median(x.medians)) for s, x in read}
    cohort_pictures = [
        (s, page.pictures[s.name]) for s in page.cohorts if s.name in page.pictures and page.pictures[s.name].pictures
    ]
    content = {
        "blocks": _blocks(page, read),
        "sizes": say.sizes(median_sizes, aspects),
        "gray": say.gray(gray),
        "unreadable": [(page.title(s), x) for s, x in sampled if x.unreadable],
        "drawn": max(x.drawn for _, x in sampled),
        "cohort_pictures": cohort_pictures,
        "shown": say.picture_count(
            [p.words for _, pictures_of_cohort in cohort_pictures for p in pictures_of_cohort.pictures],
            len(cohort_pictures),
        ),
        "kinds": say.kinds(sum(len(names) for names in page.variants), len(page.variants)),
        "hidden": [page.title(s) for s, _ in sampled if not s.phantom and s.name not in page.pictures],
    }
    return Section("pixels", "Pixels", write("cohort_pixels.html.j2", page=page, **content))


def _person(page: DataPage, stats: Stats) -> dict[str, Any]:
    """Return the row of a cohort in the table of patients; a cell is "" if the cohort does not record the attribute."""
    sex, view, statistics = page.images(stats, "sex"), page.images(stats, "view"), stats.facts
    with_sex = sex.get("F", 0) + sex.get("M", 0)
    ages = (statistics["age_low"], statistics["age_median"], statistics["age_high"])
    return {
        "stats": stats,
        "sex": draw.stacked(sex, SEX_CSS, 110),
        "women": percent(sex.get("F", 0), with_sex) if with_sex else "",
        "view": draw.stacked(view, VIEW_CSS, 110),
        "pa": percent(view.get("PA", 0), sum(view.values())) if set(view) - {"FRONTAL"} else "",
        "age": draw.quartiles(*ages) if is_number(statistics["age_median"]) else "",
        "per_patient": places(statistics["images"] / max(1, statistics["patients"]), 2),
        "per_study": places(statistics["images"] / max(1, statistics["studies"]), 2),
    }


def _key(page: DataPage, attribute: str, css: dict[str, str], words: dict[str, str]) -> list[tuple[str, Markup]]:
    """Return the legend entries (name, color box) of those groups of an attribute that have images in any cohort.

    `css`: group -> CSS class of its color. `words`: group -> name on the page; other groups keep their names.
    """
    present_groups = {group for s in page.cohorts for group, number in page.images(s, attribute).items() if number}
    return [
        (words.get(group, group), draw.swatch(css_class)) for group, css_class in css.items() if group in present_groups
    ]


def _ages(page: DataPage) -> list[tuple[Stats, Markup]]:
    """Return (cohort, age histogram) for each cohort that records age; all histograms have the same axes.

    A line shows the histogram of all these cohorts together.
    """
    stated = [s for s in page.cohorts if is_number(s.facts["age_median"])]
    shares = {s.name: _shares([page.images(s, "age").get(d, 0) for d in DECADES]) for s in stated}
    all_cohorts = _shares([sum(page.images(s, "age").get(d, 0) for s in stated) for d in DECADES])
    top = max([0.1, *(share for cohort_shares in shares.values() for share in cohort_shares)])
    figures = []
    for stats in stated:
        cohort_shares = shares[stats.name]
        spoken = ", ".join(f"{d} {percent(v, 1)}" for d, v in zip(DECADES, cohort_shares, strict=True))
        label = f"Ages in {page.title(stats)} by decade: {spoken}"
        figures.append((stats, draw.columns(cohort_shares, STARTS, top, label, all_cohorts if len(stated) > 1 else ())))
    return figures


def _shares(counts: Sequence[int]) -> list[float]:
    total = sum(counts)
    return [number / total if total else 0.0 for number in counts]


def _old(counts: dict[str, int]) -> tuple[int, int]:
    """Return two numbers of images: of patients aged 80 or above, and of patients with recorded age. counts: age -> images."""
    return counts.get("80-89", 0) + counts.get("90+", 0), sum(counts.get(d, 0) for d in DECADES)


def _most(stats: Stats) -> tuple[int, int, int]:
    return stats.facts["images"], stats.facts["patients"], stats.facts["most_per_patient"]


def _devices(page: DataPage, stats: Stats) -> list[dict[str, Any]]:
    counts = page.images(stats, "device")
    if set(counts) <= {NOT_STATED}:
        return []
    total = sum(counts.values())
    return [{"name": name, "images": n, "bar": draw.bar(n, total, "bar1", 110)} for name, n in counts.items()]


def _owners(page: DataPage, attribute: str, noun: str) -> dict[str, Any]:
    """Return a table: how many patients (or studies) of each cohort have 1, 2, 3 ... images.

    `attribute`: "images per patient" or "images per study"; `noun`: "patients" or "studies".
    """
    owners_of_cohort = {
        s.name: s.groups[s.groups["what"] == attribute].set_index("group")["owners"] for s in page.cohorts
    }
    groups = dict.fromkeys(group for owners in owners_of_cohort.values() for group, number in owners.items() if number)
    rows = [
        (
            group,
            [
                f"{integer(n)} ({percent(n, int(owners.sum()))})" if (n := int(owners.get(group, 0))) else "0"
                for owners in owners_of_cohort.values()
            ],
        )
        for group in sorted(map(str, groups), key=lambda group: int(group.rstrip("+").split("-")[0]))
    ]
    return {"what": attribute, "noun": noun, "rows": rows}


def _blocks(page: DataPage, read: Sequence[tuple[Stats, ImageSample]]) -> list[dict[str, Any]]:
    """Return figures and numbers of the image sizes and gray values of each cohort; all figures have the same axes."""
    if not read:
        return []
    largest = 1.06 * max(float(sample.sizes.to_numpy().max()) for _, sample in read)
    mean = np.mean([sample.histogram for _, sample in read], axis=0)
    # The third-highest bin sets the top of the axis, because the two highest bins are usually pure black and pure white.
    top = 1.15 * max(float(np.partition(sample.histogram, -3)[-3]) for _, sample in read)
    blocks = []
    for stats, sample in read:
        width, height = sample.sizes["width"], sample.sizes["height"]
        median_size, gray = (float(width.median()), float(height.median())), float(np.median(sample.medians))
        source = f"{sample.readable} images of {page.title(stats)}"
        size_label = f"Sizes of {source}: median {median_size[0]:.0f} wide and {median_size[1]:.0f} high"
        gray_label = f"Gray values of {source}: median {gray:.0f} of 255"
        aspect = width / height
        blocks.append(
            {
                "stats": stats,
                "sample": sample,
                "middle": median_size,
                "gray": gray,
                "span": (int(width.min()), int(width.max()), int(height.min()), int(height.max())),
                "aspect": [places(float(a), 2) for a in (aspect.min(), aspect.median(), aspect.max())],
                "sizes": draw.scatter(width.tolist(), height.tolist(), largest, size_label),
                "curve": draw.curve(sample.histogram, mean if len(read) > 1 else np.zeros(0), top, gray_label),
                "bins": [percent(share, 1) for share in sample.histogram.reshape(8, -1).sum(axis=1)],
            }
        )
    return blocks
