"""What is computed a quick way equals the plain way: areas, lines without one run."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.scoring import metrics
from bench.scoring.across_runs import robustness
from bench.scoring.column import Column
from tests.nonempty import nonempty

seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=40)
@given(seed=seeds, num=st.integers(0, 60))
def test_the_area_along_falling_scores_is_that_of_ranks(seed: int, num: int) -> None:
    draw = np.random.default_rng(seed)
    label, score = draw.integers(-1, 2, num).astype(np.int8), draw.integers(0, 9, num).astype(np.float32)
    known = label >= 0
    area, _ = Column.of(np.arange(num, dtype=np.int32), label, score).auroc()
    assert area == pytest.approx(metrics.auroc(label[known], score[known]), nan_ok=True)


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
