"""Define the key `confound` of a cohort in the data file: how strongly a finding and a property of the image are associated.

`confounding` samples the images. This module does not import pandas, because the command line imports it at start.
"""

import math
from dataclasses import dataclass

PROPERTIES = ("view", "sex", "device")  # columns that can be associated with a finding


@dataclass(frozen=True, slots=True)
class Confound:
    """An association between a finding and a property of the image, which a cohort gets by leaving out images.

    Raises ValueError for an invalid value.
    """

    finding: str
    column: str  # view, sex or device: the key `with` of the data file
    level: str  # value of the column, such as AP; all other stated values together count as the opposite
    # odds ratio of finding and level in the sampled cohort; above 1: the level is more frequent with the finding
    odds_ratio: float
    seed: int = 0

    def __post_init__(self) -> None:
        if self.column not in PROPERTIES:
            raise ValueError(f"with must be one of {', '.join(PROPERTIES)}, not {self.column!r}")
        if not (math.isfinite(self.odds_ratio) and self.odds_ratio > 0):
            raise ValueError(f"odds_ratio must be a number above 0, not {self.odds_ratio}")

    def __str__(self) -> str:
        return f"{self.finding} and {self.column} {self.level} have an odds ratio of {self.odds_ratio:g}"
