"""What holds for every estimator that needs only logits, whatever the images."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bench.extensions.estimates.from_logits import atc, cbpe
from bench.extensions.estimates.quantities import QUANTITIES, InternalFinding
from bench.scoring.calibrators import fit_platt
from tests.extensions.estimates.hospitals import internal

each = pytest.mark.parametrize("estimator", [cbpe, atc])
pytestmark = pytest.mark.slow  # up to 150 drawn examples for each estimator

# few values: many images have the same logit; the far ones have probabilities of exactly 0 and 1
some_logits = st.one_of(
    st.sampled_from([-800.0, -40.0, -1.0, -0.5, 0.0, 0.5, 1.0, 40.0, 800.0]), st.floats(-8, 8, width=32)
)


@st.composite
def internal_of_runs(draw: st.DrawFn) -> InternalFinding:
    """A validation split, its calibrator, and a threshold that is the logit of an image, or none."""
    logit = np.array(draw(st.lists(some_logits, min_size=1, max_size=12)), np.float64)
    label = draw(arrays(np.int8, len(logit), elements=st.integers(0, 1)))
    threshold = draw(st.one_of(st.just(float("nan")), st.sampled_from(logit.tolist())))
    return InternalFinding(label, logit, threshold, fit_platt(label, logit))


@each
@given(internal_of_runs(), st.lists(some_logits, max_size=12))
@settings(max_examples=150)
def test_values_are_shares_or_nan_for_any_images(estimator, here: InternalFinding, logits: list[float]) -> None:
    found = estimator(here, np.array(logits, np.float64))
    assert set(found) <= set(QUANTITIES)
    for name, value in found.items():
        assert np.isnan(value) or 0 <= value <= 1, (name, value)
    if not logits:
        assert not [name for name, value in found.items() if np.isfinite(value)]


@each
@given(internal_of_runs(), st.lists(some_logits, min_size=1, max_size=12), st.randoms(use_true_random=False))
@settings(max_examples=80)
def test_the_order_of_images_has_no_effect(estimator, here: InternalFinding, logits: list[float], chance) -> None:
    mixed = chance.sample(logits, len(logits))
    one, two = (estimator(here, np.array(order, np.float64)) for order in (logits, mixed))
    assert set(one) == set(two)
    for name in one:
        assert one[name] == pytest.approx(two[name], abs=1e-9, nan_ok=True), name


@each
@pytest.mark.parametrize("label", [0, 1])
def test_a_home_with_labels_of_one_class_gives_no_value_that_needs_a_calibrator(estimator, label: int) -> None:
    logit = np.linspace(-2, 2, 50)
    here = internal(np.full(50, label, np.int8), logit, threshold=0.0)
    found = estimator(here, np.linspace(-3, 1, 60))
    assert not [name for name, value in found.items() if np.isfinite(value)]
