"""Make the text tables of `bench data stats`, with one column per cohort or with one or more rows per cohort."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from bench.cli.text_tables import printable, table_lines, wrapped
from bench.extensions.cohort_statistics.describe import SHARES, STATE_NAMES, Stats
from bench.extensions.cohort_statistics.image_sample import SIDES, ImageSample
from harmonize.cohorts.hospital_names import SYNTHETIC_NOTICE
from harmonize.cohorts.splits import rule
from reports.formatting import DASH, number

_LONGEST_CELL = 40  # maximum number of characters of a cell; longer texts are cut


def lines(described: Sequence[Stats], samples: Mapping[str, ImageSample]) -> list[str]:
    """Return all tables as lines of text, with blank lines between them.

    `samples`: cohort -> measurements on a sample of its images; if `samples` is empty, the table of pixels is left out.
    """
    blocks = [
        _synthetic(described),
        _flow(described),
        _prevalence(described),
        _states_without_label(described),
        _co_occurrence(described),
        _demographics(described),
        _splits(described),
    ]
    if samples:
        blocks.append(_pixels(described, samples))
    return "\n\n".join("\n".join(block) for block in blocks if block).split("\n")


def _synthetic(described: Sequence[Stats]) -> list[str]:
    """Return the notice that cohorts are synthetic, with the hospitals that they imitate; [] if no cohort is synthetic."""
    names = [f"{stats.name} is {stats.facts['title']}" for stats in described if stats.phantom]
    return [SYNTHETIC_NOTICE, *wrapped([f"{', '.join(names)}."])] if names else []


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a table as lines of text. Control characters are removed from its cells, and long cells are cut."""
    return table_lines([[_shortened(printable(cell)) for cell in row] for row in (head, *rows)])


def _shortened(cell: str) -> str:
    return cell if len(cell) <= _LONGEST_CELL else cell[: _LONGEST_CELL - 1] + "…"


def _flow(described: Sequence[Stats]) -> list[str]:
    """Return a table of each cohort's flow, and of its numbers of patients and studies.

    The rows are the steps that select images, with the number of images of each step. "- " marks a step that removes images.
    """
    steps: list[str] = []
    for stats in described:
        position = 0
        # a step that the earlier cohorts do not have is inserted after the step that precedes it in this cohort
        for step in stats.flow["step"]:
            if step in steps:
                position = steps.index(step) + 1
            else:
                steps.insert(position, step)
                position += 1
    kinds = {str(r["step"]): str(r["kind"]) for stats in described for r in stats.flow.to_dict("records")}
    rows = []
    for step in steps:
        mark = {"loss": "- ", "note": "  of these "}.get(kinds[step], "")
        rows.append([mark + step.replace("_", " "), *(number(_images(stats, step), ",") for stats in described)])
    rows += [[name, *(f"{stats.facts[name]:,}" for stats in described)] for name in ("patients", "studies")]
    title = "Images: from files to used images (`bench check` opens each: some may be unreadable)"
    return [title, *_table(["", *(s.name for s in described)], rows)]


def _images(stats: Stats, step: str) -> int | None:
    images = stats.flow.loc[stats.flow["step"] == step, "images"]
    return int(images.iloc[0]) if len(images) else None


def _prevalence(described: Sequence[Stats]) -> list[str]:
    def cell(row: dict[str, Any]) -> str:
        counted = int(row["present"] + row["absent"] + row["not_mentioned"])
        if not counted:
            return "not labeled"
        mark = "~" if row["grade"] == "approximate" else ""
        return f"{mark}{100 * row['present'] / counted:.1f} % {row['present']:,}/{counted:,}"

    head = "Findings: prevalence, positive / counted images (present, absent or not mentioned); ~: approximate mapping"
    return [head, *_by_finding(described, cell)]


def _states_without_label(described: Sequence[Stats]) -> list[str]:
    def cell(row: dict[str, Any]) -> str:
        total = sum(int(row[state]) for state in STATE_NAMES)
        if row["unmapped"] == total:
            return "not labeled"
        return " / ".join(_share(int(row[name]), total) for name in ("uncertain", "not_mentioned", "unmapped"))

    return ["No clear label: % uncertain / not mentioned / unmapped", *_by_finding(described, cell)]


def _share(count: int, total: int) -> str:
    """Return `count` as a percentage of `total`, without the percent sign; an en dash if `total` is 0."""
    return DASH if not total else "0" if not count else f"{100 * count / total:.1f}"


def _by_finding(described: Sequence[Stats], cell: Callable[[dict[str, Any]], str]) -> list[str]:
    """Return a table with one row for each finding and one column for each cohort.

    `cell`: function from a cohort's statistics of a finding (a dictionary) to the text of the cell.
    """
    tables = [{str(row["finding"]): _named(row) for row in s.findings.to_dict("records")} for s in described]
    findings = dict.fromkeys(finding for table in tables for finding in table)
    rows = [[f, *(cell(table[f]) if f in table else DASH for table in tables)] for f in findings]
    return _table(["", *(s.name for s in described)], rows)


def _named(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(key): value for key, value in row.items()}


