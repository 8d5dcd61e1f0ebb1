"""What the tables about sources say, in the order in which the page says it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from markupsafe import Markup

from reports.drawing import svg
from reports.formatting import listing, places, sentence_case, word
from reports.report_data.headline_rows import MISSING, Estimate, count
from reports.report_data.hospitals_and_runs import Run
from reports.report_data.report_data import Board

ACCURACY, BITS, SELECTIVITY = "balanced_accuracy", "bits", "selectivity"
Key = tuple[str, str, int, str]  # probe, control, shots, metric
Found = Mapping[tuple[str, Key], Estimate]  # (run id, "" of the images alone; key)

# (group, probe, control, shots, who names the hospital from what); the first group is of the run that the page leads with
LINES: tuple[tuple[str, str, str, int, str], ...] = (
    ("This run’s features", "features", "none", 0, "all images"),
    ("This run’s features", "features", "none", 32, "learnt from 32 images of each hospital"),
    ("This run’s features", "features", "none", 8, "learnt from 8 images of each hospital"),
    ("This run’s features", "features", "no_finding", 0, "healthy images alone"),
    ("This run’s features", "features", "matched", 0, "the same findings in each hospital"),
    ("This run’s features", "features", "shuffled", 0, "control: hospitals shuffled"),
    ("The same network before training", "random", "none", 0, "random weights, all images"),
    ("The same network before training", "random", "none", 32, "random weights, 32 images of each"),
    ("The same network before training", "random", "none", 8, "random weights, 8 images of each"),
    ("The same network before training", "imagenet", "none", 0, "ImageNet weights, all images"),
    ("The same network before training", "imagenet", "none", 32, "ImageNet weights, 32 images of each"),
    ("The same network before training", "imagenet", "none", 8, "ImageNet weights, 8 images of each"),
    ("Findings and answers", "labels", "none", 0, "the true findings"),
    ("Findings and answers", "logits", "none", 0, "the true findings and this run’s answers"),
    ("Networks trained to name it", "cnn", "none", 0, "the image"),
    ("Networks trained to name it", "cnn", "border", 0, "its border alone"),
    ("Networks trained to name it", "cnn", "centre_masked", 0, "all but its centre"),
    ("Networks trained to name it", "cnn", "low_res", 0, "8 × 8 pixels"),
    ("Networks trained to name it", "cnn", "shuffled", 0, "control: hospitals shuffled"),
    ("Trees on a few numbers", "pixels", "none", 0, "20 descriptors of the pixels"),
    ("Trees on a few numbers", "pixels", "shuffled", 0, "control: hospitals shuffled"),
    ("Trees on a few numbers", "header", "none", 0, "size, depth and compression of the file"),
    ("Trees on a few numbers", "header", "shuffled", 0, "control: hospitals shuffled"),
)


@dataclass(frozen=True, slots=True)
class Line:
    """One classifier of the table: a name, its accuracy and bits, and the accuracy as a mark on the axis from 0 to 1."""

    name: str
    accuracy: Estimate
    bits: Estimate
    mark: Markup
    control: bool


def lookup(table: pd.DataFrame) -> Found:
    """Return every number about sources."""
    columns = ("run_id", "probe", "control", "shots", "metric", "value", "low", "high", "n", "chance")
    return {
        (str(run), (str(probe), str(control), count(shots), str(metric))): Estimate(
            float(value), float(low), float(high), count(n), chance=float(chance)
        )
        for run, probe, control, shots, metric, value, low, high, n, chance in zip(
            *(table[c] for c in columns), strict=True
        )
    }


def of_run(found: Found, run: Run, probe: str, control: str, shots: int = 0, metric: str = ACCURACY) -> Estimate:
    """Return one number of a run, or of the images alone where no run is part of it."""
    key = (probe, control, shots, metric)
    return found.get((run.id, key), found.get(("", key), MISSING))


def lines(found: Found, run: Run) -> list[tuple[str, list[Line]]]:
    """Return the classifiers that there are, in groups."""
    groups: dict[str, list[Line]] = {}
    for group, probe, control, shots, name in LINES:
        accuracy = of_run(found, run, probe, control, shots)
        if accuracy.known:
            mark = svg.micro(accuracy, 0, 1, accuracy.chance, 150)
            bits = of_run(found, run, probe, control, shots, BITS)
            groups.setdefault(group, []).append(Line(name, accuracy, bits, mark, control == "shuffled"))
    return list(groups.items())


def verdict(found: Found, run: Run, num_sources: int) -> str:
    """Return whether training made the hospital easier to read than it was in the same network before."""
    trained, random = (of_run(found, run, probe, "none") for probe in ("features", "random"))
    if not trained.known:
        return "No source classifier was run"
    said = f"From {run.label}’s features the right one of {word(num_sources)} hospitals is named with an accuracy of {trained.with_interval}"
    gain = of_run(found, run, "features", "random", 0, SELECTIVITY)
    if not (random.known and gain.known):
        return said
    more = "no clearer than" if not gain.clear else "clearer than" if gain.value > 0 else "less clear than"
    return (
        f"{said}: {more} from the same network before it was trained ({random.text}; difference {gain.with_interval})"
    )


def meaning(found: Found, run: Run) -> list[str]:
    """Return what the controls explain, one sentence each, from the numbers alone."""
    out = []
    trained = of_run(found, run, "features", "none")
    if trained.known and trained.value > 0.9:
        out.append(
            "Nearly all images are named: the probe is saturated, so it cannot tell runs apart, and says nothing about use"
        )
    few = of_run(found, run, "features", "random", 8, SELECTIVITY)
    if few.clear:
        better = "easier" if few.value > 0 else "harder"
        out.append(
            f"With eight images of each hospital it is {better} to learn than before training ({few.with_interval})"
        )
    image = of_run(found, run, "cnn", "none")
    near = [
        f"{name} ({e.text})"
        for control, name in (
            ("border", "the border"),
            ("centre_masked", "all but the centre"),
            ("low_res", "8 × 8 pixels"),
        )
        if (e := of_run(found, run, "cnn", control)).known and e.high >= image.low
    ]
    if image.known and near:
        out.append(
            f"{sentence_case(listing(near))} {'do' if len(near) > 1 else 'does'} as well as the image ({image.text}): no lung is needed"
        )
    trees = of_run(found, run, "pixels", "none")
    if trees.known:
        out.append(
            f"Twenty numbers about gray levels, edges and borders, without any anatomy, reach {trees.with_interval}"
        )
    labels = of_run(found, run, "labels", "none")
    if labels.has_interval:
        tell = "tell hospitals apart, too" if labels.low > labels.chance else "do not tell hospitals apart"
        out.append(f"Which findings there are alone {tell} ({labels.with_interval}, chance {places(labels.chance)})")
    matched, whole = of_run(found, run, "features", "matched"), trained
    if matched.known and whole.known and matched.high >= whole.low:
        out.append(
            f"With the same findings in each hospital the probe still reaches {matched.text}: prevalence does not explain it"
        )
    logits, known = (of_run(found, run, probe, "none", 0, BITS) for probe in ("logits", "labels"))
    if logits.has_interval and known.has_interval:
        adds = "add to it" if logits.high < known.low else "add nothing that shows"
        out.append(
            f"Given the true findings, this run’s answers {adds} ({places(logits.value, 2)} against {places(known.value, 2)} bits)"
        )
    return out


def selectivities(board: Board, found: Found, shown: int) -> list[dict[str, Any]]:
    """Return each run's selectivity by how many images teach the probe; nothing where no untrained network was probed."""
    rows = []
    for run in board.runs:
        cells = [of_run(found, run, "features", "random", shots, SELECTIVITY) for shots in (0, 32, 8)]
        bits, before = of_run(found, run, "features", "none", 0, BITS), of_run(found, run, "random", "none")
        if bits.known or any(e.known for e in cells):
            rows.append({"run": run, "cells": cells, "bits": bits, "before": before})
    return rows[:shown]


