"""A hospital and a run, as all sections use them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from reports.formatting import is_number
from reports.report_data.headline_rows import MISSING, Estimate

IMPORTED = "external"  # kind of a model trained elsewhere
LONGEST = 18  # characters of a place name in a figure


@dataclass(frozen=True, slots=True)
class Hospital:
    """A cohort: its place and, for an external hospital, the mean gap over runs."""

    key: str
    title: str
    place: str
    mean_gap: Estimate = MISSING  # mean over runs of the macro gap
    # mean gap with simultaneous bounds over hospitals, for sentences that name hospitals
    simultaneous_gap: Estimate = MISSING

    @property
    def where(self) -> str:
        """The place, short enough for a figure: city and country, or only the country."""
        names = self.place.split(", ")
        ends = [", ".join(names[i:]) for i in range(len(names))]
        return next((end for end in ends if len(end) <= LONGEST), f"{names[-1][: LONGEST - 1]}…")

    @property
    def is_costly(self) -> bool:
        """Whether the simultaneous interval of the mean gap is above 0."""
        return self.simultaneous_gap.has_value and self.simultaneous_gap.low > 0


@dataclass(frozen=True, slots=True)
class Run:
    """One row of the ranking. Estimates are macro AUROCs unless named otherwise."""

    id: str
    name: str
    variant: str  # difference from the base recipe
    family: str
    state: str
    reason: str
    facts: Mapping[str, Any]  # row of the table `runs`
    cost: Mapping[str, Any]  # row of the table `costs`, or empty
    internal: Estimate = MISSING  # over every finding that the internal hospital labels
    external: Estimate = MISSING  # ranks the runs
    gap: Estimate = MISSING
    simultaneous_external: Estimate = MISSING  # with simultaneous bounds over runs, for sentences about the highest
    simultaneous_gap: Estimate = MISSING  # likewise, for sentences about the smallest
    internal_common: Estimate = MISSING  # the two AUROCs of the gap, on shared findings
    external_common: Estimate = MISSING
    ece: Estimate = MISSING
    probe: Estimate = MISSING  # balanced accuracy of the source classifier
    causal: Estimate = MISSING  # change in prediction by internal pixels in external images, minus the control
    # external AUROC by hospital, on findings shared with the internal hospital
    hospitals: Mapping[str, Estimate] = field(default_factory=dict)
    hospital_gaps: Mapping[str, Estimate] = field(default_factory=dict)  # gap by hospital
    mean_rank: float = float("nan")
    rank_low: int = 0
    rank_high: int = 0
    p_best: float = float("nan")
    group: int = -1  # 0 is the first group of ties, -1 is unranked
    # tta, ensemble: derived from runs, never ranked; panel: networks with one finding each, ranked; imported: trained elsewhere,
    # ranked only if the grid trains nothing
    kind: str = "run"

    @property
    def label(self) -> str:
        """Name and variant, for sentences."""
        return f"{self.name} ({self.variant})" if self.variant else self.name

    @property
    def remark(self) -> str:
        """Note on irregularities of the training; "" without any."""
        value = self.facts.get("remark")
        return value if isinstance(value, str) else ""

    @property
    def marks(self) -> str:
        """Short form of the remark for a table row, for example "limit reached"."""
        return ", ".join(note.partition(":")[0] for note in self.remark.split("; ") if note)

    @property
    def is_derived(self) -> bool:
        """Whether the grid did not train this row: test-time augmentation, an ensemble, or an imported model."""
        return self.kind in ("tta", "ensemble", IMPORTED)

    @property
    def is_imported(self) -> bool:
        """Whether the model was trained elsewhere."""
        return self.kind == IMPORTED

    @property
    def anchor(self) -> str:
        """Anchor of the run on the page."""
        return f"run-{self.id}"

    @property
    def worst(self) -> str:
        """Key of the hospital with the largest gap, or "".

        The lowest AUROC also depends on which findings a hospital labels. It is used only if no gap could be computed.
        """
        gaps = {key: e.value for key, e in self.hospital_gaps.items() if e.has_value}
        low = {key: -e.value for key, e in self.hospitals.items() if e.has_value}
        return max(gaps, key=lambda key: gaps[key]) if gaps else max(low, key=lambda key: low[key], default="")

    @property
    def worst_auroc(self) -> Estimate:
        """Macro AUROC at the worst hospital."""
        return self.hospitals.get(self.worst, MISSING)

    def quantity(self, key: str) -> float:
        """Return one cost as a number, NaN where it was not measured."""
        value: Any = self.cost.get(key)
        return float(value) if is_number(value) else float("nan")
