import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit

from bench.scoring.calibration_metrics import ace, equal_mass_bin_of, errors
from bench.scoring.calibrators import FITS, Isotonic, fit_platt, fit_temperature
from bench.scoring.metrics import auprc, auroc
from tests.calibration_oracle import ece

LABEL = np.array([0, 0, 1, 1, 0, 1, 0, 1, 0, 0], np.int8)
PROB = np.array([0.1, 0.4, 0.35, 0.8, 0.2, 0.7, 0.5, 0.5, 0.05, 0.3])


def ece_fast(label: np.ndarray, prob: np.ndarray, bins: int = 15) -> float:
    """Return the error as in the scores, without netcal."""
    return errors(label, prob, bins)["ece"]


@pytest.mark.parametrize("function", [ece, ece_fast])
def test_calibration_errors_of_worked_examples(function: Callable[..., float]) -> None:
    assert function(LABEL, PROB, 5) == pytest.approx(0.12, abs=1e-12)
    assert function(LABEL, PROB, 10) == pytest.approx(0.22, abs=1e-12)
    assert function(np.array([0, 1] * 10), np.full(20, 0.9)) == pytest.approx(0.4, abs=1e-12)
    calibrated = np.array([1] + [0] * 9 + [1] * 9 + [0])
    assert function(calibrated, np.repeat([0.1, 0.9], 10)) == pytest.approx(0, abs=1e-12)
    assert math.isnan(function(np.zeros(0), np.zeros(0)))


def simulated() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    z = generator.normal(0, 1.5, 4000)
    return (generator.random(4000) < expit(z)).astype(np.int8), 2.5 * z + 1


def test_platt_reverses_a_known_distortion() -> None:
    label, logit = simulated()
    line = fit_platt(label, logit)
    assert line.a == pytest.approx(0.4049, abs=0.002)
    assert line.b == pytest.approx(-0.3962, abs=0.002)
    assert ece_fast(label, expit(logit)) > 0.1
    assert ece_fast(label, line.apply(logit)) < 0.03


def test_platt_is_the_optimum_of_the_smoothed_likelihood() -> None:
    label, logit = simulated()
    line = fit_platt(label, logit)
    num_positive, num_negative = label.sum(), (label == 0).sum()
    target = np.where(label == 1, (num_positive + 1) / (num_positive + 2), 1 / (num_negative + 2))

    def loss(ab: np.ndarray) -> float:
        z = ab[0] * logit + ab[1]
        return float(np.mean(np.logaddexp(0, z) - target * z))

    plain = minimize(loss, [1.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-14, "maxiter": 2000})
    assert (line.a, line.b) == pytest.approx(tuple(plain.x), abs=1e-5)


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (0.01, 0.0), (10.0, 0.0), (1.0, -1000.0), (1.0, 5.0)])
def test_the_gradient_of_the_loss_is_zero_at_the_platt_fit(scale: float, shift: float) -> None:
    label, logit = simulated()
    for num in (20, 4000):
        few, moved = label[:num], (scale * logit[:num] + shift).astype(np.float32)
        target = np.where(few == 1, (few.sum() + 1) / (few.sum() + 2), 1 / ((few == 0).sum() + 2))
        residual = fit_platt(few, moved).apply(moved) - target
        z = (moved - moved.mean(dtype=np.float64)) / moved.std(dtype=np.float64)
        assert (residual.mean(), (residual * z).mean()) == pytest.approx((0, 0), abs=1e-9)


def test_platt_stays_finite_on_separable_huge_and_constant_logits() -> None:
    label = np.array([0] * 50 + [1] * 5, np.int8)
    for logit in (np.linspace(-1, 1, 55), np.linspace(-1e6, 1e6, 55), np.linspace(-1e-6, 1e-6, 55)):
        line = fit_platt(label, logit)
        assert np.isfinite([line.a, line.b]).all()
        assert auroc(label, line.apply(logit)) > 0.99
    constant = fit_platt(label, np.full(55, 3.0))
    assert constant.a == 0
    assert constant.apply(np.array([3.0]))[0] == pytest.approx(5 / 55, abs=0.02)


def test_platt_and_its_probabilities_are_nan_without_both_classes() -> None:
    line = fit_platt(np.ones(5, np.int8), np.arange(5.0))
    assert math.isnan(line.a)
    assert np.isnan(line.apply(np.arange(3.0))).all()


