import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from bench.scoring.metrics_of_split import OperatingPoints
from bench.scoring.probability_distributions import EDGES, LEVELS, quantiles, shares
from bench.scoring.score_run import RunScores, score_run
from tests.unit.bench.scoring.test_score_run import FINDINGS, QUICK, parts


@pytest.fixture(scope="module")
def scored() -> RunScores:
    return score_run("abc", FINDINGS, "chexpert", parts(), QUICK)


def test_the_distribution_of_an_outcome_has_the_quantiles_of_its_probabilities(scored: RunScores) -> None:
    splits, table = parts(), scored.detail["probabilities"].set_index(["dataset", "finding", "outcome"])
    fits = OperatingPoints.choose(splits[0], len(FINDINGS)).fits["platt"]
    for k, finding in enumerate(FINDINGS):
        for outcome, sign in (("present", 1), ("absent", 0)):
            row = table.loc[("vindr", finding, outcome)]
            prob = fits[k].apply(splits[3].logit[splits[3].labels()[:, k] == sign, k])
            assert row["n"] == len(prob)
            assert row["mean"] == pytest.approx(prob.mean(), abs=1e-12)
            found = row[["q05", "q25", "q50", "q75", "q95"]].to_list()
            assert found == pytest.approx(list(np.quantile(prob, LEVELS)), abs=1e-12)
            counts, _ = np.histogram(prob, EDGES)
            np.testing.assert_allclose(row["shares"], counts / len(prob), atol=1e-6)


@given(st.lists(st.floats(0, 1), max_size=30))
def test_quantiles_and_shares_of_any_probabilities(probabilities: list[float]) -> None:
    rising = np.sort(np.array(probabilities, float))
    if not len(rising):
        assert np.isnan(quantiles(rising)).all()
        assert shares(rising).sum() == 0
        return
    np.testing.assert_allclose(quantiles(rising), np.quantile(rising, LEVELS), atol=1e-12)
    np.testing.assert_allclose(shares(rising) * len(rising), np.histogram(rising, EDGES)[0], atol=1e-9)


def test_bins_have_equal_widths_on_the_logit_scale() -> None:
    assert EDGES[0] == 0
    assert EDGES[-1] == 1
    np.testing.assert_allclose(EDGES[1:-1], expit(np.arange(-6, 6.1, 0.5)))


def test_a_cohort_that_cannot_state_a_finding_has_no_rows(scored: RunScores) -> None:
    table: pd.DataFrame = scored.detail["probabilities"]
    assert table[(table["dataset"] == "nih") & (table["finding"] == FINDINGS[2])].empty
