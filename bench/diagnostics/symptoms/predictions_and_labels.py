"""Find symptoms by comparing logits with labels: AUROC near .5, and inverted, reordered or constant outputs.

Shapes: N images, K findings. In all functions, `where` is a text such as "run 3fa94c1e02bd" that begins a symptom's name, and
`run` is the run's entry in the manifest.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.config.run_config import RunConfig
from bench.diagnostics.symptoms.failures import symptom
from bench.planning.imported_run import KIND
from bench.planning.manifest import Manifest
from bench.results.read_predictions import CohortLabels, load_scored_splits
from bench.scoring import diagnostics
from bench.scoring.bootstrap.sort_scores import area, falling
from bench.scoring.scored_split import ScoredSplit
from bench.store.checked_folders import CheckedFolder, ScoresFolder
from harmonize.checks.release import Check

MIN_IMAGES = 10  # minimum number of images with a finding, and of images without it
_NEAR = 0.03  # a macro AUROC within this distance of .5 counts as near .5; with few images, the distance is larger


@dataclass(frozen=True, slots=True)
class FindingAurocs:
    """The AUROC of each finding with at least MIN_IMAGES images with and without the finding in a split.

    findings  names of the findings
    auroc     [K] AUROC of each finding
    chance    [K] standard deviation that the AUROC has for random outputs (Mann-Whitney)
    """

    findings: list[str]
    auroc: NDArray[np.float64]
    chance: NDArray[np.float64]

    @property
    def macro(self) -> float:
        """Return the macro AUROC: the unweighted mean over the findings."""
        return float(self.auroc.mean())

    @property
    def macro_chance(self) -> float:
        """Return the standard deviation that `macro` has for random outputs, if the findings are independent."""
        return float(np.sqrt((self.chance**2).sum()) / len(self.chance))


# labels that the runs of one grid share; `load_scored_splits` fills the dictionary
LabelsCache = dict[tuple[str, str, str], CohortLabels]


def internal_splits(
    manifest: Manifest, run: Mapping[str, Any], config: RunConfig, labels: LabelsCache | None = None
) -> list[ScoredSplit]:
    """Return a run's predictions and labels of the internal cohort, one `ScoredSplit` per split. `labels`: a cache, or None."""
    internal = [cohort for cohort in manifest.cohorts if cohort["role"] == "internal"]
    of_internal = replace(manifest, content={**manifest.content, "cohorts": internal})
    return load_scored_splits(of_internal, run, config, {} if labels is None else labels)


def finding_aurocs(scored_split: ScoredSplit, findings: Sequence[str]) -> FindingAurocs | None:
    """Return the AUROC of each finding with at least MIN_IMAGES images with and without the finding.

    Returns None if no finding has so many images. `findings`: names of the columns of `scored_split`.
    """
    names, auroc, chance = [], [], []
    label = scored_split.labels()
    for k, finding in enumerate(findings):
        present, absent = int((label[:, k] == 1).sum()), int((label[:, k] == 0).sum())
        if min(present, absent) >= MIN_IMAGES:
            order = falling(scored_split.logit[:, k])
            names.append(finding)
            auroc.append(area(label[order, k], scored_split.logit[order, k]))
            chance.append(np.sqrt((present + absent + 1) / (12 * present * absent)))
    return FindingAurocs(names, np.array(auroc), np.array(chance)) if names else None


def learned_splits(
    manifest: Manifest, run: Mapping[str, Any], config: RunConfig, labels: LabelsCache | None = None
) -> tuple[list[str], dict[str, ScoredSplit]]:
    """Return the findings that the run predicts, and {name of an internal split: its predictions and labels}.

    The predictions and labels have columns only for these findings.
    """
    learned = _learned(manifest, run, config)
    splits = internal_splits(manifest, run, config, labels)
    of_learned = {s.split: replace(s, logit=s.logit[:, learned], state=s.state[:, learned]) for s in splits}
    return [config.findings[k] for k in learned], of_learned


def prediction_symptoms(
    where: str, run: Mapping[str, Any], findings: Sequence[str], splits: Mapping[str, ScoredSplit], loss_stuck: bool
) -> Iterator[Check]:
    """Yield the symptoms that internal logits show when they are compared with labels.

    `splits`: the result of `learned_splits`. `loss_stuck`: whether the training loss stayed the same or did not fall.
    """
    test = splits.get("test") or splits.get("val")
    if test is None:
        return
    constant = diagnostics.constant(test, findings)
    if constant:
        names = ", ".join(diagnosis.finding for diagnosis in constant)
        causes: Sequence[str] = (
            "training had only one class of the finding: `bench data stats --data DATA` counts labels (does a column read as all 0?)",
            "units of the last layer are dead: lower `schedule.lr`",
            "the head was never trained: only weights of the backbone were loaded",
        )
        share = min(diagnosis.value for diagnosis in constant)
        observation = f"{names}: the prediction is the same number in at least {share:.0%} of the images"
        yield symptom(where, "constant output", "fault", observation, causes)
    for scored_split in splits.values():
        permuted = diagnostics.other_order(scored_split, findings, MIN_IMAGES)
        aurocs = finding_aurocs(scored_split, findings) if permuted else None
        # another order of the outputs is reported only if it raises the macro AUROC more than inverting all outputs does;
        # inverting raises the AUROC by 1 - 2 * AUROC
        if aurocs is not None and permuted[0].value > 1 - 2 * aurocs.macro:
            causes = (
                "labels or outputs are in another order than `findings`: align them by name, never by position",
                "the weights belong to a network with another list of findings: configure that list",
            )
            observation = f"{scored_split.split}: {permuted[0].advice}"
            yield symptom(where, "labels in another order", "fault", observation, causes)
            return
    aurocs = finding_aurocs(test, findings)
    if aurocs is not None and len(constant) < len(findings):
        yield from _auroc_symptoms(where, test, aurocs, loss_stuck, run.get("kind") == KIND)


