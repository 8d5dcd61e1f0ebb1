"""Results that depend only on labels are cached for runs with the same labels, and for no other runs."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from bench.config.settings import Settings
from bench.scoring.patient_groups import PatientGroups
from bench.scoring.score_run import RunScores, score_run
from bench.scoring.scored_split import ScoredSplit, without

FINDINGS = ("Edema", "No Finding")
QUICK = Settings()


def cohort(dataset: str, split: str, num: int = 240) -> ScoredSplit:
    draw = np.random.default_rng(list(f"{dataset}{split}".encode()))
    state = (draw.random((num, 2)) < 0.3).astype(np.int8)
    state[draw.random((num, 2)) < 0.1] = -1
    patient = np.array([f"p{i // 2}" for i in range(num)], object)
    sex, age = draw.choice(np.array(["F", "M"], object), num), draw.integers(20, 90, num).astype(float)
    strict = np.where(draw.random(state.shape) < 0.2, np.int8(0), state)
    who = PatientGroups(sex, age, np.full(num, "PA", object), np.full(num, "", object), {"strict": strict})
    image = np.array([f"{dataset}{split}{i}" for i in range(num)], object)
    none = np.zeros(state.shape, np.float32)
    return ScoredSplit(dataset, split, "report", image, patient, none, state, patient_groups=who)


def logits(part: ScoredSplit, run: int) -> np.ndarray:
    draw = np.random.default_rng([run, len(part.name)])
    return (draw.normal(size=part.state.shape) + part.state - 1).astype(np.float32)


def scored(shared: list[ScoredSplit], run: int, unlearned: tuple[str, ...] = ()) -> RunScores:
    return score_run("r", FINDINGS, "internal", [part.of_run(logits(part, run)) for part in shared], QUICK, unlearned)


def cohorts() -> list[ScoredSplit]:
    return [cohort("internal", "val"), cohort("internal", "test"), cohort("near", "all"), cohort("farther", "all")]


def same(first: RunScores, second: RunScores) -> bool:
    tables = [
        (getattr(first, name), getattr(second, name))
        for name in ("scores", "gaps", "reliability", "delong", "confusion")
    ]
    tables += [(first.detail[name], second.detail[name]) for name in first.detail]
    for one, two in tables:
        pd.testing.assert_frame_equal(one, two, check_exact=True)
    return all(
        one.value == second.estimates[name].value
        and all(np.array_equal(of, second.estimates[name].influence.of[key]) for key, of in one.influence.of.items())
        for name, one in first.estimates.items()
    )


@pytest.mark.slow
def test_a_run_has_the_same_scores_before_and_after_other_runs() -> None:
    shared = cohorts()
    scored(shared, 0)
    scored(shared, 1, unlearned=("Edema",))
    for run, unlearned in ((2, ()), (3, ("Edema",)), (4, ())):
        assert same(scored(shared, run, unlearned), scored(cohorts(), run, unlearned))


@pytest.mark.slow
def test_weights_are_computed_again_for_another_internal_hospital() -> None:
    shared, other = cohorts(), cohort("internal", "test", 300)
    scored(shared, 0)
    moved = [shared[0], other, *shared[2:]]
    assert same(scored(moved, 1), scored([cohorts()[0], cohort("internal", "test", 300), *cohorts()[2:]], 1))
    assert same(scored(shared, 1), scored(cohorts(), 1))


def test_another_label_mapping_shares_no_cache() -> None:
    part = cohort("internal", "test")
    assert part.of_run(logits(part, 0)).identity is part.identity
    assert part.of_run(logits(part, 0)).labels() is part.labels()
    other = replace(part, state=np.zeros_like(part.state))
    assert other.identity is not part.identity
    assert (other.labels() == 0).all()
    fewer = without(part, ("Edema",), FINDINGS)
    assert fewer.identity is not part.identity
    assert without(part.of_run(logits(part, 1)), ("Edema",), FINDINGS).identity is fewer.identity


def test_logits_of_another_run_are_validated() -> None:
    part = cohort("internal", "test")
    with pytest.raises(ValueError, match="internal/test: logits"):
        part.of_run(np.zeros((3, 2), np.float32))
    with pytest.raises(ValueError, match="1 of 480 logits of internal/test are NaN"):
        part.of_run(np.where(np.arange(480).reshape(240, 2) == 7, np.nan, logits(part, 0)).astype(np.float32))
