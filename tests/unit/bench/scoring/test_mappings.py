"""AUROC of the same logits under other label mappings."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from bench.config.settings import Settings
from bench.scoring.gaps.label_mappings import sensitivity
from bench.scoring.metrics_of_split import measure
from bench.scoring.patient_groups import PatientGroups
from bench.scoring.scored_split import ScoredSplit, without

FINDINGS = ("Consolidation", "Edema")
SETTINGS = Settings(min_count=5)


def part(**mapped: np.ndarray) -> ScoredSplit:
    draw = np.random.default_rng(0)
    state = draw.integers(0, 2, (300, 2)).astype(np.int8)
    ids = np.arange(300).astype(str).astype(object)
    unknown = np.full(300, "", object)
    patient_groups = PatientGroups(unknown, np.full(300, np.nan), unknown, unknown, mapped)
    logit = (draw.normal(size=(300, 2)) + state).astype(np.float32)
    return ScoredSplit("nih", "all", "report", ids, ids, logit, state, patient_groups=patient_groups)


def broader(state: np.ndarray) -> np.ndarray:
    other = state.copy()
    other[:60, 0] = 1
    return other


def test_each_mapping_is_scored_with_its_own_states_on_the_findings_that_it_changes() -> None:
    whole = part()
    other = broader(whole.state)
    rows = sensitivity("run", part(broad=other, strict=whole.state.copy()), FINDINGS, SETTINGS)
    value = {(mapping, finding): v for _, _, mapping, finding, v, *_ in rows}
    assert set(value) == {(m, f) for m in ("default", "broad") for f in ("Consolidation", "macro")}
    for mapping, state in (("default", whole.state), ("broad", other)):
        expected = [roc_auc_score(state[:, k], whole.logit[:, k]) for k in range(2)]
        assert value[mapping, "Consolidation"] == pytest.approx(expected[0])
        assert value[mapping, "macro"] == pytest.approx(np.mean(expected))
    assert all(low <= v <= high for *_, v, low, high, _, _ in rows)


def test_a_macro_is_over_the_findings_that_every_mapping_can_score() -> None:
    whole = part()
    other = whole.state.copy()
    other[:, 0] = 0
    rows = sensitivity("run", part(strict=other), FINDINGS, SETTINGS)
    macro = {mapping: v for _, _, mapping, finding, v, *_ in rows if finding == "macro"}
    assert macro["default"] == macro["strict"] == pytest.approx(roc_auc_score(whole.state[:, 1], whole.logit[:, 1]))


def test_metrics_computed_before_give_the_same_rows() -> None:
    read = part(broad=broader(part().state))
    measured = measure(read, None, SETTINGS)
    assert sensitivity("run", read, FINDINGS, SETTINGS, measured=measured) == sensitivity(
        "run", read, FINDINGS, SETTINGS
    )


def test_a_finding_that_is_not_scored_has_no_rows_under_any_mapping() -> None:
    other = 1 - part().state  # another label of both findings
    rows = sensitivity("run", without(part(broad=other), ["Edema"], FINDINGS), FINDINGS, SETTINGS)
    assert {finding for _, _, _, finding, *_ in rows} == {"Consolidation", "macro"}


def test_without_another_mapping_there_are_no_rows() -> None:
    assert sensitivity("run", part(), FINDINGS, SETTINGS) == []
