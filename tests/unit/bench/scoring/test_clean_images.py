"""The score without listed images is the score of exactly the other images."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from bench.config.settings import Settings
from bench.scoring.clean_images import clean_macro, clean_score
from bench.scoring.scored_split import ScoredSplit

SETTINGS = Settings(min_count=5)
NUM, PLANTED = 600, 100


@pytest.fixture(scope="module")
def split() -> ScoredSplit:
    """600 images; the logits of the first 100 are those of a model that learned their labels by heart."""
    draw = np.random.default_rng(0)
    state_NK = (draw.random((NUM, 3)) < 0.3).astype(np.int8)
    logit_NK = draw.normal(size=(NUM, 3)) + 0.8 * state_NK
    logit_NK[:PLANTED] = 9.0 * (2 * state_NK[:PLANTED] - 1)
    ids = np.array([f"i{n}" for n in range(NUM)], object)
    patients = np.array([f"p{n // 2}" for n in range(NUM)], object)
    return ScoredSplit("nih", "all", "report", ids, patients, logit_NK.astype(np.float32), state_NK)


def by_hand(split: ScoredSplit, rows: np.ndarray, findings: tuple[int, ...] = (0, 1, 2)) -> float:
    return float(np.mean([roc_auc_score(split.state[rows, k], split.logit[rows, k]) for k in findings]))


def test_100_planted_ids_move_the_score_by_exactly_these_images(split: ScoredSplit) -> None:
    planted = {f"i{n}" for n in range(PLANTED)}
    macro, num = clean_macro(split, planted, split, SETTINGS)
    others = np.arange(PLANTED, NUM)
    assert num == NUM - PLANTED
    assert macro.value == pytest.approx(by_hand(split, others), abs=1e-12)
    assert macro.value < by_hand(split, np.arange(NUM)) - 0.02
    without_one, _ = clean_macro(split, planted - {"i7"}, split, SETTINGS)
    assert without_one.value == pytest.approx(by_hand(split, np.append(others, 7)), abs=1e-12)
    assert without_one.value != macro.value


def test_ids_of_no_image_change_nothing(split: ScoredSplit) -> None:
    macro, num = clean_macro(split, {"x1"}, split, SETTINGS)
    assert (num, macro.value) == (NUM, pytest.approx(by_hand(split, np.arange(NUM)), abs=1e-12))


def test_the_macro_has_the_findings_that_the_internal_test_split_scores(split: ScoredSplit) -> None:
    state = split.state.copy()
    state[:, 1] = 0
    internal = ScoredSplit("chexpert", "test", "report", split.image_id, split.patient_id, split.logit, state)
    macro, _ = clean_macro(split, {"i0"}, internal, SETTINGS)
    assert macro.value == pytest.approx(by_hand(split, np.arange(1, NUM), (0, 2)), abs=1e-12)
    assert macro.sizes.num_findings == 2


def test_without_any_clean_image_there_is_no_score(split: ScoredSplit) -> None:
    score = clean_score([clean_macro(split, set(split.image_id), split, SETTINGS)])
    assert score.n == score.num_findings == 0
    assert np.isnan([score.value, score.low, score.high]).all()


def test_a_recipe_has_the_mean_of_its_runs_with_an_interval(split: ScoredSplit) -> None:
    noisy = split.of_run(split.logit + np.random.default_rng(1).normal(size=split.logit.shape).astype(np.float32))
    runs = [clean_macro(one, {"i0"}, split, SETTINGS) for one in (split, noisy)]
    score = clean_score(runs)
    assert score.value == pytest.approx(np.mean([macro.value for macro, _ in runs]))
    assert score.low < score.value < score.high