def _co_occurrence(described: Sequence[Stats]) -> list[str]:
    """Return a table of the pairs of findings that occur together most often, three pairs per cohort.

    The pairs are chosen by the share of the images with the first finding that also have the second finding.
    """
    rows = []
    for stats in described:
        pairs = stats.together[stats.together["both"] > 0].assign(share=lambda t: t["both"] / t["has"])
        closest = pairs.sort_values(["share", "both"], ascending=False, kind="stable").head(3)
        rows += [
            [stats.name, str(r["finding"]), str(r["other"]), f"{100 * r['share']:.0f} %", f"{r['both']:,}/{r['has']:,}"]
            for r in closest.to_dict("records")
        ]
    if not rows:
        return []
    head = ["", "with", "also", "share", "images"]
    return ["Co-occurrence: of the images with a finding, the share that also has another", *_table(head, rows)]


def _demographics(described: Sequence[Stats]) -> list[str]:
    """Return a table with rows for views, sexes, ages, devices, images per patient and images per study; a column per cohort."""
    rows: list[list[str]] = []
    for what in ("view", "sex"):
        names: list[str] = []
        for stats in described:
            names += [g for g in _group(stats, what).index if g not in names]
        for name in sorted(names, key=lambda n: (n == "not stated", n)):
            cells = []
            for stats in described:
                group = _group(stats, what)
                images = int(group.get(name, 0))
                cells.append(f"{images:,} ({_share(images, int(group.sum()))} %)" if images else "0")
            rows.append([f"{what} {name}", *cells])
    ages = []
    for stats in described:
        f = stats.facts
        stated = f["age_median"] == f["age_median"]  # False for NaN: the cohort states no age
        ages.append(f"{f['age_median']:.0f} ({f['age_low']:.0f}-{f['age_high']:.0f})" if stated else "not stated")
    rows.append(["age, median (quartiles)", *ages])
    rows.append(["devices", *(_devices(stats) for stats in described)])
    per_patient = [s.facts["images"] / max(1, s.facts["patients"]) for s in described]
    most = [s.facts["most_per_patient"] for s in described]
    rows.append(
        ["images per patient, mean (max.)", *(f"{n:.2f} ({m})" for n, m in zip(per_patient, most, strict=True))]
    )
    per_study = [s.facts["images"] / max(1, s.facts["studies"]) for s in described]
    rows.append(["images per study, mean", *(f"{n:.2f}" for n in per_study)])
    return ["Demographics: images by view, sex, age and device", *_table(["", *(s.name for s in described)], rows)]


def _group(stats: Stats, what: str) -> "pd.Series[int]":
    return stats.groups[stats.groups["what"] == what].set_index("group")["images"]


def _devices(stats: Stats) -> str:
    named = [name for name in _group(stats, "device").index if name != "not stated"]
    return "not stated" if not named else f"{len(named)} ({', '.join(named[:2])}{', …' if len(named) > 2 else ''})"


def _splits(described: Sequence[Stats]) -> list[str]:
    rows = [
        [
            stats.name if i == 0 else "",
            str(row["split"]),
            str(row["origin"]),
            f"{row['images']:,}",
            f"{row['patients']:,}",
        ]
        for stats in described
        for i, row in enumerate(stats.splits.to_dict("records"))
    ]
    text = ["Splits", *_table(["", "split", "by", "images", "patients"], rows)]
    for stats in described:
        total, shared = stats.facts["patients"], stats.facts["shared_patients"]
        text.append(
            f"{stats.name}: {shared} shared patients ({total - shared:,} / {total:,} in one split); {stats.split_rule}"
        )
    shares = described[0].shares
    source = "the default; --grid uses those of a grid" if shares == SHARES else "those of the grid"
    return [*text, f"split rule: {rule(shares)}", f"split shares: {source}"]


def _pixels(described: Sequence[Stats], samples: Mapping[str, ImageSample]) -> list[str]:
    head = [
        "",
        "readable",
        "median w x h, px",
        "w / h",
        "median gray of 255",
        "lost by a square crop",
        "enlarged at " + " ".join(map(str, SIDES)),
        "no lungs found",
    ]
    rows = []
    for stats in described:
        if stats.name not in samples:
            continue
        sample = samples[stats.name]
        sizes = sample.sizes
        if sizes.empty:
            rows.append([stats.name, f"0 of {sample.drawn}", *["-"] * (len(head) - 2)])
            continue
        size = f"{sizes['width'].median():.0f} x {sizes['height'].median():.0f}"
        aspect = sizes["width"] / sizes["height"]
        rows.append(
            [
                stats.name,
                f"{sample.readable} of {sample.drawn}",
                size,
                f"{aspect.min():.2f}-{aspect.max():.2f}",
                f"{pd.Series(sample.medians).median():.0f}",
                f"{100 * sample.cropped_away:.0f} %",
                " ".join(f"{100 * sample.enlarged(side):.0f}" for side in SIDES) + " %",
                f"{100 * sample.no_lungs / sample.readable:.0f} %",
            ]
        )
    return ["Pixels: a random sample of each cohort", *_table(head, rows)]
