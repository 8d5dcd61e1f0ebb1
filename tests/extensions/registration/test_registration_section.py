"""The section on a registration: each answer is the verdict that the page gives the same number."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import synthetic

from bench.extensions.registration.sections import CONTRADICTED, SUPPORTED, UNANSWERED, answer
from reports.page import render
from reports.report_data import report_data
from reports.report_data.report_data import ReportData
from reports.schemas.tables import SCHEMAS
from reports.tables import Tables

HOSTILE = "<script>alert(1)</script>"
MADE = synthetic.tables(synthetic.Invented(runs=4))
FIRST, SECOND = synthetic.ranked_ids(MADE)[:2]


def board(**frames: pd.DataFrame) -> ReportData:
    return report_data.read(Tables(MADE.meta, {**MADE.frames, **frames}))


def pairs(value: float, half: float, corrected: float) -> pd.DataFrame:
    bounds = (value - half, value + half, value - corrected, value + corrected)
    return pd.DataFrame([(FIRST, SECOND, "external", "auroc", value, *bounds)], columns=list(SCHEMAS["pairs"]))


def pair(higher: str, lower: str, **other: str) -> dict[str, Any]:
    asked = {"kind": "pair", "metric": "auroc", "at": "external", "finding": "macro"}
    return asked | {"higher": [higher], "lower": [lower]} | other


@pytest.mark.parametrize(
    ("value", "half", "corrected", "answers", "words"),
    [
        (0.05, 0.01, 0.02, (SUPPORTED, CONTRADICTED), ("higher", "lower")),
        (-0.05, 0.01, 0.02, (CONTRADICTED, SUPPORTED), ("lower", "higher")),
        # the own interval excludes 0, the interval that is corrected for all pairs does not
        (0.05, 0.01, 0.06, ("unclear", "unclear"), ("unclear after correction for multiple comparisons",) * 2),
        (0.05, np.nan, np.nan, (UNANSWERED, UNANSWERED), ("", "")),
    ],
)
def test_a_pair_is_answered_by_the_corrected_interval(
    value: float, half: float, corrected: float, answers: tuple[str, str], words: tuple[str, str]
) -> None:
    data = board(pairs=pairs(value, half, corrected))
    asked = (pair(FIRST, SECOND), pair(SECOND, FIRST))
    found = [answer(data, question) for question in asked]
    assert tuple(a.answer for a in found) == answers
    assert tuple(a.verdict for a in found) == words
    assert [a.estimate.value for a in found] == [value, -value]


def test_a_registered_run_that_is_not_ranked_gets_no_answer() -> None:
    data = board(pairs=pairs(0.05, 0.01, 0.02))
    assert answer(data, pair(FIRST, "0" * 12)).answer == UNANSWERED
    assert answer(data, pair(FIRST, SECOND, at="nih")).answer == UNANSWERED
    assert answer(data, {}).answer == ""
    partly = answer(data, pair(FIRST, SECOND) | {"higher": [FIRST, "0" * 12]})
    assert (partly.answer, partly.reason) == (SUPPORTED, "without 1 registered run")


def effects(value: float, num_pairs: int = 6) -> pd.DataFrame:
    row = ("auroc", "loss", "focal", "bce", value, value - 0.004, value + 0.004, 0.003, num_pairs, num_pairs, 0.002, np.nan, np.nan)  # fmt: skip
    return pd.DataFrame([row], columns=list(SCHEMAS["ablation"]))


def test_a_factor_is_answered_by_the_verdict_of_the_ablation() -> None:
    asked = {"kind": "factor", "metric": "auroc", "at": "external", "finding": "macro", "factor": "loss"}
    up, down = ({"higher": "focal", "lower": "bce"}, {"higher": "bce", "lower": "focal"})
    data = board(ablation=effects(0.02))
    assert answer(data, asked | up)[::2] == (SUPPORTED, "higher mean")
    assert answer(data, asked | down)[::2] == (CONTRADICTED, "higher mean")
    assert answer(data, asked | down).estimate.value == -0.02
    assert answer(board(ablation=effects(-0.02)), asked | down)[::2] == (SUPPORTED, "lower mean")
    assert answer(board(ablation=effects(0.003)), asked | up)[::2] == ("unclear", "no clear mean change")
    assert answer(board(ablation=effects(0.02, 1)), asked | up)[::2] == ("unclear", "too few pairs")
    assert answer(data, asked | {"higher": "asl", "lower": "bce"}).answer == UNANSWERED


def test_a_gap_is_answered_by_the_gap_of_the_page() -> None:
    data = board()
    asked = {"metric": "gap", "finding": "macro", "at": "external"}
    for at, gap in {"external": data.mean_gap, **{h.key: h.mean_gap for h in data.hospitals}}.items():
        for sign, holds in (("above", gap.value > 0), ("below", gap.value < 0)):
            found = answer(data, asked | {"kind": "gap", "at": at, "sign": sign})
            assert found.estimate == gap
            assert found.answer == ("unclear" if not gap.clear else SUPPORTED if holds else CONTRADICTED)
    finding = data.findings[1]
    found = answer(data, asked | {"kind": "recipe_gap", "sign": "above", "runs": [FIRST], "finding": finding})
    assert found.estimate == data.gaps[FIRST, "external", finding]


def registered(**changes: Any) -> dict[str, Any]:
    names = {key: [HOSTILE] for key in ("runs", "hospitals", "findings", "metrics")}
    facts = {"bundle": HOSTILE, "grid": "g", "sha256": "a" * 64, "date": "2026-01-02T03:04:05Z", "version": HOSTILE}
    row = {"field": HOSTILE, "registered": "", "reported": HOSTILE}
    hypothesis = {"name": HOSTILE, "statement": HOSTILE, "question": {}, "asked": HOSTILE}
    amended = {"date": "2026-01-01T00:00:00Z", "sha256": "b" * 64, "changes": [row]}
    made = {"commit": HOSTILE, "amended": [amended], "plan": names, "deviations": [row], "hypotheses": [hypothesis]}
    return facts | made | changes


@pytest.mark.slow
def test_texts_of_a_registration_are_escaped() -> None:
    page = render(Tables({**MADE.meta, "registrations": [registered()]}, MADE.frames))
    assert HOSTILE not in page
    assert page.count("&lt;script&gt;alert(1)") > 10
    assert "1 deviation from the registered plan" in page


@pytest.mark.slow
def test_a_page_without_registration_says_so_in_one_place() -> None:
    page = render(MADE)
    assert 'id="registration"' not in page
    assert "none: all results are exploratory" in page
