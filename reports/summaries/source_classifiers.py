"""Summarize source classifiers, which predict the hospital of an image: sentences, table rows and confusion matrices.

Three values identify a classifier:

probe    the input of the classifier: features of a run, of a network before training (random, imagenet), labels ...
control  how the data were changed, such as "shuffled" (hospitals in random order) or "none"
shots    number of training images per hospital; 0 means all training images
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from markupsafe import Markup

from reports.drawing import svg
from reports.formatting import listing, percent, places
from reports.report_data.headline_rows import MISSING, Estimate, count
from reports.report_data.hospitals_and_runs import Run
from reports.report_data.report_data import ReportData

ACCURACY, BITS, SELECTIVITY = "balanced_accuracy", "bits", "selectivity"
WIDTH = 150.0  # px: width of the drawing of an accuracy
Key = tuple[str, str, int, str]  # probe, control, shots, metric
# key: (run id, Key); the run id is "" for classifiers that do not use a run
Estimates = Mapping[tuple[str, Key], Estimate]

_RUN, _BEFORE = "Features of the run", "Features of the same network before training"
_LABELS, _CNN, _TREES = "Labels and predictions", "Networks trained to identify the hospital", "Decision trees"
_TRAINED_ON = {0: "all training images", 32: "only 32 images per hospital", 8: "only 8 images per hospital"}  # by shots
# (title of the group, probe, control, shots, words for the input or training of the classifier), in the order of the page
LINES: tuple[tuple[str, str, str, int, str], ...] = (
    *((_RUN, "features", "none", n, f"features; classifier trained on {images}") for n, images in _TRAINED_ON.items()),
    (_RUN, "features", "no_finding", 0, "only images without findings"),
    (_RUN, "features", "matched", 0, "images chosen so that each finding is equally frequent at all hospitals"),
    (_RUN, "features", "shuffled", 0, "control: hospitals in random order"),
    *(
        (_BEFORE, probe, "none", shots, f"{weights} weights; classifier trained on {images}")
        for probe, weights in (("random", "random"), ("imagenet", "ImageNet"))
        for shots, images in _TRAINED_ON.items()
    ),
    (_LABELS, "labels", "none", 0, "true labels of the findings"),
    (_LABELS, "logits", "none", 0, "true labels of the findings, and the run’s predictions"),
    (_CNN, "cnn", "none", 0, "full image"),
    (_CNN, "cnn", "border", 0, "only the border of the image"),
    (_CNN, "cnn", "centre_masked", 0, "image without its center"),
    (_CNN, "cnn", "low_res", 0, "image of 8 × 8 pixels"),
    (_CNN, "cnn", "shuffled", 0, "control: hospitals in random order"),
    (_TREES, "pixels", "none", 0, "20 image properties"),
    (_TREES, "pixels", "shuffled", 0, "control: hospitals in random order"),
    (_TREES, "header", "none", 0, "file header (image size, bit depth, compression)"),
    (_TREES, "header", "shuffled", 0, "control: hospitals in random order"),
)
# (probe, control, shots) of the classifiers that the page shows first: one for each kind of input, and the main control
FIRST = (
    ("features", "none", 0),
    ("features", "shuffled", 0),
    ("random", "none", 0),
    ("imagenet", "none", 0),
    ("labels", "none", 0),
    ("cnn", "none", 0),
    ("pixels", "none", 0),
    ("header", "none", 0),
)


@dataclass(frozen=True, slots=True)
class ClassifierRow:
    """A table row of one source classifier.

    name: words for the input or the training of the classifier. accuracy: balanced accuracy. bits: cross-entropy per image
    in bits. mark: drawing of the accuracy on an axis from 0 to 1. control: whether the hospitals were in random order.
    """

    name: str
    accuracy: Estimate
    bits: Estimate
    mark: Markup
    control: bool


def lookup(table: pd.DataFrame) -> Estimates:
    """Return the estimates of the table `sources`: (run id, (probe, control, shots, metric)) -> estimate."""
    columns = ("run_id", "probe", "control", "shots", "metric", "value", "low", "high", "n", "chance")
    return {
        (str(run), (str(probe), str(control), count(shots), str(metric))): Estimate(
            float(value), float(low), float(high), count(n), chance=float(chance)
        )
        for run, probe, control, shots, metric, value, low, high, n, chance in zip(
            *(table[c] for c in columns), strict=True
        )
    }


def of_run(
    estimates: Estimates, run: Run, probe: str, control: str, shots: int = 0, metric: str = ACCURACY
) -> Estimate:
    """Return the estimate of a classifier for a run; if the classifier does not depend on runs, its only estimate."""
    key = (probe, control, shots, metric)
    return estimates.get((run.id, key), estimates.get(("", key), MISSING))


def lines(
    estimates: Estimates, run: Run, chosen: Collection[tuple[str, str, int]] = ()
) -> list[tuple[str, list[ClassifierRow]]]:
    """Return (title of the group, classifiers with an estimate) for each group of LINES.

    If `chosen` is not empty, only the classifiers in `chosen` are returned: (probe, control, shots).
    """
    groups: dict[str, list[ClassifierRow]] = {}
    for group, probe, control, shots, name in LINES:
        if chosen and (probe, control, shots) not in chosen:
            continue
        accuracy = of_run(estimates, run, probe, control, shots)
        if accuracy.has_value:
            mark = svg.micro(accuracy, 0, 1, accuracy.chance, WIDTH)
            bits = of_run(estimates, run, probe, control, shots, BITS)
            groups.setdefault(group, []).append(ClassifierRow(name, accuracy, bits, mark, control == "shuffled"))
    return list(groups.items())


def verdict(estimates: Estimates, run: Run, num_sources: int) -> str:
    """Return the sentences on the accuracy with a run's features, and on the difference from the untrained network."""
    trained, random = (of_run(estimates, run, probe, "none") for probe in ("features", "random"))
    sentence = (
        f"From the features of {run.label}, a linear classifier identifies an image’s hospital, one of {num_sources}, "
        f"with accuracy {trained.with_interval}"
    )
    gain = of_run(estimates, run, "features", "random", 0, SELECTIVITY)
    if not (random.has_value and gain.has_value):
        return sentence
    comparison = "not clearly different from"
    if gain.clear:
        comparison = "higher than" if gain.value > 0 else "lower than"
    # the two classifiers are compared on the images of both, which may be fewer than those of the first sentence
    own = "This"
    if trained.n != random.n:
        own = f"On the {random.n} images of both tests, the accuracy {places(random.value + gain.value)}"
    return f"{sentence}. {own} is {comparison} the accuracy with the same network before training ({random.text}; difference {gain.with_interval})"