def confusions(board: Board, run: Run) -> list[dict[str, Any]]:
    """Return what is called what: true hospitals in rows, shares in cells with their colour, for each classifier."""
    table = board.tables["source_confusion"]
    names = {
        "features": f"{run.label}’s features",
        "cnn": "A network trained to name the hospital",
        "pixels": "Trees on descriptors of the pixels",
        "header": "Trees on the file alone",
    }
    out = []
    for probe, title in names.items():
        part = table[(table["probe"] == probe) & (table["control"] == "none") & table["run_id"].isin([run.id, ""])]
        if not len(part):
            continue
        keys = list(dict.fromkeys(map(str, part["source"])))
        share = {
            (str(a), str(b)): float(v) for a, b, v in zip(part["source"], part["named"], part["share"], strict=True)
        }
        rows = [
            (board.title(a), [(share.get((a, b), 0.0), min(7, int(share.get((a, b), 0.0) * 8)), a == b) for b in keys])
            for a in keys
        ]
        out.append(
            {"title": title, "heads": [board.title(key) for key in keys], "rows": rows, "n": int(part["count"].sum())}
        )
    return out


def mistaken(tables: Sequence[Mapping[str, Any]]) -> str:
    """Return which two hospitals the first classifier mistakes most for each other; "" where it hardly errs."""
    if not tables:
        return ""
    heads, rows = tables[0]["heads"], tables[0]["rows"]
    errors = [(share, title, heads[j]) for title, cells in rows for j, (share, _, own) in enumerate(cells) if not own]
    share, true, named = max(errors, default=(0.0, "", ""))
    return (
        f"Most often mistaken: {100 * share:.0f} % of {true} is called {named}"
        if share >= 0.02
        else "Hardly any image is called another hospital’s"
    )
