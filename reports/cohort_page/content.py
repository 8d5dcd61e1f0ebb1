"""Content of the cohort page: statistics, image samples and pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from harmonize.statistics.cohort_statistics import STATE_NAMES, Stats
from harmonize.statistics.image_sample import Sample


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture: data URI, caption and size in pixels."""

    uri: str
    words: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class CohortPictures:
    """The pictures of a cohort: sampled images with labels, and the first of them in every preprocessing variant."""

    pictures: tuple[Picture, ...]
    after: tuple[tuple[Picture, ...], ...]


@dataclass(frozen=True, eq=False)
class DataPage:
    """The data shared by all sections. `unread`: names of cohorts that could not be read."""

    cohorts: tuple[Stats, ...]
    samples: Mapping[str, Sample] = field(default_factory=dict)
    pictures: Mapping[str, CohortPictures] = field(default_factory=dict)
    variants: Sequence[tuple[str, ...]] = ()
    seed: int = 0
    unread: tuple[str, ...] = ()

    @property
    def phantom(self) -> bool:
        """Whether every cohort is synthetic."""
        return all(stats.phantom for stats in self.cohorts)

    @property
    def patients_shown(self) -> bool:
        """Whether the page holds images of real patients."""
        return any(self.pictures[s.name].pictures for s in self.cohorts if s.name in self.pictures and not s.phantom)

    @cached_property
    def findings(self) -> tuple[str, ...]:
        """All findings in the order of the cohorts."""
        return tuple(dict.fromkeys(f for stats in self.cohorts for f in stats.findings["finding"]))

    @cached_property
    def counts(self) -> Mapping[tuple[str, str], Mapping[str, int]]:
        """(cohort, finding) -> number of images by label state."""
        return {
            (stats.name, str(row["finding"])): {state: int(row[state]) for state in (*STATE_NAMES, "patients_present")}
            for stats in self.cohorts
            for row in stats.findings.to_dict("records")
        }

    def title(self, stats: Stats) -> str:
        """Return the title of a cohort."""
        return str(stats.facts["title"])

    def images(self, stats: Stats, attribute: str) -> dict[str, int]:
        """Return the images of each group, e.g. of each view."""
        rows = stats.groups[stats.groups["what"] == attribute]
        return {str(g): int(n) for g, n in zip(rows["group"], rows["images"], strict=True)}

    def flow(self, stats: Stats, step: str) -> int:
        """Return the images of one step of the flow, 0 where there is no such step."""
        num_images = stats.flow.loc[stats.flow["step"] == step, "images"]
        return int(num_images.iloc[0]) if len(num_images) else 0