def meaning(estimates: Estimates, run: Run) -> list[str]:
    """Return one sentence about each control and comparison that has a result."""
    sentences = []
    trained = of_run(estimates, run, "features", "none")
    if trained.has_value and trained.value > 0.9:
        sentences.append(
            "The accuracy is above .9, so close to the maximum that it hardly distinguishes runs. "
            "It does not show whether predictions use information about the hospital"
        )
    few_shots = of_run(estimates, run, "features", "random", 8, SELECTIVITY)
    if few_shots.clear:
        comparison = "more" if few_shots.value > 0 else "less"
        sentences.append(
            f"A classifier with only 8 training images per hospital is {comparison} accurate with this run’s features than with "
            f"the features of the same network before training (difference {few_shots.with_interval})"
        )
    image = of_run(estimates, run, "cnn", "none")
    similar = [
        f"{e.text} with {name}"
        for control, name in (
            ("border", "only the border"),
            ("centre_masked", "the image without its center"),
            ("low_res", "an 8 × 8 image"),
        )
        if (e := of_run(estimates, run, "cnn", control)).has_value and e.high >= image.low
    ]
    if image.has_value and similar:
        lower = "This is not" if len(similar) == 1 else "None of these is"
        sentences.append(
            f"Other networks were trained to identify the hospital. Their accuracy is {listing(similar)}. {lower} clearly lower than "
            f"with the full image ({image.text}): the hospital can be identified without a detailed view of the lungs"
        )
    trees = of_run(estimates, run, "pixels", "none")
    if trees.has_value:
        sentences.append(
            f"Decision trees that use only twenty image properties (gray levels, edges, borders), and no anatomy, have an accuracy of {trees.with_interval}"
        )
    labels = of_run(estimates, run, "labels", "none")
    if labels.has_interval:
        verb = "also reveal" if labels.low > labels.chance else "do not clearly reveal"
        sentence = f"The true labels alone {verb} the hospital (accuracy {labels.with_interval}, chance {places(labels.chance)})"
        sentences.append(sentence)
    matched = of_run(estimates, run, "features", "matched")
    if matched.has_value and trained.has_value and matched.high >= trained.low:
        sentences.append(
            f"On images chosen so that each finding is equally frequent at all hospitals, the accuracy with this run’s features is {matched.text}: "
            "differences in prevalence do not explain this accuracy"
        )
    logits, labels_only = (of_run(estimates, run, probe, "none", 0, BITS) for probe in ("logits", "labels"))
    if logits.has_interval and labels_only.has_interval:
        verb = "better" if logits.high < labels_only.low else "not clearly better"
        sentences.append(
            f"A classifier that identifies the hospital from the true labels is {verb} if it also gets this run’s predictions: "
            f"its cross-entropy is {places(logits.value, 2)} bits with them, {places(labels_only.value, 2)} bits without (lower is better)"
        )
    return sentences


