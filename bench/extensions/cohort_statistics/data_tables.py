"""Make the text tables of `bench data stats`, with one column per cohort or with one or more rows per cohort."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.cli.text_tables import printable, table_lines, wrapped
from bench.extensions.cohort_statistics.describe import NOT_STATED, SHARES, STATE_NAMES, Stats
from bench.extensions.cohort_statistics.image_sample import SIDES, ImageSample
from harmonize.cohorts.hospital_names import SYNTHETIC_NOTICE
from harmonize.cohorts.splits import rule
from reports.formatting import DASH, number

_LONGEST_CELL = 40  # maximum number of characters of a cell; longer texts are cut


def lines(described: Sequence[Stats], samples: Mapping[str, ImageSample]) -> list[str]:
    """Return all tables as lines of text, with blank lines between them.

    `samples`: cohort -> measurements on a sample of its images; if `samples` is empty, the table of pixels is left out.
    """
    makers = (_synthetic, _flow, _prevalence, _states_without_label, _demographics, _splits)
    blocks = [make(described) for make in makers]
    if samples:
        blocks.append(_pixels(samples))
    return "\n\n".join("\n".join(block) for block in blocks if block).split("\n")


def _synthetic(described: Sequence[Stats]) -> list[str]:
    """Return the notice that cohorts are synthetic, with the hospitals that they imitate; [] if no cohort is synthetic."""
    names = [f"{stats.name} is {stats.facts['title']}" for stats in described if stats.phantom]
    return [SYNTHETIC_NOTICE, *wrapped([f"{', '.join(names)}."])] if names else []


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a title and a table as lines of text. Control characters are removed from its cells, and long cells are cut."""
    cells = [[printable(cell) for cell in row] for row in (head, *rows)]
    cut = [[cell if len(cell) <= _LONGEST_CELL else cell[: _LONGEST_CELL - 1] + "…" for cell in row] for row in cells]
    return [title, *table_lines(cut)]


