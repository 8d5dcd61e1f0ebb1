"""What is computed a quick way equals the plain way: quantiles, areas, lines without one run."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.scoring import metrics
from bench.scoring.across_runs import robustness
from bench.scoring.bootstrap import intervals
from bench.scoring.bootstrap.sort_scores import area, falling
from tests.nonempty import nonempty

seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=60)
@given(seed=seeds, num=st.integers(1, 400), rounded=st.booleans(), missing=st.booleans())
def test_percentiles_are_numpys_to_the_last_bit(seed: int, num: int, rounded: bool, missing: bool) -> None:
    draw = np.random.default_rng(seed)
    drawn = draw.normal(size=(5, num))
    drawn = drawn.round() if rounded else drawn
    if missing:
        drawn[draw.random(drawn.shape) < 0.03] = np.nan
    value = np.where(draw.random(5) < 0.2, np.nan, 0.5)
    low, high = intervals.percentile(value, drawn)
    fine = (np.isfinite(drawn).mean(1) >= 0.95) & np.isfinite(value)
    share = (1 - intervals.LEVEL) / 2
    for row in range(5):
        expected = np.nanquantile(drawn[row], [share, 1 - share]) if fine[row] else np.full(2, np.nan)
        np.testing.assert_array_equal([low[row], high[row]], expected)


@settings(max_examples=40)
@given(seed=seeds, num=st.integers(0, 60))
def test_the_area_along_falling_scores_is_that_of_ranks(seed: int, num: int) -> None:
    draw = np.random.default_rng(seed)
    label, score = draw.integers(-1, 2, num).astype(np.int8), draw.integers(0, 9, num).astype(np.float32)
    order = falling(score)
    known = label >= 0
    assert area(label[order], score[order]) == pytest.approx(metrics.auroc(label[known], score[known]), nan_ok=True)


@settings(max_examples=40)
@given(seed=seeds, num=st.integers(4, 12), spoilt=st.integers(0, 3))
def test_lines_without_one_run_are_fits_without_it(seed: int, num: int, spoilt: int) -> None:
    draw = np.random.default_rng(seed)
    internal = draw.uniform(0.6, 0.95, (num, 4))
    external = internal - draw.uniform(0.0, 0.2, internal.shape)
    for at in range(spoilt):
        side = (internal, external)[at % 2]
        side[draw.integers(num), draw.integers(4)] = (1.0, np.nan, 0.0)[at]
    distance, expected = robustness.leave_one_out(internal, external)
    for run in nonempty(range(num)):
        others = np.arange(num) != run
        line = robustness.fit(internal[others], external[others]).expected(internal[run])
        np.testing.assert_allclose(expected[run], line, atol=1e-9)
        np.testing.assert_allclose(distance[run], external[run] - line, atol=1e-9)
