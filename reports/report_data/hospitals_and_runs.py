"""The classes Hospital and Run, which all sections use."""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from reports.formatting import is_number
from reports.report_data.headline_rows import MISSING, Estimate
from reports.tables import text

IMPORTED = "external"  # the `kind` of an imported model
LONGEST = 18  # maximum number of characters of the text that names a place in a figure


@dataclass(frozen=True, slots=True)
class Hospital:
    """A hospital with its name and place; an external hospital also has the mean gap over runs.

    `short` is the name for sentences and narrow columns. It differs from `title` only if the tables state a short name,
    for example for a synthetic hospital, whose title also names the layout of its files.
    """

    key: str  # name of the cohort
    title: str
    short: str
    place: str
    mean_gap: Estimate = MISSING  # macro gap, averaged over recipes; its bounds are simultaneous over hospitals
    has_children: bool = False  # whether its patients are children
    approximate: tuple[str, ...] = ()  # findings that its own labels match only approximately

    @property
    def short_with_ages(self) -> str:
        """The short name, which says so if the patients are children."""
        return f"{self.short}{' (children)' * self.has_children}"

    @property
    def where(self) -> str:
        """The place, short enough for a figure: city and country, or only the country (at most LONGEST characters)."""
        names = self.place.split(", ")
        ends = [", ".join(names[i:]) for i in range(len(names))]
        return next((end for end in ends if len(end) <= LONGEST), f"{names[-1][: LONGEST - 1]}…")


@dataclass(frozen=True, slots=True)
class Run:
    """A run, or a recipe (the mean of the runs that differ only in the seed). The ranking has a row for each recipe.

    An estimate is a macro AUROC unless its name or comment says otherwise. The intervals of a run are over patients.
    The intervals of a recipe are over patients and seeds.
    """

    id: str
    name: str
    variant: str  # settings that differ from other runs of the grid, e.g. "sam · seed 1"; "" for none
    family: str
    state: str
    reason: str
    facts: Mapping[str, Any]  # row of the table `runs`
    cost: Mapping[str, Any]  # row of the table `costs`, or empty
    internal: Estimate = MISSING  # over every finding that the internal hospital scores
    external: Estimate = MISSING  # mean over hospitals
    score: Estimate = MISSING  # decides the ranking: `external`, or see `ReportData.ranked_by`
    gap: Estimate = MISSING  # mean macro gap over external hospitals; its bounds are simultaneous over recipes
    # internal_common and external_common: the two AUROCs of `gap`, over the same findings
    internal_common: Estimate = MISSING
    external_common: Estimate = MISSING
    ece: Estimate = MISSING  # expected calibration error, mean over external hospitals
    probe: Estimate = MISSING  # balanced accuracy with which a classifier predicts the hospital from the run's features
    # mean change of the probability by internal pixels in external images, minus the change by control pixels
    causal: Estimate = MISSING
    # external hospital -> AUROC at this hospital, over the findings that the internal hospital also scores
    hospitals: Mapping[str, Estimate] = field(default_factory=dict)
    hospital_gaps: Mapping[str, Estimate] = field(default_factory=dict)  # external hospital -> macro gap
    mean_rank: float = float("nan")  # mean rank over draws, 1 is best; NaN for unranked runs
    rank_low: int = 0  # bounds of the rank interval; 0 for unranked runs
    rank_high: int = 0
    p_best: float = float("nan")  # share of draws in which the run ranks first
    lead: Estimate = MISSING  # score minus that of the next run in the ranking
    group: int = -1  # number of the tie group, 1 for the best; -1 means unranked
    runs: tuple["Run", ...] = ()  # recipe: its runs, by seed
    # run: trained by the grid; recipe: mean over seeds; tta (test-time augmentation), ensemble: derived from runs,
    #     never
    # ranked
    # panel: networks with one finding each, ranked as one run
    # external: an imported model, ranked only if the grid trains no run
    kind: str = "run"

    @property
    def label(self) -> str:
        """Name and variant of the run, for sentences."""
        return f"{self.name} ({self.variant})" if self.variant else self.name

    @property
    def remark(self) -> str:
        """Note on irregularities of the training; "" if there were none."""
        return text(self.facts.get("remark"))

    @property
    def marks(self) -> str:
        """The remark without its details, for a table row, for example "limit reached"; "" without a remark."""
        return ", ".join(note.partition(":")[0] for note in self.remark.split("; ") if note)

    @property
    def has_given_vectors(self) -> bool:
        """Return whether the owner of an encoder computed the features, so that there are no heat maps and no costs."""
        return "given vectors" in self.marks

    @property
    def has_prompts(self) -> bool:
        """Return whether the runs of a recipe are wordings of prompts, and not seeds."""
        return all(run.marks.startswith("wording ") for run in self.members)

    @property
    def members(self) -> tuple["Run", ...]:
        """The runs of a recipe; for a single run, only this run."""
        return self.runs or (self,)

    @property
    def left_out(self) -> str:
        """Key of the training hospital on which the run did not train; "" for none.

        It is also "" for a recipe whose runs leave out different hospitals.
        """
        if self.runs:
            keys = {run.left_out for run in self.runs}
            return keys.pop() if len(keys) == 1 else ""
        config = self.facts.get("config")
        with contextlib.suppress(ValueError, TypeError):  # the configuration of an imported model is no JSON object
            return str(json.loads(config).get("leave_out") or "") if isinstance(config, str) and config else ""
        return ""

    @property
    def is_derived(self) -> bool:
        """Return whether the grid did not train this run: it is a test-time augmentation, an ensemble or an imported model."""
        return self.kind in ("tta", "ensemble", IMPORTED)

    @property
    def is_imported(self) -> bool:
        """Return whether the model was trained elsewhere."""
        return self.kind == IMPORTED

    @property
    def anchor(self) -> str:
        """HTML id of the run on the page."""
        return f"run-{self.id}"

    @property
    def internal_compared(self) -> Estimate:
        """The internal AUROC over the findings of the mean external AUROC; over all findings if there is no mean."""
        return self.internal_common if self.internal_common.has_value else self.internal

    @property
    def worst(self) -> str:
        """Key of the worst external hospital, which has the largest gap; "" if no external hospital has a score.

        If no gap could be computed, the worst hospital is the hospital with the lowest AUROC. The gap is preferred,
        because AUROC also depends on the findings that a hospital scores.
        """
        gaps = {key: e.value for key, e in self.hospital_gaps.items() if e.has_value}
        low = {key: -e.value for key, e in self.hospitals.items() if e.has_value}
        return max(gaps, key=lambda key: gaps[key]) if gaps else max(low, key=lambda key: low[key], default="")

    @property
    def worst_auroc(self) -> Estimate:
        """Macro AUROC at the hospital `worst`; MISSING if there is no score."""
        return self.hospitals.get(self.worst, MISSING)

    def quantity(self, key: str) -> float:
        """Return a cost as a number, NaN if it was not measured; `key` is a column of the table `costs`."""
        value: Any = self.cost.get(key)
        return float(value) if is_number(value) else float("nan")
