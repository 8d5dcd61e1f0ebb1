"""Report the symptoms that scoring found by comparing logits with labels, with their likely causes.

Symptoms are constant outputs, outputs in another order, an AUROC below .5, and an AUROC hardly above .5. The page shows the same
symptoms: both keep the rows of the table `diagnostics` that stay significant among all runs of the grid.
In all functions, `where` is a text such as "run 3fa94c1e02bd" that begins a symptom's name, and `run` is the run's entry in the manifest.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bench.config.run_config import RunConfig
from bench.diagnostics.symptoms.failures import symptom
from bench.planning.manifest import Manifest
from bench.planning.planned_grid import PlannedRun
from bench.results.grid_recipes import with_chosen_runs
from bench.results.read_predictions import SCORING_VERSION, CohortLabels, load_scored_splits
from bench.scoring import diagnostics
from bench.scoring.scored_split import ScoredSplit
from bench.store.checked_folders import CheckedFolder, ScoresFolder
from harmonize.checks.release import Check
from reports.schemas.tables import INVERTED

# labels that the runs of one grid share; `load_scored_splits` fills the dictionary
LabelsCache = dict[tuple[str, str, str], CohortLabels]


def learned_splits(
    manifest: Manifest, run: PlannedRun, config: RunConfig, labels: LabelsCache
) -> dict[str, ScoredSplit]:
    """Return {name of an internal split: its predictions and labels}, with columns only for the findings that the run predicts."""
    learned = _learned(manifest, run, config)
    of_internal = replace(manifest.by_image, planned_cohorts=manifest.planned_cohorts[:1])
    splits = load_scored_splits(of_internal, run, config, labels)
    return {s.split: replace(s, logit=s.logit[:, learned], state=s.state[:, learned]) for s in splits}


def _learned(manifest: Manifest, run: PlannedRun, config: RunConfig) -> list[int]:
    """Return the indices of the findings that a run predicts. An imported model or a panel may predict only some findings."""
    folder = manifest.store.run_dir(run.id)
    not_learned = CheckedFolder(folder).json("trained.json").get("unlearnt", []) if run.kind else []
    return [k for k, finding in enumerate(config.findings) if finding not in not_learned]


def prediction_symptoms(where: str, manifest: Manifest, run: PlannedRun, loss_stuck: bool) -> Iterator[Check]:
    """Yield the symptoms that the stored scores of a run have among all runs of the grid; a note if the scores are not up to date.

    `loss_stuck`: whether the training loss stayed the same or did not fall.
    """
    folder = ScoresFolder(manifest.scores / run.id)
    if folder.key() != manifest.scores_key(run.id, SCORING_VERSION):
        fix = f"`bench score --grid {manifest.name}` computes the scores"
        yield Check(
            "", f"{where}: symptoms of predictions", "note", "", "not checked: scores are missing or outdated", fix
        )
        return
    table = folder.table("diagnostics")
    if table.empty:
        return
    compared = with_chosen_runs(manifest)
    table = diagnostics.among_runs(table, len(compared.runs) + len(compared.derived))
    internal = manifest.source
    for (dataset, kind), rows in table.groupby(["dataset", "kind"], sort=False):
        found = ", ".join(map(_found, rows.to_dict("records")))
        at = "the internal hospital" if dataset == internal else str(dataset)
        if kind == diagnostics.CONSTANT:
            share = rows["value"].min()
            observation = f"{at}, {', '.join(rows['finding'])}: the prediction is the same number in at least {share:.0%} of the images"
            yield symptom(where, f"constant output at {at}", "fault", observation, _CONSTANT)
        elif kind == diagnostics.ORDER:
            yield symptom(where, "labels in another order", "fault", rows["advice"].iloc[0], _ORDER)
        elif kind == INVERTED and dataset == internal:
            yield symptom(where, f"inverted: AUROC below .5 at {at}", "fault", found, _INVERTED)
        elif kind == INVERTED:
            causes = [cause.format(dataset) for cause in _INVERTED_AT_HOSPITAL]
            yield symptom(where, f"inverted on {dataset}", "warning", found, causes)
        else:
            causes = [*_TOO_SHORT, *_NEAR] if loss_stuck else [*_NEAR, *_TOO_SHORT]
            if run.is_imported:
                causes = list(_IMPORTED)
            observation = f"{found}, less than {diagnostics.HARDLY_BETTER:.2f} beyond chance"
            yield symptom(where, f"AUROC near .5 at {at}", "warning", observation, causes)


def _found(row: Mapping[Hashable, Any]) -> str:
    """Return an AUROC with its interval and corrected p-value as text."""
    finding = "macro AUROC" if row["finding"] == "all" else row["finding"]
    return f"{finding} {row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}] (p = {row['p']:.2g})"


_CONSTANT: Sequence[str] = (
    "training had only one class of the finding: `bench data stats --data DATA` counts labels (does a column read as all 0?)",
    "units of the last layer are dead: lower `schedule.lr`",
    "the head was never trained: only weights of the backbone were loaded",
)
_ORDER: Sequence[str] = (
    "labels or outputs are in another order than `findings`: align them by name, never by position",
    "the weights belong to a network with another list of findings: configure that list",
)
_INVERTED: Sequence[str] = (
    "present and absent are swapped: in the label mapping (`present:`, `absent:`), or in the file",
    "the output belongs to the opposite finding, such as No Finding: check the order of `findings`",
)
_TOO_SHORT: Sequence[str] = (
    "training was too short, or the learning rate is wrong: try more `schedule.epochs` or another `schedule.lr`; the page shows the training curve",
)
_NEAR: Sequence[str] = (
    "labels are joined to the wrong images: see `bench check --data DATA` (ids, paths) and `bench data stats --data DATA`",
    "the predictions come from other weights: `bench remove RUN`, then train the run again",
    "the images are wrong (all black, inverted, another scale): see `bench data stats --data DATA`",
)
_IMPORTED: Sequence[str] = (
    "its images are not scaled as in its training: check `preprocessing` in its model.yaml (range, mean, std, channels, size)",
    "its outputs are in another order than `outputs.names` in its model.yaml",
    "its weights are wrong, or it does not work at this hospital: check the external cohorts, too",
)


_INVERTED_AT_HOSPITAL: Sequence[str] = (
    "labels of {0} are inverted: check its mapping, and `bench data stats --data DATA`",
    "images of {0} are inverted (MONOCHROME1 not converted): see `bench data stats --data DATA`",
    "a shortcut has the opposite meaning there: see the shortcut section of the page",
)
