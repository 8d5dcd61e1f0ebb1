"""The content of the cohort page: statistics, image samples and pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from bench.extensions.cohort_page.statistics.cohort_statistics import STATE_NAMES, Stats
from bench.extensions.cohort_page.statistics.image_sample import ImageSample


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture: image as data URI (`uri`), caption (`words`), and width and height in pixels."""

    uri: str
    words: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class CohortPictures:
    """The pictures of a cohort.

    pictures: sampled images. after: for each of these images, its pictures after the preprocessings (one for each
    entry of `DataPage.variants` that could be drawn).
    """

    pictures: tuple[Picture, ...]
    after: tuple[tuple[Picture, ...], ...]


@dataclass(frozen=True, eq=False)
class DataPage:
    """The data that all sections of the cohort page share.

    The comments describe the fields. A cohort that could not be read is only in `unread`.
    """

    cohorts: tuple[Stats, ...]
    samples: Mapping[str, ImageSample] = field(default_factory=dict)  # cohort name -> the images that were opened
    pictures: Mapping[str, CohortPictures] = field(default_factory=dict)  # cohort name -> pictures on the page
    variants: Sequence[tuple[str, ...]] = ()  # names of preprocessings; a tuple has those whose pictures look the same
    seed: int = 0  # seed of the random samples
    unread: tuple[str, ...] = ()  # names of the cohorts that could not be read

    @property
    def phantom(self) -> bool:
        """Return whether every cohort is synthetic."""
        return all(stats.phantom for stats in self.cohorts)

    @property
    def patients_shown(self) -> bool:
        """Return whether the page contains images of real patients."""
        return any(self.pictures[s.name].pictures for s in self.cohorts if s.name in self.pictures and not s.phantom)

    @cached_property
    def findings(self) -> tuple[str, ...]:
        """The findings of all cohorts, each once."""
        return tuple(dict.fromkeys(f for stats in self.cohorts for f in stats.findings["finding"]))

    @cached_property
    def counts(self) -> Mapping[tuple[str, str], Mapping[str, int]]:
        """(cohort, finding) -> {label state: number of images}, with one more key, patients_present.

        The value of patients_present is the number of patients with the finding.
        """
        return {
            (stats.name, str(row["finding"])): {state: int(row[state]) for state in (*STATE_NAMES, "patients_present")}
            for stats in self.cohorts
            for row in stats.findings.to_dict("records")
        }

    def title(self, stats: Stats) -> str:
        """Return the name of a cohort's hospital, short enough for a column head."""
        return str(stats.facts["short"])

    def images(self, stats: Stats, attribute: str) -> dict[str, int]:
        """Return {group: number of images} for an attribute of a cohort, such as "view"."""
        rows = stats.groups[stats.groups["what"] == attribute]
        return {str(g): int(n) for g, n in zip(rows["group"], rows["images"], strict=True)}

    def flow(self, stats: Stats, step: str) -> int:
        """Return the number of images that the image flow states for a step; 0 if the flow does not have this step."""
        num_images = stats.flow.loc[stats.flow["step"] == step, "images"]
        return int(num_images.iloc[0]) if len(num_images) else 0
