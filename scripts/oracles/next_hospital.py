"""Fit random-effects meta-analyses with PyMARE and statsmodels, for the tests of bench/extensions/next_hospital/random_effects.py.

PyMARE has the restricted maximum likelihood estimates of mean and tau²; statsmodels has the interval of Hartung, Knapp, Sidik
and Jonkman, given the weights of this tau². The prediction interval has the t quantile with H - 2 degrees of freedom (Higgins,
Thompson and Spiegelhalter 2009).

tox -e oracles                              # compare with the committed table
python scripts/oracles/next_hospital.py     # write the table again; needs pymare and statsmodels
"""

from typing import Any

import numpy as np
from committed_table import main
from pymare import Dataset
from pymare.estimators import VarianceBasedLikelihoodEstimator
from scipy.stats import t
from statsmodels.stats.meta_analysis import combine_effects


def case(seed: int, num: int, tau: float, largest: float) -> dict[str, Any]:
    """Return random values of hospitals with their variances, and the fit; largest: the largest standard error."""
    random = np.random.default_rng(seed)
    error = random.uniform(largest / 6, largest, num)
    value = (1 + tau * random.standard_normal(num) + error * random.standard_normal(num)).round(4)
    variance = (error**2).round(6)
    fit = VarianceBasedLikelihoodEstimator(method="REML").fit_dataset(Dataset(value[:, None], variance[:, None]))
    summary = fit.summary()
    between, mean = float(summary.tau2.ravel()[0]), float(summary.get_fe_stats()["est"].ravel()[0])
    low, high = combine_effects(value, variance + between, method_re="iterated", use_t=True).conf_int()[2]
    error_of_mean = (high - low) / 2 / t.ppf(0.975, num - 1)
    half = t.ppf(0.975, num - 2) * np.hypot(error_of_mean, np.sqrt(between))
    return {
        "value": value.tolist(),
        "variance": variance.tolist(),
        "tau2": between,
        "mean": mean,
        "hksj": [float(low), float(high)],
        "prediction": [mean - half, mean + half],
    }


if __name__ == "__main__":
    settings = [
        (0, 3, 0.3, 0.2),
        (1, 4, 0.2, 0.3),
        (2, 5, 0.2, 0.1),
        (3, 5, 0.5, 0.4),
        (4, 8, 0.1, 0.2),
        (5, 12, 0.3, 0.2),
    ]
    # PyMARE's optimizer stops near the maximum
    main("next_hospital", {"cases": [case(*setting) for setting in settings]}, tolerance=1e-6)
