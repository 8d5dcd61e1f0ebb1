"""Agreement with the package netcal, an independent implementation of calibration errors and calibrators."""

import warnings

import numpy as np
import pytest

from bench.scoring.calibration_metrics import ace
from bench.scoring.calibrators import fit_isotonic, fit_platt, fit_temperature, sigmoid

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # netcal's source code has invalid escape sequences
    from netcal.binning import IsotonicRegression
    from netcal.metrics import ACE
    from netcal.scaling import LogisticCalibration, TemperatureScaling


def images(num: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    label = (generator.random(num) < 0.2).astype(np.int8)
    return label, (1.5 * label + generator.normal(size=num) - 1.5).astype(np.float32)


def test_ace_equals_that_of_netcal_with_as_many_images_in_each_bin() -> None:
    """ECE and MCE: `tests/properties/test_scoring.py`."""
    label, logit = images(3000, 0)
    prob = sigmoid(logit)
    assert ace(label, prob) == pytest.approx(ACE(15, equal_intervals=False).measure(prob, label.astype(int)), abs=1e-12)


@pytest.mark.parametrize(
    ("fit", "theirs", "distance"),
    [
        (fit_isotonic, IsotonicRegression, 1e-12),
        (fit_temperature, TemperatureScaling, 1e-5),
        (fit_platt, LogisticCalibration, 1e-2),
    ],
)
def test_calibrators_equal_those_of_netcal(fit, theirs, distance) -> None:
    """Platt's targets differ from labels of 0 and 1 by 1 / (n + 2), so our curve is close to netcal's, not equal."""
    label, logit = images(3000, 1)
    other = theirs()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        other.fit(sigmoid(logit), label)
        expected = np.ravel(other.transform(sigmoid(logit)))
    assert fit(label, logit).apply(logit) == pytest.approx(expected, abs=distance)


def test_platt_scaling_of_separated_images_stays_away_from_0_and_1() -> None:
    label, logit = np.repeat([0, 1], [20, 3]).astype(np.int8), np.append(np.linspace(-3, -1, 20), [1, 2, 3])
    prob = fit_platt(label, logit).apply(logit)
    assert 0.001 < prob.min() < prob.max() < 0.99
