"""Cohorts in numbers as a terminal shows them: one table after the other, one column per cohort or one row."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from harmonize.cohorts.splits import rule
from harmonize.statistics.cohort_statistics import NOT_READ, SHARES, STATE_NAMES, Stats
from harmonize.statistics.image_sample import SIDES, Sample

_LONGEST = 24


def lines(described: Sequence[Stats], samples: Mapping[str, Sample]) -> list[str]:
    """Return the whole text."""
    blocks = [
        _flow(described),
        _prevalence(described),
        _unsaid(described),
        _together(described),
        _who(described),
        _splits(described),
    ]
    if samples:
        blocks.append(_pixels(described, samples))
    return "\n\n".join("\n".join(block) for block in blocks if block).split("\n")


def safe(words: str) -> str:
    """Return text without control characters, which a terminal would obey."""
    return "".join(c if c.isprintable() else "?" for c in words)


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a table: the first column to the left, the others to the right."""
    cells = [[safe(cell) for cell in row] for row in (head, *rows)]
    cells = [[cell if len(cell) <= _LONGEST + 16 else cell[: _LONGEST + 15] + "…" for cell in row] for row in cells]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    return [
        "  ".join(
            cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


def _flow(described: Sequence[Stats]) -> list[str]:
    steps: list[str] = []
    for stats in described:
        place = 0
        for step in stats.flow["step"]:  # a step that only this cohort has comes after the one before it
            if step in steps:
                place = steps.index(step) + 1
            else:
                steps.insert(place, step)
                place += 1
    kinds = {str(r["step"]): str(r["kind"]) for stats in described for r in stats.flow.to_dict("records")}
    rows = []
    for step in steps:
        mark = {"loss": "- ", "note": "  of these "}.get(kinds[step], "")
        rows.append([mark + step.replace("_", " "), *(_number(_images(stats, step)) for stats in described)])
    rows += [[name, *(f"{stats.facts[name]:,}" for stats in described)] for name in ("patients", "studies")]
    text = ["Images: from found to used", *aligned(["", *(s.name for s in described)], rows)]
    if any(_images(stats, NOT_READ) for stats in described):
        text.append("not yet read: may turn out unreadable; `bench check` opens every image once")
    return text


def _images(stats: Stats, step: str) -> int | None:
    found = stats.flow.loc[stats.flow["step"] == step, "images"]
    return int(found.iloc[0]) if len(found) else None


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _prevalence(described: Sequence[Stats]) -> list[str]:
    def cell(row: dict[str, Any]) -> str:
        counted = int(row["present"] + row["absent"] + row["not_mentioned"])
        if not counted:
            return "not labelled"
        mark = "~" if row["grade"] == "approximate" else ""
        return f"{mark}{100 * row['present'] / counted:.1f} % {row['present']:,}/{counted:,}"

    head = "Findings: share of images with it, positive / counted (present, absent or not mentioned); ~ approximate mapping"
    return [head, *_by_finding(described, cell)]


def _unsaid(described: Sequence[Stats]) -> list[str]:
    def cell(row: dict[str, Any]) -> str:
        total = sum(int(row[state]) for state in STATE_NAMES)
        if row["unmapped"] == total:
            return "not labelled"
        return " / ".join(_share(int(row[name]), total) for name in ("uncertain", "not_mentioned", "unmapped"))

    return ["Unsaid: % uncertain / not mentioned / unmapped", *_by_finding(described, cell)]


def _share(part: int, total: int) -> str:
    return "-" if not total else "0" if not part else f"{100 * part / total:.1f}"


def _by_finding(described: Sequence[Stats], cell: Callable[[dict[str, Any]], str]) -> list[str]:
    """Return a table with one row for each finding and one column for each cohort."""
    tables = [{str(row["finding"]): _named(row) for row in s.findings.to_dict("records")} for s in described]
    findings = dict.fromkeys(finding for table in tables for finding in table)
    rows = [[f, *(cell(table[f]) if f in table else "-" for table in tables)] for f in findings]
    return aligned(["", *(s.name for s in described)], rows)


def _named(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(key): value for key, value in row.items()}


def _together(described: Sequence[Stats]) -> list[str]:
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
    return ["Together: of the images with a finding, most often also", *aligned(head, rows)]


def _who(described: Sequence[Stats]) -> list[str]:
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
        known = f["age_median"] == f["age_median"]
        ages.append(f"{f['age_median']:.0f} ({f['age_low']:.0f}-{f['age_high']:.0f})" if known else "not stated")
    rows.append(["age, median (quartiles)", *ages])
    rows.append(["devices", *(_devices(stats) for stats in described)])
    rows.append(["images per patient, mean (most)", *(
        f"{s.facts['images'] / max(1, s.facts['patients']):.2f} ({s.facts['most_per_patient']})" for s in described)])  # fmt: skip
    rows.append(
        ["images per study, mean", *(f"{s.facts['images'] / max(1, s.facts['studies']):.2f}" for s in described)]
    )
    return ["Who: images by view, sex, age, device", *aligned(["", *(s.name for s in described)], rows)]


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
    text = ["Splits", *aligned(["", "split", "by", "images", "patients"], rows)]
    for stats in described:
        total, shared = stats.facts["patients"], stats.facts["shared_patients"]
        text.append(
            f"{stats.name}: {shared} shared patients ({total - shared:,} / {total:,} in one split); {stats.split_rule}"
        )
    shares = described[0].shares
    whose = "the default of a grid; --grid takes another" if shares == SHARES else "of this grid"
    return [*text, f"the rule: {rule(shares)}", f"its shares: {whose}"]


def _pixels(described: Sequence[Stats], samples: Mapping[str, Sample]) -> list[str]:
    rows = []
    for stats in described:
        if stats.name not in samples:
            continue
        sample = samples[stats.name]
        sizes = sample.sizes
        if sizes.empty:
            rows.append([stats.name, f"0 of {sample.drawn}", *"-----"])
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
    head = ["", "readable", "median w x h, px", "w / h", "median gray of 255", "lost by a square crop",
            "enlarged at " + " ".join(map(str, SIDES)), "no lungs found"]  # fmt: skip
    return ["Pixels: a seeded sample of each cohort", *aligned(head, rows)]
