"""Define the settings that select images of a cohort: keys of `cohort:` in a grid, or of a cohort in the data file.

`cohort_filters` and `confounding` apply these settings. This module does not import pandas, because the command line imports it at
start.
"""

import math
from dataclasses import dataclass

VIEW_CHOICES = ("frontal", "pa", "all")
STUDY_CHOICES = ("all", "one")
# entries of the flow that count kept images with a remark; the other entries count found, removed or kept images
REMARKS = ("contradictory", "unlabelled", "contradictory_sex", "unknown_label")
PROPERTIES = ("view", "sex", "device")  # columns that can be associated with a finding


@dataclass(frozen=True, slots=True)
class CohortChoice:
    """Settings that select images of a cohort. The defaults select every frontal image.

    In a grid, the settings apply to the training cohort; `limit` applies only to the patients of the split train.
    Raises ValueError for an invalid value.
    """

    views: str = "frontal"  # frontal: PA, AP and FRONTAL; pa: PA only; all: also lateral and unknown views
    # all: every image of a study; one: one image per study, the first by view (PA, AP, then other views) and image id
    per_study: str = "all"
    limit: int = 0  # maximum number of patients (in a grid: of the split train), selected by patient hash; 0 = all
    min_age: float = 0.0  # years; 0 = no limit. A limit also excludes images of unknown age
    max_age: float = 0.0  # years; 0 = no limit
    # whether to select only the gold subset: the rows that physicians or radiologists labeled, which the function
    # `gold` of the adapter finds
    gold: bool = False

    def __post_init__(self) -> None:
        for name, value, allowed in (("views", self.views, VIEW_CHOICES), ("per_study", self.per_study, STUDY_CHOICES)):
            if value not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")
        if self.limit < 0:
            raise ValueError(f"limit must be a number of patients, not {self.limit}")
        if self.min_age < 0 or self.max_age < 0 or (self.max_age and self.max_age < self.min_age):
            raise ValueError(
                f"min_age and max_age must be years with min_age <= max_age, not {self.min_age}, {self.max_age}"
            )


@dataclass(frozen=True, slots=True)
class Confound:
    """An association between a finding and a property of the image, which a cohort gets by leaving out images: key `confound`.

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
