"""Intercept, slope and O:E equal those of statsmodels, and their intervals its intervals with clustered errors."""

import numpy as np
import pytest
import statsmodels.api as sm
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import t

from bench.extensions.calibration import fits
from bench.extensions.calibration.fits import Calibration, calibration

Array = NDArray[np.float64]
Drawn = tuple[Array, NDArray[np.bool_], NDArray[np.int32]]


def drawn(seed: int, num: int = 400, factor: float = 1.7, shift: float = 0.8, prevalence: float = -1.5) -> Drawn:
    """Return falling logits, labels and patients: images of a patient are alike, and the probabilities too extreme."""
    draw = np.random.default_rng(seed)
    patient = draw.integers(0, num // 3, num).astype(np.int32)
    x = draw.normal(size=num) + draw.normal(size=num)[patient] + prevalence
    positive = draw.random(num) < expit(x + 0.8 * draw.normal(size=num)[patient])
    order = np.argsort(-x)
    return (factor * x + shift)[order], positive[order], patient[order]


def of_statsmodels(logit: Array, positive: NDArray[np.bool_], patient: NDArray[np.int32]) -> dict[str, list[float]]:
    """Return value, low, high and standard error of each number by generalized linear models with errors clustered by patient."""
    ones, label = np.ones(len(logit)), positive.astype(float)
    num = len(np.unique(patient))
    # only the factor P / (P - 1): not the factor (n - 1) / (n - k) as well, which statsmodels has for linear models
    clustered = {"cov_type": "cluster", "cov_kwds": {"groups": patient, "use_correction": False}}
    precise = {"tol": 1e-14, "maxiter": 200}
    large = sm.GLM(label, ones, sm.families.Binomial(), offset=logit).fit(**precise, **clustered)
    line = sm.GLM(label, sm.add_constant(logit), sm.families.Binomial()).fit(**precise, **clustered)
    ratio = sm.GLM(label, ones, sm.families.Poisson(), offset=np.log(expit(logit))).fit(**precise, **clustered)
    found = {}
    for name, model, k in (("intercept", large, 0), ("slope", line, 1), ("observed_expected", ratio, 0)):
        # the influence of each patient on the coefficient, and Satterthwaite's degrees of freedom
        weight = model.resid_response[:, None] * model.model.exog @ np.asarray(model.normalized_cov_params)
        squares = np.bincount(patient, weight[:, k])[np.unique(patient)] ** 2
        assert squares.sum() == pytest.approx(model.bse[k] ** 2, rel=1e-6)
        degrees = squares.sum() ** 2 / (squares**2).sum() - 1
        error = model.bse[k] * np.sqrt(num / (num - 1))
        half = t.ppf(0.975, degrees) * error
        numbers = model.params[k] + np.array([0, -half, half])
        found[name] = [*(np.exp(numbers) if name == "observed_expected" else numbers), error]
    return found


@pytest.mark.parametrize("prevalence", [-4.0, -1.5, 2.0])
@pytest.mark.parametrize("scale", [(1.0, 0.0), (0.45, -0.7), (-0.3, -1.0)])
def test_values_and_intervals_equal_those_of_statsmodels(prevalence: float, scale: tuple[float, float]) -> None:
    logit, positive, patient = drawn(3, prevalence=prevalence)
    _, found = calibration(logit, positive, patient, [(1.0, 0.0), scale])
    expected = of_statsmodels(scale[0] * logit + scale[1], positive, patient)
    assert found.reason == ""
    for name, numbers in expected.items():
        assert list(getattr(found, name)) == pytest.approx(numbers, abs=1e-6), name


@pytest.mark.parametrize("factor", [1e-3, 30.0, 400.0])
def test_extreme_logits_give_the_same_numbers_as_a_slow_fit(factor: float) -> None:
    logit, positive, patient = drawn(5, factor=factor, shift=0.0)
    plain, other = calibration(logit, positive, patient, [(1.0, 0.0), (1 / factor, 0.0)])
    assert list(plain.slope) == pytest.approx(
        of_statsmodels(logit / factor, positive, patient)["slope"] / np.array(factor)
    )
    assert expit(logit + plain.intercept.value).sum() == pytest.approx(positive.sum(), rel=1e-9)
    assert other.slope.value == pytest.approx(plain.slope.value * factor)


def test_images_of_the_same_patient_count_together() -> None:
    logit, positive, patient = drawn(1)
    [once] = calibration(logit, positive, patient, [(1.0, 0.0)])
    twice = [np.repeat(column, 2) for column in (logit, positive, patient)]
    [found] = calibration(twice[0], twice[1], twice[2], [(1.0, 0.0)])
    for name in ("intercept", "slope", "observed_expected"):
        assert list(getattr(once, name)) == pytest.approx(list(getattr(found, name)), abs=1e-9)


def reason_of(logit: list[float], positive: list[int], patient: list[int] | None = None) -> Calibration:
    patients = np.array(patient if patient is not None else range(len(logit)), np.int32)
    [found] = calibration(np.array(logit, float), np.array(positive, bool), patients, [(1.0, 0.0)])
    return found


@pytest.mark.parametrize(
    ("logit", "positive", "patient", "reason"),
    [
        ([], [], [], fits.NO_IMAGES),
        ([2.0, 1.0, 0.0], [0, 0, 0], [0, 1, 2], fits.NO_POSITIVE),
        ([2.0, 1.0, 0.0], [1, 1, 1], [0, 1, 2], fits.NO_NEGATIVE),
        ([2.0, 1.0, 0.0, -1.0], [0, 1, 0, 0], [0, 1, 2, 3], fits.ONE_PATIENT),
        ([2.0, 1.0, 0.0, -1.0], [1, 0, 1, 0], [7, 7, 7, 7], fits.ONE_PATIENT),
    ],
)
def test_without_two_patients_of_each_class_there_is_a_reason_and_no_number(
    logit: list[float], positive: list[int], patient: list[int], reason: str
) -> None:
    found = reason_of(logit, positive, patient)
    assert found.reason == reason
    assert np.isnan([*found.intercept, *found.slope, *found.observed_expected]).all()


@pytest.mark.parametrize(
    ("logit", "positive", "reason"),
    [
        ([-1.0, -1.0, -1.0, -1.0, -1.0], [0, 1, 0, 1, 0], fits.EQUAL),
        ([2.0, 1.0, 0.0, -1.0, -2.0], [1, 1, 0, 0, 0], fits.SEPARATED),
        ([2.0, 1.0, 0.0, -1.0, -2.0], [0, 0, 0, 1, 1], fits.SEPARATED),
        (
            [2.0, 0.0, 0.0, -1.0, -2.0],
            [1, 1, 0, 0, 0],
            fits.SEPARATED,
        ),  # a tie of both classes: the slope is infinite, too
    ],
)
def test_without_a_slope_the_other_numbers_remain(logit: list[float], positive: list[int], reason: str) -> None:
    found = reason_of(logit, positive)
    assert found.reason == reason
    assert np.isnan(found.slope).all()
    assert expit(np.array(logit) + found.intercept.value).sum() == pytest.approx(2)
    assert found.observed_expected.value == pytest.approx(2 / expit(np.array(logit)).sum())
    assert found.observed_expected.low < found.observed_expected.value < found.observed_expected.high


def test_a_calibrator_that_could_not_be_fitted_has_a_reason_and_one_without_an_effect_no_slope() -> None:
    logit, positive, patient = drawn(1)
    missing, constant = calibration(logit, positive, patient, [(np.nan, np.nan), (0.0, -1.0)])
    assert missing.reason == fits.NO_PROBABILITIES
    assert np.isnan(missing.intercept.value)
    assert constant.reason == fits.EQUAL
    assert np.isnan(constant.slope.value)
    assert constant.observed_expected.value == pytest.approx(positive.sum() / (len(logit) * expit(-1.0)))
