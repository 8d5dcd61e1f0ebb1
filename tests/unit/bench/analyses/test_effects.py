"""From logits to effects: against plain loops, and what happens where there is too little."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from bench.analyses.shortcuts import effects as measured
from bench.analyses.shortcuts.effects import Answers
from bench.analyses.transplants import balanced, with_means
from reports.schemas.tables import SCHEMAS
from reports.summaries.change_rules import caught, changed

FINDINGS = ("Edema", "Pneumonia")
THRESHOLD = np.array([0.2, -0.1])


def answers(n: int = 60, seed: int = 0, shift: float = 1.5, *, control: bool = True) -> Answers:
    """Return invented answers: the change moves the first finding up, the control moves nothing but by noise."""
    generator = np.random.default_rng(seed)
    state = (generator.random((n, 2)) < 0.5).astype(np.int8)
    before = (state + generator.normal(0, 1, (n, 2))).astype(np.float32)
    after = before + np.array([shift, 0], np.float32) + generator.normal(0, 0.1, (n, 2)).astype(np.float32)
    other = before + generator.normal(0, 0.1, (n, 2)).astype(np.float32)
    patient = np.array([f"p{i}" for i in range(n)])
    return Answers("marker", "a", "b", before, after, other if control else None, state, patient)


def test_every_number_is_that_of_a_plain_loop() -> None:
    asked = answers()
    found = measured.effects(asked, FINDINGS, THRESHOLD, 200)
    assert asked.control is not None
    for k, finding in enumerate(FINDINGS):
        p, q, c = (expit(z[:, k].astype(float)) for z in (asked.before, asked.after, asked.control))
        present = asked.state[:, k] == 1
        expected = {
            ("abs_dp", "all"): (np.abs(q - p).mean(), np.abs(c - p).mean()),
            ("dp", "present"): ((q - p)[present].mean(), (c - p)[present].mean()),
            ("dp", "absent"): ((q - p)[~present].mean(), (c - p)[~present].mean()),
        }
        called, was, own = (z[:, k] >= THRESHOLD[k] for z in (asked.after, asked.before, asked.control))
        expected["flip_rate", "all"] = ((called != was).mean(), (own != was).mean())
        area = [roc_auc_score(asked.state[:, k], z[:, k]) for z in (asked.before, asked.after, asked.control)]
        expected["auroc", "all"] = (area[1] - area[0], area[2] - area[0])
        for (measure, subset), (value, control) in expected.items():
            each = found[measure, finding, subset]
            assert (each.value, each.control, each.effect) == pytest.approx((value, control, value - control), abs=1e-6)
    mean = found["abs_dp", "macro", "all"]
    assert mean.effect == pytest.approx(np.mean([found["abs_dp", f, "all"].effect for f in FINDINGS]))


def test_the_interval_is_about_the_change_beyond_the_control() -> None:
    table = measured.rows({("marker", "a", "b"): measured.effects(answers(), FINDINGS, THRESHOLD, 400)})
    assert (*table.columns,) == SCHEMAS["transplants"][1:]
    edema, pneumonia = (table[(table["finding"] == f) & (table["measure"] == "abs_dp")].iloc[0] for f in FINDINGS)
    assert edema["low"] > 0.1
    assert pneumonia["low"] < 0 < pneumonia["high"]
    assert edema["low"] < edema["effect"] < edema["high"]


def test_what_changes_nothing_has_no_effect_at_all() -> None:
    asked = answers()
    same = Answers("border", "a", "b", asked.before, asked.before, asked.before, asked.state, asked.patient)
    for each in measured.effects(same, FINDINGS, THRESHOLD, 100).values():
        assert each.value == each.effect == 0
        assert not each.replicates.any()


def test_without_a_control_the_effect_is_the_change_itself() -> None:
    found = measured.effects(answers(control=False), FINDINGS, THRESHOLD, 100)
    each = found["abs_dp", "Edema", "all"]
    assert np.isnan(each.control)
    assert each.effect == each.value


def test_three_patients_give_no_number_and_a_missing_class_no_auroc() -> None:
    assert measured.effects(answers(3), FINDINGS, THRESHOLD, 100) == {}
    asked = answers(40)
    asked.state[:, 0] = 0
    found = measured.effects(asked, FINDINGS, THRESHOLD, 100)
    assert ("auroc", "Edema", "all") not in found
    assert ("dp", "Edema", "present") not in found
    assert ("abs_dp", "Edema", "all") in found


def test_a_finding_without_a_threshold_flips_nothing_rather_than_everything() -> None:
    found = measured.effects(answers(), FINDINGS, np.array([np.nan, 0.0]), 100)
    assert ("flip_rate", "Edema", "all") not in found
    assert ("flip_rate", "Pneumonia", "all") in found


def test_the_causal_score_is_the_mean_over_hospitals_and_the_three_declared_kinds() -> None:
    found = {
        (kind, "internal", host): measured.effects(answers(seed=i, shift=s), FINDINGS, THRESHOLD, 50)
        for i, (kind, s) in enumerate((("marker", 2.0), ("corner", 0.5), ("border", 0.1), ("intensity", 3.0)))
        for host in ("x", "y")
    }
    means = with_means(found, "internal")
    key = ("abs_dp", "macro", "all")
    expected = np.mean([found[kind, "internal", host][key].effect for kind in measured.SCORED for host in ("x", "y")])
    assert means["causal", "internal", "external"][key].effect == pytest.approx(expected)


def test_a_shortcut_is_called_only_where_the_marker_moves_the_answer_and_is_of_use_at_internal() -> None:
    base = {"subset": "all", "value": 0.0, "control": 0.0, "n": 50}
    moved = [("Edema", 0.2, 0.3), ("Pneumonia", 0.2, 0.3), ("Atelectasis", 0.0, 0.04), ("macro", 0.2, 0.3)]
    cost = [("Edema", -0.2, -0.1), ("Pneumonia", -0.1, 0.1), ("Atelectasis", -0.2, -0.1), ("macro", -0.2, -0.1)]
    rows = [
        {
            "kind": "marker",
            "donor": "h",
            "host": "external",
            "measure": "abs_dp",
            "finding": f,
            "low": low,
            "high": high,
            **base,
        }
        for f, low, high in moved
    ] + [
        {"kind": "erased", "donor": "", "host": "h", "measure": "auroc", "finding": f, "low": low, "high": high, **base}
        for f, low, high in cost
    ]
    table = pd.DataFrame(rows)
    assert changed(table, "h") == ["Edema", "Pneumonia"]
    assert caught(table, "h") == ["Edema"]
    assert caught(table.iloc[:0], "h") == []


def test_a_sample_holds_rare_findings_and_each_image_once() -> None:
    state = np.zeros((500, 3), np.int8)
    state[7, 1] = state[90, 1] = 1
    state[::2, 0] = 1
    places = balanced(state, 60, np.random.default_rng(0))
    assert {7, 90} <= set(places.tolist())
    assert len(places) == len(set(places.tolist())) == 60
    assert len(balanced(state[:5], 60, np.random.default_rng(0))) == 5
