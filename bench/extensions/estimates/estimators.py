"""The names of the estimators. This module imports no pandas, so that a wrong name is refused at once."""

from harmonize.errors import ConfigError

MEAN_GAP = "mean_gap"  # the estimator that learns from the labeled hospitals
ESTIMATORS = {MEAN_GAP: "mean gap", "cbpe": "CBPE", "atc": "ATC"}  # name -> title


def check_estimator(name: str) -> None:
    """Raise ConfigError for an unknown estimator."""
    if name not in ESTIMATORS:
        raise ConfigError(f"unknown estimator {name!r}", "--estimator", f"choose from: {', '.join(ESTIMATORS)}")
