"""The meta-analysis agrees with independent integrations and with published examples."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad

from bench.extensions.next_hospital.random_effects import T_WEIGHT, T_WIDTH, Panels, Posterior, bayes, inconsistency

# The 13 trials of the BCG vaccine (Colditz et al. 1994, as dat.bcg of the R package metafor): cases and non-cases of
# vaccinated persons, then of the others.
BCG = np.array(
    [
        [4, 6, 3, 62, 33, 180, 8, 505, 29, 17, 186, 5, 27],
        [119, 300, 228, 13536, 5036, 1361, 2537, 87886, 7470, 1699, 50448, 2493, 16886],
        [11, 29, 11, 248, 47, 372, 10, 499, 45, 65, 141, 3, 29],
        [128, 274, 209, 12619, 5761, 1079, 619, 87892, 7232, 1600, 27197, 2338, 17825],
    ],
    np.float64,
).T


def bcg() -> tuple[np.ndarray, np.ndarray]:
    """Return log relative risks and their variances."""
    a, b, c, d = BCG.T
    return np.log(a / (a + b) * (c + d) / c), 1 / a - 1 / (a + b) + 1 / c - 1 / (c + d)


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


def test_unusual_panels_have_finite_numbers() -> None:
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
    result = bayes(panels.at(panels.enough), 0.5)
    columns = np.stack([getattr(result, name) for name in ("mean", "low", "high", "new_low", "new_high", "tau")])
    assert np.isfinite(columns).all()
    assert (columns[3] <= columns[1]).all()
    assert (columns[4] >= columns[2]).all()
    below = result.below(np.array([1.5, 2.0, 2.0]))
    assert below[0] == pytest.approx(1, abs=0.02)
    assert below[1] == pytest.approx(0.5)
    with pytest.raises(ValueError, match="fewer than 3 hospitals"):
        bayes(panels, 0.5)


def test_forty_hospitals_have_the_interval_of_their_population() -> None:
    value = np.random.default_rng(1).normal(0.8, 0.3, (20, 40))
    result = bayes(Panels.of(value, np.full(value.shape, 0.001)), 0.5)
    assert result.tau.mean() == pytest.approx(0.3, abs=0.03)
    assert result.new_low.mean() == pytest.approx(0.8 - 1.96 * 0.3, abs=0.08)


def test_the_inconsistency_of_the_bcg_trials_is_that_of_metafor() -> None:
    assert inconsistency(Panels.of(*bcg()))[0] == pytest.approx(1 - 12 / 152.2330, abs=1e-5)  # metafor's Q


def test_an_error_that_all_hospitals_share_widens_the_intervals_and_is_no_tau() -> None:
    value, variance = bcg()
    plain, shared = bayes(Panels.of(value, variance), 0.5), bayes(Panels.of(value, variance + 0.3, 0.3), 0.5)
    assert shared.tau == pytest.approx(plain.tau)
    assert shared.high[0] - shared.low[0] > np.sqrt((plain.high[0] - plain.low[0]) ** 2 + 4 * 1.9**2 * 0.3)


def crossed(holes: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Return values [H, K] and covariances [H, K, K] of four hospitals and three findings."""
    draw = np.random.default_rng(4)
    value = np.array([0.4, 1.0, 1.6]) + draw.normal(0, 0.3, (4, 1)) + draw.normal(0, 0.2, (4, 3))
    error = draw.uniform(0.1, 0.3, (4, 3))
    if holes:
        value[0, 2] = value[3, 1] = np.nan
    return value, error[:, :, None] * error[:, None] * (0.3 + 0.7 * np.eye(3))


@pytest.mark.parametrize("holes", [False, True])
def test_crossed_effects_have_the_restricted_likelihood_of_plain_matrices(holes: bool) -> None:
    """At each node: f by generalized least squares, and a density that is the restricted likelihood times both priors."""
    value, covariance = crossed(holes)
    posterior = Posterior.of(Panels.crossed(value[None], covariance[None], np.zeros((1, 3, 3))), 0.5)
    known = np.isfinite(value)
    hospital, finding = np.nonzero(known)
    design, same = np.eye(3)[finding], hospital[:, None] == hospital
    own = np.where(same, covariance[hospital[:, None], finding[:, None], finding], 0.0)
    nodes, log_densities = [(3, 2), (10, 12), (14, 8)], []
    for u, v in nodes:
        tau, tau_v = posterior.root[0, u] ** 2, posterior.root_v[0, v] ** 2
        total = own + tau**2 * same + tau_v**2 * np.eye(len(own))
        precision = design.T @ np.linalg.solve(total, design)
        mean = np.linalg.solve(precision, design.T @ np.linalg.solve(total, value[known]))
        rest = value[known] - design @ mean
        sizes = np.linalg.slogdet(total)[1] + np.linalg.slogdet(precision)[1]
        prior = stats.halfnorm.logpdf([tau, tau_v], scale=0.5).sum() + np.log(
            posterior.root[0, u] * posterior.root_v[0, v]
        )
        log_densities.append(prior - (sizes + rest @ np.linalg.solve(total, rest)) / 2)
        node = u * posterior.share.shape[2] + v
        assert posterior.mean[0, node] == pytest.approx(mean, abs=1e-6)
        assert posterior.covariance[0, node] == pytest.approx(np.linalg.inv(precision), abs=1e-6)
    _, weight = np.polynomial.legendre.leggauss(posterior.share.shape[1])
    found = [np.log(posterior.share[0, u, v] / weight[u] / weight[v]) for u, v in nodes]
    assert np.subtract(found, found[0]) == pytest.approx(np.subtract(log_densities, log_densities[0]), abs=1e-6)


def test_with_a_full_table_the_mean_of_findings_has_the_prediction_of_their_means() -> None:
    """If v is known to be 0 and errors are equal, the mean over findings is a panel of one finding."""
    draw = np.random.default_rng(6)
    value = np.array([0.4, 1.0, 1.6]) + draw.normal(0, 0.3, (5, 1)) + draw.normal(0, 0.1, (5, 3))
    same = np.tile(0.01 * np.eye(3), (1, 5, 1, 1))
    mean = Posterior.of(Panels.crossed(value[None], same, np.zeros((1, 3, 3))), 0.5).predict(np.full((1, 3), 1 / 3))
    plain = bayes(Panels.of(value.mean(1), np.full(5, 0.01 / 3)), 0.5)
    assert mean.numbers()[0] == pytest.approx(plain.mean, abs=1e-6)
    assert np.array(mean.numbers()[3:]) == pytest.approx(np.array([plain.new_low, plain.new_high]), abs=0.05)


def test_a_heavy_tail_on_one_side_lowers_the_lower_bound_only() -> None:
    value, variance = bcg()
    plain, heavy, high = (bayes(Panels.of(value, variance), 0.5, side) for side in ("", "low", "high"))
    assert heavy.new_low < plain.new_low - 0.2
    assert heavy.new_high == pytest.approx(plain.new_high)
    assert high.new_high - heavy.mean == pytest.approx(plain.mean - heavy.new_low, rel=0.1)
    tail = sum(share * stats.norm.cdf(-2.776 / width) for share, width in zip(T_WEIGHT, T_WIDTH, strict=True))
    assert tail == pytest.approx(stats.t.cdf(-2.776, 4), abs=0.002)
    assert heavy.below(np.array([-5.0]))[0] > plain.below(np.array([-5.0]))[0]