def cohort(prevalence: float) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and probabilities that are calibrated at prevalence .3."""
    generator = np.random.default_rng(1)
    label = (generator.random(40_000) < prevalence).astype(np.int8)
    x = generator.normal(1.5 * label, 1)
    return label, expit(1.5 * x - 1.125 + np.log(0.3 / 0.7))


def test_prevalence_changes_auprc_and_ece_but_not_auroc() -> None:
    internal, external = cohort(0.30), cohort(0.05)
    assert (auroc(*internal), auroc(*external)) == pytest.approx((0.855, 0.856), abs=0.01)
    assert (auprc(*internal), auprc(*external)) == pytest.approx((0.735, 0.337), abs=0.01)
    assert (ece_fast(*internal), ece_fast(*external)) == pytest.approx((0.005, 0.161), abs=0.01)


@pytest.mark.parametrize("num_points", [1, 2, 30])
def test_interpolation_equals_numpys_for_any_order(num_points: int) -> None:
    draw = np.random.default_rng(num_points)
    x, y = (np.sort(draw.random(num_points, np.float32)).astype(np.float64) for _ in range(2))
    logit = np.concatenate([draw.normal(0.5, 0.5, 200), x]).astype(np.float32)
    for given in (logit, np.sort(logit), -np.sort(-logit)):
        np.testing.assert_array_equal(Isotonic(x, y).apply(given), np.interp(given.astype(np.float64), x, y))


def test_equal_mass_bins_have_equal_sizes_and_never_separate_equal_probabilities() -> None:
    prob = np.random.default_rng(0).random(1000)
    assert set(np.bincount(equal_mass_bin_of(prob))) == {66, 67}
    tied = prob.round(1)
    assert all(len(set(equal_mass_bin_of(tied)[tied == value])) == 1 for value in np.unique(tied))
    label = (np.random.default_rng(1).random(1000) < prob).astype(np.int8)
    pieces = np.array_split(np.argsort(prob), 15)
    by_rank = np.mean([abs(label[rows].mean() - prob[rows].mean()) for rows in pieces])
    assert ace(label, prob) == pytest.approx(by_rank, abs=0.01)  # they split 1,000 at other places, by one image


@pytest.mark.slow
def test_brier_terms_add_up_and_equal_murphys_for_forecasts_equal_in_each_bin() -> None:
    label, prob = cohort(0.3)
    found = errors(label, prob)
    whole = found["brier_reliability"] - found["brier_resolution"] + found["brier_uncertainty"]
    assert whole == pytest.approx(found["brier"], abs=1e-12)
    coarse = (np.floor(prob * 15) + 0.5) / 15
    _, bin_of = np.unique(coarse, return_inverse=True)
    share = (np.bincount(bin_of, label) / np.bincount(bin_of))[bin_of]
    found = errors(label, coarse)
    assert found["brier_reliability"] == pytest.approx(np.mean((coarse - share) ** 2), abs=1e-12)
    assert found["brier_resolution"] == pytest.approx(np.mean((share - label.mean()) ** 2), abs=1e-12)


def test_temperature_reverses_scale_but_not_bias() -> None:
    label, logit = simulated()
    found = fit_temperature(label, logit)
    best = minimize(
        lambda t: float(np.mean(np.logaddexp(0, logit / t[0]) - label * logit / t[0])), [2.0], method="Nelder-Mead"
    )
    assert found.t == pytest.approx(best.x[0], abs=1e-3)
    assert ece_fast(label, expit(logit)) == pytest.approx(0.149, abs=0.002)
    assert ece_fast(label, found.apply(logit)) == pytest.approx(0.067, abs=0.002)
    assert auroc(label, found.apply(logit)) == auroc(label, logit)
    plain = np.random.default_rng(2).random(len(logit)) < expit(logit)
    assert fit_temperature(plain.astype(np.int8), logit).t == pytest.approx(1, abs=0.1)


def test_fits_accept_data_that_cannot_be_fitted() -> None:
    label = np.array([0, 0, 1, 1], np.int8)
    for fit in FITS.values():
        for y, score in ((np.ones(4, np.int8), np.arange(4.0)), (np.zeros(0, np.int8), np.zeros(0))):
            assert np.isnan(fit(y, score).apply(np.arange(3.0))).all()
        for score in (np.zeros(4), np.full(4, 7.0), np.array([-1e6, -1, 1, 1e6]), np.array([3.0, 2, -2, -3])):
            prob = fit(label, score).apply(score)
            assert ((prob >= 0) & (prob <= 1)).all()
        with pytest.raises(ValueError, match="1 of 4"):
            fit(label, np.array([0, 1, np.nan, 2]))
    assert fit_temperature(label, np.array([3.0, 2, -2, -3])).t == pytest.approx(np.exp(5))
    assert fit_temperature(label, np.array([-3.0, -2, 2, 3])).t == pytest.approx(np.exp(-5))
