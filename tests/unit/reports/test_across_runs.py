"""Results over many runs: references, policies, agreement, seeds, standard errors, confusion counts and costs."""

import re

import pandas as pd
import pytest
import synthetic

from reports.page import render
from reports.schemas.tables import SCHEMAS
from reports.sections.calibration import LEFT, SIDE, _counts
from reports.tables import Tables
from tests.unit.reports.test_gap_groups_robustness import RUNS, SMALL, decomposition, page

HOSPITALS = ("chexpert", "mimic", "padchest", "vindr", "nih", "brax")
NAN = float("nan")


@pytest.mark.slow
def test_the_gap_to_each_labeled_internal_split_has_the_worst_hospital_and_its_label_source() -> None:
    rows = [
        (
            run,
            split,
            by,
            d,
            "radiologist" if d == "vindr" else "report",
            "nih" if d == "worst" else "",
            "macro",
            value,
            value - 0.02,
            value + 0.02,
            0.86,
            0.86 - value,
            7,
            200,
            20,
            180,
        )
        for run in RUNS
        for split, by in (("test", "report"), ("expert_valid", "radiologist"))
        for d, value in (("vindr", 0.031), ("nih", 0.077), ("external", 0.054), ("worst", 0.077))
    ]
    text = page(decomposition=decomposition(), references=rows)
    assert "All runs: gap from each internal split (test or expert-labeled) to each external hospital" in text
    assert 'expert-labeled validation</td><td class="l">radiologists' in text
    assert 'VinDr-CXR <span class="s">label source: radiologists</span>' in text
    assert text.count('[.057, .097]</span><span class="s">NIH-14</span>') == 2 * len(RUNS)
    assert "gap from each internal split" not in page(decomposition=decomposition())


@pytest.mark.slow
def test_agreement_of_hospitals_and_variation_of_seeds_are_below_the_ranking() -> None:
    pairs = [(a, b, 0.61, 0.2, 0.9, 5) for i, a in enumerate(HOSPITALS) for b in HOSPITALS[i + 1 :]]
    luck = [(RUNS[0], d, 2, 0.0123, 0.0061) for d in (*HOSPITALS, "external")]
    text = page(agreement=pairs, seeds=luck)
    assert text.count(">.610</span>") == len(pairs)
    assert text.count("<td>.0123</td><td>.0061</td>") == 2
    few = page(agreement=[(a, b, NAN, NAN, NAN, 2) for a, b, *_ in pairs])
    assert "Agreement of hospitals" not in few
    assert "Variation of AUROC between seeds" not in few


def test_the_bars_below_a_reliability_curve_are_at_their_bins() -> None:
    rows = pd.DataFrame({"bin": [0, 1, 2, 3], "count": [40, 20, 0, 5]})
    left = [float(x) for x in re.findall(r'x="([\d.]+)"', _counts(rows))]
    assert left == [round(LEFT + b * SIDE / 4 + 0.5, 1) for b in (0, 1, 3)]


@pytest.mark.slow
def test_standard_errors_confusion_counts_and_costs_are_on_the_page() -> None:
    errors = [(r, "nih", "all", "Edema", 0.8, 0.7, 0.9, 0.0201, 0.0252) for r in RUNS]
    calls = [(RUNS[0], "nih", "all", "f1_max", "Edema", 0.0, 31, 42, 13, 224)]
    front = [(r, c, 0.2 * (i + 1), True, NAN, NAN, NAN) for i, r in enumerate(RUNS) for c in ("macs", "device_hours")]
    scores = SMALL["scores"]
    f1 = scores[(scores["metric"] == "auroc") & (scores["dataset"] == "nih")].assign(
        metric="f1", operating_point="f1_max"
    )
    named = {"delong": errors, "confusion": calls, "frontier": front}
    frames = {name: pd.DataFrame(rows, columns=list(SCHEMAS[name])) for name, rows in named.items()}
    text = render(Tables(SMALL.meta, {**SMALL.frames, **frames, "scores": pd.concat([scores, f1], ignore_index=True)}))
    assert "<td>.0201</td><td>.0252</td></tr>" in text
    assert "<td>31</td><td>13</td>" in text
    assert "<td>42</td><td>224</td>" in text
    assert "External AUROC by training time" in text
    assert '<span class="s">without silu 1.6 %</span>' in text
    assert "External AUROC by number of parameters" not in text
    plain = render(synthetic.tables(synthetic.Invented(runs=2)))
    assert not any(word in plain for word in ("by two methods", "External AUROC by training time"))