def _by_cohort(title: str, described: Sequence[Stats], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a table with one column per cohort; the first cell of each row has the name of the row."""
    return _table(title, ["", *(stats.name for stats in described)], rows)


def _flow(described: Sequence[Stats]) -> list[str]:
    """Return a table of each cohort's flow, and of its numbers of patients and studies.

    The rows are the steps that select images, with the number of images of each step. "- " marks a step that removes images.
    """
    flows = {stats.name: stats.flow.set_index(["kind", "step"])["images"] for stats in described}
    images = pd.concat(flows, axis=1, sort=False)
    parts = [("stock", ["found"]), ("loss", None), ("stock", ["used"]), ("note", None)]
    marks = {"loss": "- ", "note": "  of these ", "stock": ""}
    rows = []
    for kind, steps in parts:
        of_kind = images.xs(kind) if kind in images.index.get_level_values("kind") else images.iloc[:0]
        for step in steps or of_kind.index:
            name = marks[kind] + str(step).replace("_", " ")
            rows.append([name, *(number(float(count), ",.0f") for count in of_kind.loc[step].to_numpy())])
    rows += [[name, *(f"{stats.facts[name]:,}" for stats in described)] for name in ("patients", "studies")]
    title = "Images: from files to used images (`bench check` opens each: some may be unreadable)"
    return _by_cohort(title, described, rows)


def _prevalence(described: Sequence[Stats]) -> list[str]:
    def cell(row: dict[Hashable, Any]) -> str:
        counted = row["present"] + row["absent"] + row["not_mentioned"]
        if not counted:
            return "not labeled"
        mark = "~" if row["grade"] == "approximate" else ""
        return f"{mark}{100 * row['present'] / counted:.1f} % {row['present']:,}/{counted:,}"

    title = "Findings: prevalence, positive / counted images (present, absent or not mentioned); ~: approximate mapping"
    return _by_cohort(title, described, _by_finding(described, cell))


def _states_without_label(described: Sequence[Stats]) -> list[str]:
    def cell(row: dict[Hashable, Any]) -> str:
        total = sum(row[state] for state in STATE_NAMES)
        if row["unmapped"] == total:
            return "not labeled"
        return " / ".join(f"{100 * row[name] / total:.1f}" for name in ("uncertain", "not_mentioned", "unmapped"))

    title = "No clear label: % uncertain / not mentioned / unmapped"
    return _by_cohort(title, described, _by_finding(described, cell))


def _by_finding(described: Sequence[Stats], cell: Callable[[dict[Hashable, Any]], str]) -> list[list[str]]:
    """Return one row for each finding, with one cell for each cohort.

    `cell`: function from a cohort's statistics of a finding (a dictionary) to the text of the cell.
    """
    tables = [stats.findings.set_index("finding").to_dict("index") for stats in described]
    findings = dict.fromkeys(finding for table in tables for finding in table)
    return [[str(f), *(cell(table[f]) if f in table else DASH for table in tables)] for f in findings]


def _demographics(described: Sequence[Stats]) -> list[str]:
    """Return a table with rows for views, sexes, ages, devices, images per patient and images per study; a column per cohort."""
    groups = {stats.name: stats.groups.set_index(["what", "group"])["images"] for stats in described}
    images = pd.concat(groups, axis=1, sort=False).fillna(0)
    totals = [max(1, stats.facts["images"]) for stats in described]
    rows = []
    for what in ("view", "sex"):
        of_kind = images.xs(what) if len(images) else images
        for name in sorted(of_kind.index, key=lambda name: (name == NOT_STATED, name)):
            counts = zip(of_kind.loc[name], totals, strict=True)
            rows.append([f"{what} {name}", *(f"{n:,.0f} ({100 * n / total:.1f} %)" for n, total in counts)])
    ages, devices, per_patient, per_study = [], [], [], []
    for stats in described:
        facts = stats.facts
        quartiles = f"{facts['age_median']:.0f} ({facts['age_low']:.0f}-{facts['age_high']:.0f})"
        ages.append(NOT_STATED if np.isnan(facts["age_median"]) else quartiles)
        names = stats.groups.loc[stats.groups["what"] == "device", "group"]
        devices.append(", ".join(name for name in names if name != NOT_STATED) or NOT_STATED)
        mean = facts["images"] / max(1, facts["patients"])
        per_patient.append(f"{mean:.2f} ({facts['most_per_patient']})")
        per_study.append(f"{facts['images'] / max(1, facts['studies']):.2f}")
    rows += [["age, median (quartiles)", *ages], ["devices", *devices]]
    rows += [["images per patient, mean (max.)", *per_patient], ["images per study, mean", *per_study]]
    return _by_cohort("Demographics: images by view, sex, age and device", described, rows)


def _splits(described: Sequence[Stats]) -> list[str]:
    rows = [
        [stats.name, row["split"], row["origin"], f"{row['images']:,}", f"{row['patients']:,}"]
        for stats in described
        for row in stats.splits.to_dict("records")
    ]
    shares = described[0].shares
    source = "the default; --grid uses those of a grid" if shares == SHARES else "those of the grid"
    text = _table("Splits", ["", "split", "by", "images", "patients"], rows)
    return [*text, f"split rule: {rule(shares)}", f"split shares: {source}"]


def _pixels(samples: Mapping[str, ImageSample]) -> list[str]:
    head = ["", "readable", "median w x h, px", "w / h", "median gray of 255", "lost by a square crop"]
    head += [f"enlarged at {' '.join(map(str, SIDES))}", "no lungs found"]
    rows = []
    for name, sample in samples.items():
        images, facts = sample.images, sample.document
        readable = f"{len(images)} of {facts['drawn']}"
        if not len(images):
            rows.append([name, readable, *["-"] * (len(head) - 2)])
            continue
        median, aspect = images.median(), images["width"] / images["height"]
        rows.append(
            [
                name,
                readable,
                f"{median['width']:.0f} x {median['height']:.0f}",
                f"{aspect.min():.2f}-{aspect.max():.2f}",
                f"{median['median_gray']:.0f}",
                f"{100 * facts['cropped_away']:.0f} %",
                " ".join(f"{100 * share:.0f}" for share in facts["enlarged"].values()) + " %",
                f"{100 * facts['no_lungs'] / len(images):.0f} %",
            ]
        )
    return _table("Pixels: a random sample of each cohort", head, rows)
