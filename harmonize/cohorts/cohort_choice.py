"""Define the settings that select images of a cohort: keys of `cohort:` in a grid, or of a cohort in the data file.

`cohort_filters` applies these settings. This module does not import pandas, because the command line imports it at start.
"""

from dataclasses import dataclass

VIEW_CHOICES = ("frontal", "pa", "ap", "lateral", "portable", "all")
STUDY_CHOICES = ("all", "one")
# entries of the flow that count kept images with a remark; the other entries count found, removed or kept images
REMARKS = ("contradictory", "unlabelled", "contradictory_sex", "unknown_label")


@dataclass(frozen=True, slots=True)
class CohortChoice:
    """Settings that select images of a cohort. The defaults select every frontal image.

    In a grid, the settings apply to the training cohort; `limit` applies only to the patients of the split train.
    Raises ValueError for an invalid value.
    """

    # frontal: PA, AP and FRONTAL; pa, ap, lateral: this view; portable: frontal images that the dataset states to be
    # portable; all: also lateral and unknown views
    views: str = "frontal"
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
