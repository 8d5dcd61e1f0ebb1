"""A hospital and a run, as every section shows them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from reports.formatting import known
from reports.report_data.headline_rows import MISSING, Estimate

IMPORTED = "external"  # kind of what was trained elsewhere
LONGEST = 18  # characters of a place in a figure


@dataclass(frozen=True, slots=True)
class Hospital:
    """A cohort: where it is from and, for an external hospital, what the mean run loses there."""

    key: str
    title: str
    place: str
    lost: Estimate = MISSING  # mean over runs of the macro gap
    lost_at_once: Estimate = (
        MISSING  # the same with bounds that hold for all hospitals at once: for naming some of them
    )

    @property
    def where(self) -> str:
        """The end of the place that fits beside a mark: city and country, or the country."""
        parts = self.place.split(", ")
        ends = [", ".join(parts[i:]) for i in range(len(parts))]
        return next((end for end in ends if len(end) <= LONGEST), f"{parts[-1][: LONGEST - 1]}…")

    @property
    def is_costly(self) -> bool:
        """Whether the mean run clearly loses there, of all the hospitals that are looked at."""
        return self.lost_at_once.known and self.lost_at_once.low > 0


@dataclass(frozen=True, slots=True)
class Run:
    """One row of the ranking. Every estimate is a macro AUROC unless its name says otherwise."""

    id: str
    name: str
    what: str  # how it differs from the base recipe
    family: str
    state: str
    reason: str
    facts: Mapping[str, Any]  # its row of the table `runs`
    cost: Mapping[str, Any]  # its row of the table `costs`, or empty
    internal: Estimate = MISSING  # over every finding that internal labels
    external: Estimate = MISSING  # what the runs are ranked by
    gap: Estimate = MISSING
    external_at_once: Estimate = MISSING  # the same with bounds that hold for all runs at once: for naming the highest
    gap_at_once: Estimate = MISSING  # likewise, for naming the smallest
    internal_common: Estimate = MISSING  # the two AUROCs whose difference is the gap: on the findings both sides have
    external_common: Estimate = MISSING
    ece: Estimate = MISSING
    probe: Estimate = MISSING  # balanced accuracy of the source classifier
    causal: Estimate = (
        MISSING  # how far the internal hospital's pixels change its answers externally, beyond the control
    )
    hospitals: Mapping[str, Estimate] = field(
        default_factory=dict
    )  # externally, on the findings it has in common with the internal hospital
    lost: Mapping[str, Estimate] = field(default_factory=dict)  # gap by hospital
    mean_rank: float = float("nan")
    rank_low: int = 0
    rank_high: int = 0
    p_best: float = float("nan")
    group: int = -1  # 0 is the first group of ties, -1 is unranked
    # tta, ensemble: made of other runs, never ranked; panel: networks of one finding each, ranked; external: trained elsewhere, ranked
    # only where the grid trains nothing
    kind: str = "run"

    @property
    def label(self) -> str:
        """Name and what sets it apart, for sentences."""
        return f"{self.name} ({self.what})" if self.what else self.name

    @property
    def remark(self) -> str:
        """How its training went other than asked for, in a sentence; "" when it did not."""
        value = self.facts.get("remark")
        return value if isinstance(value, str) else ""

    @property
    def marks(self) -> str:
        """What a row has room for of that: "limit reached"."""
        return ", ".join(part.partition(":")[0] for part in self.remark.split("; ") if part)

    @property
    def is_derived(self) -> bool:
        """Whether it is no run of the grid that trains: a TTA, an ensemble, or a model from elsewhere."""
        return self.kind in ("tta", "ensemble", IMPORTED)

    @property
    def is_imported(self) -> bool:
        """Whether it was trained elsewhere."""
        return self.kind == IMPORTED

    @property
    def anchor(self) -> str:
        """Where the page describes this run."""
        return f"run-{self.id}"

    @property
    def worst(self) -> str:
        """Key of the hospital where most is lost against the internal hospital, or "".

        The lowest AUROC would be a matter of findings, too: hospitals differ in what they label. It is named only where
        nothing could be compared with the internal hospital.
        """
        lost = {key: e.value for key, e in self.lost.items() if e.known}
        low = {key: -e.value for key, e in self.hospitals.items() if e.known}
        return max(lost, key=lambda key: lost[key]) if lost else max(low, key=lambda key: low[key], default="")

    @property
    def at_worst(self) -> Estimate:
        """Macro AUROC at the worst hospital."""
        return self.hospitals.get(self.worst, MISSING)

    def quantity(self, key: str) -> float:
        """Return one cost as a number, NaN where it was not measured."""
        value: Any = self.cost.get(key)
        return float(value) if known(value) else float("nan")
