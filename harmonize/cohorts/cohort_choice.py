"""Which images of a cohort take part: what a grid says under `cohort:` and `--data` beside a cohort's root."""

from dataclasses import dataclass

VIEW_CHOICES = ("frontal", "pa", "all")
STUDY_CHOICES = ("all", "one")
REMARKS = ("contradictory", "unlabelled", "contradictory_sex", "unknown_label")  # in a flow: counts of images that stay


@dataclass(frozen=True, slots=True)
class CohortChoice:
    """Which images of a cohort take part. Every field at its default changes nothing.

    In a grid it is about the training cohort, and `limit` about its training patients alone.
    Raises ValueError for a value that no cohort can meet.
    """

    views: str = "frontal"  # frontal: PA, AP and frontal of either kind; pa: PA only; all: lateral and unknown ones too
    per_study: str = "all"  # one: the PA image of a study, else AP, else the first by image id
    limit: int = 0  # at most so many training patients, drawn by patient hash; 0 = all
    min_age: float = 0.0  # years; 0 = no limit. With a limit, images of unknown age take no part
    max_age: float = 0.0
    gold: bool = False  # only rows labelled by physicians or radiologists: `gold` in labels.yaml says which

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("views", self.views, VIEW_CHOICES),
            ("per_study", self.per_study, STUDY_CHOICES),
        ):
            if value not in allowed:
                raise ValueError(f"{name} is one of {', '.join(allowed)}, not {value!r}")
        if self.limit < 0:
            raise ValueError(f"limit is a number of patients, not {self.limit}")
        if self.min_age < 0 or self.max_age < 0 or (self.max_age and self.max_age < self.min_age):
            raise ValueError(
                f"min_age and max_age are years, the first the smaller, not {self.min_age}, {self.max_age}"
            )