def selectivities(data: ReportData, estimates: Estimates, max_rows: int) -> list[dict[str, Any]]:
    """Return one row per run, at most `max_rows`: selectivity for all, 32 and 8 training images per hospital, and bits.

    Selectivity is the accuracy of a classifier on the run's features minus its accuracy on the network's features before
    training (random weights).
    """
    rows = []
    for run in data.runs:
        cells = [of_run(estimates, run, "features", "random", shots, SELECTIVITY) for shots in (0, 32, 8)]
        bits, before = of_run(estimates, run, "features", "none", 0, BITS), of_run(estimates, run, "random", "none")
        if bits.has_value or any(e.has_value for e in cells):
            rows.append({"run": run, "cells": cells, "bits": bits, "before": before})
    return rows[:max_rows]


def confusions(data: ReportData, run: Run) -> list[dict[str, Any]]:
    """Return the confusion matrix of each classifier: a row per true hospital, a column per predicted hospital.

    A cell is (share of the true hospital's images, color step 0 to 7, whether the prediction is correct).
    """
    table = data.tables["source_confusion"]
    names = {
        "features": f"Features of {run.label}",
        "cnn": "Network trained to identify the hospital",
        "pixels": "Decision trees on image properties",
        "header": "Decision trees on the file header",
    }
    matrices = []
    for probe, title in names.items():
        probe_rows = table[
            (table["probe"] == probe) & (table["control"] == "none") & table["run_id"].isin([run.id, ""])
        ]
        if not len(probe_rows):
            continue
        keys = list(dict.fromkeys(map(str, probe_rows["source"])))
        names = {key: data.hospitals[key].short for key in keys}
        share = {
            (str(a), str(b)): float(v)
            for a, b, v in zip(probe_rows["source"], probe_rows["named"], probe_rows["share"], strict=True)
        }
        rows = [
            (names[a], [(share.get((a, b), 0.0), min(7, int(share.get((a, b), 0.0) * 8)), a == b) for b in keys])
            for a in keys
        ]
        matrices.append(
            {
                "title": title,
                "heads": [names[key] for key in keys],
                "rows": rows,
                "n": int(probe_rows["count"].sum()),
            }
        )
    return matrices


def mistaken(tables: Sequence[Mapping[str, Any]]) -> str:
    """Return the sentence on the most common error of the first classifier; "" if there is no confusion matrix.

    The sentence names the true and the predicted hospital of each error with this share, as printed.
    """
    if not tables:
        return ""
    heads, rows = tables[0]["heads"], tables[0]["rows"]
    errors = [
        (share, title, heads[j])
        for title, cells in rows
        for j, (share, _, is_correct) in enumerate(cells)
        if not is_correct
    ]
    share = max((share for share, *_ in errors), default=0.0)
    if share < 0.02:
        return "Almost no image is assigned to another hospital"
    printed = percent(share, 1)
    found = [f"{true} classified as {predicted}" for of, true, predicted in errors if percent(of, 1) == printed]
    which = f"error ({printed}" if len(found) == 1 else f"errors (each {printed}"
    return f"Most common {which} of a hospital’s images): {listing(found)}"
