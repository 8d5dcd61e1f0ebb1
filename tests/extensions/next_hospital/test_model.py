"""The meta-analysis agrees with other implementations and with published examples."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad
from statsmodels.stats.meta_analysis import combine_effects

from bench.extensions.next_hospital.random_effects import Panels, bayes, inconsistency
from benchmarks.reml import reml

ORACLE = Path(__file__).parents[2] / "oracles" / "next_hospital.json"  # written by scripts/oracles/next_hospital.py
# The 13 trials of the BCG vaccine (Colditz et al. 1994, as dat.bcg of the R package metafor): cases and non-cases of
# vaccinated persons, then of the others.
BCG = np.array(
    [
        (4, 119, 11, 128),
        (6, 300, 29, 274),
        (3, 228, 11, 209),
        (62, 13536, 248, 12619),
        (33, 5036, 47, 5761),
        (180, 1361, 372, 1079),
        (8, 2537, 10, 619),
        (505, 87886, 499, 87892),
        (29, 7470, 45, 7232),
        (17, 1699, 65, 1600),
        (186, 50448, 141, 27197),
        (5, 2493, 3, 2338),
        (27, 16886, 29, 17825),
    ],
    np.float64,
)


def bcg() -> tuple[np.ndarray, np.ndarray]:
    """Return log relative risks and their variances."""
    a, b, c, d = BCG.T
    return np.log(a / (a + b) * (c + d) / c), 1 / a - 1 / (a + b) + 1 / c - 1 / (c + d)


def test_reml_of_the_bcg_trials_is_that_of_metafor() -> None:
    """Metafor prints for rma(yi, vi, method="REML", test="knha"): tau² 0.3132, mean -0.7145; confint: tau² 0.1197 to 1.1115."""
    value, variance = bcg()
    fit = reml(Panels.of(value, variance))
    assert fit.tau[0] ** 2 == pytest.approx(0.3132, abs=5e-5)
    assert fit.mean[0] == pytest.approx(-0.7145, abs=5e-5)
    assert fit.tau_low[0] ** 2 == pytest.approx(0.1197, abs=5e-5)
    assert fit.tau_high[0] ** 2 == pytest.approx(1.1115, abs=5e-5)


@pytest.mark.parametrize("case", json.loads(ORACLE.read_text())["cases"])
def test_reml_agrees_with_pymare_and_statsmodels(case: dict[str, list[float]]) -> None:
    fit = reml(Panels.of(np.array(case["value"]), np.array(case["variance"])))
    assert fit.tau[0] ** 2 == pytest.approx(case["tau2"], abs=1e-6)
    assert fit.mean[0] == pytest.approx(case["mean"], abs=1e-6)
    assert (fit.low[0], fit.high[0]) == pytest.approx(tuple(case["hksj"]), abs=1e-6)
    assert (fit.new_low[0], fit.new_high[0]) == pytest.approx(tuple(case["prediction"]), abs=1e-6)


def test_mean_and_hksj_interval_agree_with_statsmodels_at_the_same_tau() -> None:
    """Statsmodels has no REML, so its weights get our tau: its fixed-effect fit of the summed variances."""
    value, variance = bcg()
    fit = reml(Panels.of(value, variance))
    other = combine_effects(value, variance + fit.tau[0] ** 2, method_re="iterated", use_t=True)
    low, high = other.conf_int()[2]  # fixed effect with the HKSJ scale
    assert fit.mean[0] == pytest.approx(other.mean_effect_fe, abs=1e-9)
    assert (fit.low[0], fit.high[0]) == pytest.approx((low, high), abs=1e-6)


def _density(tau: float, value: np.ndarray, variance: np.ndarray, scale: float) -> tuple[float, float, float]:
    """Return the unnormalized posterior density of a tau, and mean and error of the mean given tau."""
    total = variance + tau**2
    precision = (1 / total).sum()
    mean = (value / total).sum() / precision
    likelihood = np.prod(stats.norm.pdf(value, mean, np.sqrt(total))) * np.sqrt(2 * np.pi / precision)
    return likelihood * stats.halfnorm.pdf(tau, scale=scale), mean, precision**-0.5


@pytest.mark.parametrize("scale", [0.1, 0.5])
@pytest.mark.parametrize("hospitals", [3, 13])
def test_bayesian_fit_agrees_with_adaptive_quadrature(scale: float, hospitals: int) -> None:
    value, variance = (numbers[:hospitals] for numbers in bcg())
    fit = bayes(Panels.of(value, variance), scale)

    def integral(function: object) -> float:
        return quad(
            lambda t: function(t, *_density(t, value, variance, scale)),
            0,
            12 * scale,
            epsrel=1e-10,
            epsabs=0,
            limit=500,
        )[0]

    whole = integral(lambda t, density, mean, error: density)
    new_low = integral(
        lambda t, density, mean, error: density * stats.norm.cdf(fit.new_low[0], mean, np.hypot(error, t))
    )
    mean_high = integral(lambda t, density, mean, error: density * stats.norm.cdf(fit.high[0], mean, error))
    below = integral(lambda t, density, mean, error: density * stats.norm.cdf(-0.5, mean, np.hypot(error, t)))
    assert new_low / whole == pytest.approx(0.025, abs=1e-6)
    assert mean_high / whole == pytest.approx(0.975, abs=1e-6)
    assert fit.below(np.array([-0.5]))[0] == pytest.approx(below / whole, abs=1e-6)


@pytest.mark.parametrize("hospitals", [3, 13])
def test_bayesian_fit_agrees_with_a_plain_integration_of_likelihood_and_prior_over_mean_and_tau(hospitals: int) -> None:
    value, variance = (numbers[:hospitals] for numbers in bcg())
    scale, x, quadrature = 0.5, *np.polynomial.legendre.leggauss(40)
    fit = bayes(Panels.of(value, variance), scale)

    def nodes(edges: list[float]) -> tuple[np.ndarray, np.ndarray]:
        half = np.diff(sorted(edges))[:, None] / 2
        return (np.array(sorted(edges))[:-1, None] + half * (1 + x)).ravel(), (half * quadrature).ravel()

    def integral(
        weight: Callable[[np.ndarray, np.ndarray], np.ndarray], mean_at: float = 0.0, tau_at: float = 1.0
    ) -> float:
        mean, of_mean = nodes([-9, -4, -2.5, -1.8, -1.3, -0.9, -0.6, -0.3, 0.3, 1, 2.5, 6, mean_at])
        tau, of_tau = nodes([0, 0.05, 0.15, 0.3, 0.5, 0.75, 1.3, 2, 4, tau_at])
        total = variance + tau[:, None] ** 2
        exponent = ((value - mean[:, None, None]) ** 2 / total).sum(-1) + (tau / scale) ** 2
        density = np.exp(-exponent / 2) / np.sqrt(total.prod(-1))
        return float((of_mean[:, None] * of_tau * density * weight(mean[:, None], tau)).sum())

    whole = integral(lambda mean, tau: np.ones(1))
    found = []
    for name in ("low", "mean", "high"):
        [end] = getattr(fit, name)
        found.append(integral(lambda mean, tau, end=end: mean <= end, mean_at=end) / whole)
        [end] = getattr(fit, {"mean": "tau"}.get(name, f"tau_{name}"))
        found.append(integral(lambda mean, tau, end=end: tau <= end, tau_at=end) / whole)
    for [end] in (fit.new_low, fit.new_high):
        found.append(integral(lambda mean, tau, end=end: stats.norm.cdf((end - mean) / tau)) / whole)
    assert found == pytest.approx([0.025, 0.025, 0.5, 0.5, 0.975, 0.975, 0.025, 0.975], abs=1e-6)


def test_reml_has_the_largest_restricted_likelihood() -> None:
    """With equal within-hospital variances, REML is the variance of the values minus the within-hospital variance."""
    values = np.random.default_rng(0).normal(0, 1, (200, 6))
    expected = (values.var(1, ddof=1) - 0.4).clip(0)
    assert (expected == 0).any()
    assert reml(Panels.of(values, np.full(values.shape, 0.4))).tau ** 2 == pytest.approx(expected, abs=1e-9)


def test_prediction_interval_has_a_t_quantile_with_two_degrees_less_than_hospitals() -> None:
    value, variance = bcg()
    fit = reml(Panels.of(value, variance))
    error = (fit.high[0] - fit.mean[0]) / stats.t.ppf(0.975, 12)
    half = stats.t.ppf(0.975, 11) * np.hypot(error, fit.tau[0])
    assert (fit.new_low[0], fit.new_high[0]) == pytest.approx((fit.mean[0] - half, fit.mean[0] + half))
    assert fit.below(fit.new_high)[0] == pytest.approx(0.975)
    assert inconsistency(Panels.of(value, variance))[0] == pytest.approx(1 - 12 / 152.2330, abs=1e-5)  # metafor's Q


def test_an_error_that_all_hospitals_share_widens_the_intervals_and_is_no_tau() -> None:
    value, variance = bcg()
    plain, shared = reml(Panels.of(value, variance)), reml(Panels.of(value, variance + 0.3, 0.3))
    assert shared.tau == pytest.approx(plain.tau)
    width = ((fit.high[0] - fit.low[0]) / 2 / stats.t.ppf(0.975, 12) for fit in (plain, shared))
    assert np.subtract(*(error**2 for error in width)) == pytest.approx(-0.3)


FITS = [reml, lambda panels: bayes(panels, 0.5)]


@pytest.mark.parametrize("fit", FITS)
def test_unusual_panels_have_finite_numbers(fit: object) -> None:
    nan = np.nan
    value = np.array(
        [
            [1.0, 1.0, 1.0, 1.0, 1.0],  # all values equal, without any error
            [1.0, 2.0, 3.0, nan, nan],  # the common error is larger than the whole error, so it is clamped
            [1.0, 2.0, 3.0, 1.0, 2.0],  # a hospital with few positive images
            [1.0, 2.0, nan, nan, nan],
            [nan, nan, nan, nan, nan],
        ]
    )
    variance = np.full(value.shape, 0.1)
    variance[0], variance[2, 0] = 0.0, 1e6
    panels = Panels.of(value, variance, np.array([0, 0.2, 0, 0, 0]))
    assert panels.enough.tolist() == [True, True, True, False, False]
    assert panels.num_clamped.tolist() == [5, 3, 0, 0, 0]
    result = fit(panels.at(panels.enough))
    columns = np.stack([getattr(result, name) for name in ("mean", "low", "high", "new_low", "new_high", "tau")])
    assert np.isfinite(columns).all()
    assert (columns[3] <= columns[1]).all()
    assert (columns[4] >= columns[2]).all()
    below = result.below(np.array([1.5, 2.0, 2.0]))
    assert below[0] == pytest.approx(1, abs=0.02)
    assert below[1] == pytest.approx(0.5)
    with pytest.raises(ValueError, match="fewer than 3 hospitals"):
        fit(panels)


def test_forty_hospitals_have_the_interval_of_their_population() -> None:
    value = np.random.default_rng(1).normal(0.8, 0.3, (20, 40))
    for fit in FITS:
        result = fit(Panels.of(value, np.full(value.shape, 0.001)))
        assert result.tau.mean() == pytest.approx(0.3, abs=0.03)
        assert result.new_low.mean() == pytest.approx(0.8 - 1.96 * 0.3, abs=0.08)