def _learned(manifest: Manifest, run: Mapping[str, Any], config: RunConfig) -> list[int]:
    """Return the indices of the findings that a run predicts. An imported model or a panel may predict only some findings."""
    folder = manifest.store.run_dir(run["id"])
    not_learned = CheckedFolder(folder).json("trained.json").get("unlearnt", []) if "kind" in run else []
    return [k for k, finding in enumerate(config.findings) if finding not in not_learned]


def _auroc_symptoms(
    where: str, scored_split: ScoredSplit, aurocs: FindingAurocs, loss_stuck: bool, imported: bool
) -> Iterator[Check]:
    """Yield a symptom if the macro AUROC is below or near .5, or if the AUROC of a finding is far below .5.

    `loss_stuck`: whether the training loss stayed the same or did not fall; if so, the first listed cause is a too
    short training. `imported`: whether the run is an imported model, which has other likely causes.
    """
    counts = f"{len(aurocs.findings)} findings, {len(scored_split.image_id):,} images"
    observation = f"{scored_split.split} of {scored_split.dataset}: macro AUROC {aurocs.macro:.3f} of {counts}"
    above_half = aurocs.macro - 0.5
    below_half = [
        f"{finding} {value:.3f}"
        for finding, value, chance in zip(aurocs.findings, aurocs.auroc, aurocs.chance, strict=True)
        if value < 0.5 - 4 * chance
    ]
    if above_half < -max(_NEAR, 4 * aurocs.macro_chance) or below_half:
        causes: Sequence[str] = (
            "present and absent are swapped: in the label mapping (`present:`, `absent:`), or in the file",
            "the output belongs to the opposite finding, such as No Finding: check the order of `findings`",
        )
        listed = f"; below .5: {', '.join(below_half)}" if below_half else ""
        yield symptom(where, "inverted: AUROC below .5 at the internal hospital", "fault", observation + listed, causes)
    elif abs(above_half) <= max(_NEAR, 2 * aurocs.macro_chance):
        too_short = (
            "training was too short, or the learning rate is wrong: try more `schedule.epochs` or another `schedule.lr`; the page shows the training curve",
        )
        causes = (
            "labels are joined to the wrong images: see `bench check --data DATA` (ids, paths) and `bench data stats --data DATA --html data.html`",
            "the predictions come from other weights: `bench check RUN` compares them",
            "the images are wrong (all black, inverted, another scale): `bench check RUN` tries other scales",
        )
        imported_causes = (
            "its images are not scaled as in its training: check `preprocessing` in its model.yaml (range, mean, std, channels, size)",
            "its outputs are in another order than `outputs.names` in its model.yaml",
            "its weights are wrong, or it does not work at this hospital: check the external cohorts, too",
        )
        trained_causes = (*too_short, *causes) if loss_stuck else (*causes, *too_short)
        yield symptom(
            where,
            "AUROC near .5 at the internal hospital",
            "warning",
            f"{observation} (chance: .5 ± {2 * aurocs.macro_chance:.3f})",
            imported_causes if imported else trained_causes,
        )


def external_symptoms(where: str, manifest: Manifest, run_id: str) -> Iterator[Check]:
    """Yield a symptom for each external cohort on which the AUROC of a finding is far below .5.

    An AUROC is far below .5 if the sum of the AUROC and the full width of its interval is below .5. This rule is strict,
    because many AUROCs are tested.
    """
    folder = manifest.scores / run_id
    if not ScoresFolder(folder).key():
        return
    table = ScoresFolder(folder).table("diagnostics")
    internal = str(manifest.content["source"])
    below = table[table["kind"] == diagnostics.INVERTED]
    if below.empty:
        return
    below = below[below["dataset"] != internal]
    far_below = below[below["value"] + (below["high"] - below["low"]) < 0.5]
    for dataset, rows in far_below.groupby("dataset"):
        observation = ", ".join(f"{r.finding} {r.value:.3f} [{r.low:.3f}, {r.high:.3f}]" for r in rows.itertuples())
        causes = (
            f"labels of {dataset} are inverted: check its mapping, and `bench data stats --data DATA`",
            f"images of {dataset} are inverted (MONOCHROME1 not converted): see `bench data stats --data DATA --html data.html`",
            "a shortcut has the opposite meaning there: see the shortcut section of the page",
        )
        yield symptom(where, f"inverted on {dataset}", "warning", observation, causes)
