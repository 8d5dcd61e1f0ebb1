"""The analysis `probes`: whether a run's frozen features contain the hospital and other information besides findings.

A probe is a linear classifier on features. A source is the cohort of an image. A nuisance variable, such as the
projection, varies inside a cohort, and a network may use the variable in place of a finding. A level is one value of a
nuisance variable. Probes on untrained networks are the comparison.

Shapes: N images, D features, F findings.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.analyses.shortcuts import nuisance
from bench.analyses.shortcuts.evaluation import ProbeScores, difference, score_probe
from bench.analyses.shortcuts.linear import out_of_fold, projections
from bench.analyses.shortcuts.sample import Sample, draw_sample
from bench.analyses.shortcuts.source import feature_probe, source_rows
from bench.inputs.batches import BatchReader
from bench.inputs.examples import Examples, probe_rows
from bench.models.network import Network
from bench.models.predict import images_per_pass
from bench.planning.image_caches import open_images
from bench.planning.jobs import AnalysisJob
from bench.planning.plan import CohortRef
from bench.runs.networks import initial_network, normalization_of
from bench.store.checked_folders import CheckedFolder
from bench.store.features import read_features
from bench.store.store import write_table
from bench.training.train_modes import recalibrate_batch_norm
from harmonize.cache.cache import ImageCache
from harmonize.labels.findings import ABSENT, NOT_MENTIONED, PRESENT
from harmonize.progress import Progress
from harmonize.seeds import seed_for
from reports.schemas.tables import SCHEMAS

Floats = NDArray[np.float32]
# number of training images per source (0: all) -> scores and probabilities of the probe
Probed = Mapping[int, tuple[ProbeScores, NDArray[np.float64]]]

FEWEST = 20  # minimum number of images at a level of a nuisance variable; levels with fewer images are left out


@dataclass(frozen=True, slots=True, eq=False)
class CohortFeatures:
    """The images of one cohort behind its leaderboard scores: the split `test` if internal, else the headline split."""

    ref: CohortRef
    cache: ImageCache
    examples: Examples
    table: pd.DataFrame  # one row per image
    logit_NF: Floats
    feature_rows: NDArray[np.int64]  # indices of the images with stored features, one per patient
    feature_ND: Floats  # stored features, in the order of `feature_rows`

    @property
    def labels(self) -> NDArray[np.int8]:
        """Return label_NF: 1 present, 0 absent or not mentioned, -1 uncertain or null (not scored)."""
        state = self.examples.state_NK
        return np.select([state == PRESENT, np.isin(state, (ABSENT, NOT_MENTIONED))], [1, 0], -1).astype(np.int8)


def probes(job: AnalysisJob, folder: Path, progress: Progress) -> None:
    """Write the tables `sources` and `nuisances` of one run.

    `sources` has the scores of probes on untrained networks, and the selectivity: the accuracy of the run's probe minus
    the accuracy of the same probe on an untrained network. `nuisances` has pooled and stratified AUROCs of the run's
    predictions, and the AUROCs of probes that predict nuisance variables. A table without rows is not written.
    """
    per_source = job.analysis.options.per_source
    device = torch.device(job.device)
    if device.type == "cpu":
        torch.set_num_threads(job.run.config.threads)
    cohorts = {ref.name: _cohort_features(job, ref) for ref in job.refs}
    sample = draw_sample(
        {name: cohort.examples.patient_id[cohort.feature_rows] for name, cohort in cohorts.items()},
        per_source=per_source,
    )
    features_by_network: dict[str, dict[str, Floats]] = {}  # network -> cohort -> features of the sampled images
    frames: list[pd.DataFrame] = []
    if not isinstance(sample, str):
        x_ND = sample.gather({name: cohort.feature_ND for name, cohort in cohorts.items()})
        trained = feature_probe(sample, x_ND)
        features_by_network["features"] = _by_source(sample, x_ND)
        for name, network in _untrained(job).items():
            x_ND = _features(job, name, network.to(device), cohorts, sample, progress)
            frames += _selectivity(name, trained, feature_probe(sample, x_ND))
            features_by_network[name] = _by_source(sample, x_ND)
    rows: list[tuple[Any, ...]] = []
    for i, (name, cohort) in enumerate(cohorts.items()):
        progress("nuisances", i, len(cohorts))
        split = cohort.ref.headline_name
        nuisances = nuisance.levels(cohort.table, nuisance.phantom_marker(cohort.ref.places, cohort.table["image_id"]))
        label_NF, patient = cohort.labels, cohort.examples.patient_id
        nuisance_rows = nuisance.stratified(job.run.config.findings, label_NF, cohort.logit_NF, patient, nuisances)
        if not isinstance(sample, str) and name in sample.names:
            nuisance_rows += _decoded(sample, cohort, nuisances, features_by_network)
        rows += [(name, split, *row) for row in nuisance_rows]
    progress("nuisances", len(cohorts), len(cohorts))
    _write(folder, "sources", job.run.id, pd.concat(frames, ignore_index=True) if frames else None)
    columns = ["dataset", "split", *nuisance.COLUMNS]
    _write(folder, "nuisances", job.run.id, pd.DataFrame(rows, columns=columns) if rows else None)


def _cohort_features(job: AnalysisJob, ref: CohortRef) -> CohortFeatures:
    """Return a cohort's images with label states and logits, and the stored features of one image per patient."""
    folder = job.store.run_dir(job.run.id)
    cache = open_images(job.store, ref, job.run.geometry)
    predicted = Examples.predicted(ref, job.run.config, cache)
    headline = predicted.headline_indices
    examples = Examples(
        predicted.image_id[headline],
        predicted.patient_id[headline],
        predicted.rows[headline],
        predicted.state_NK[headline],
    )
    feature_ND = read_features(CheckedFolder(folder), ref.name)[0].astype(np.float32)
    ids = examples.image_id.astype(str)
    logits = CheckedFolder(folder).table(f"predictions/{ref.name}.parquet").set_index("image_id").loc[ids]
    logit_NF = logits[list(job.run.config.findings)].to_numpy(np.float32)
    table = ref.read().set_index("image_id", drop=False).loc[ids].reset_index(drop=True)
    return CohortFeatures(ref, cache, examples, table, logit_NF, probe_rows(examples.patient_id), feature_ND)


def _untrained(job: AnalysisJob) -> dict[str, Network]:
    """Return untrained copies of the run's network: name -> network.

    `random` has random weights. If the run's training began with ImageNet weights, `imagenet` has these weights. A run on
    given vectors has no network to copy.
    """
    if job.run.has_given_vectors:
        return {}
    networks = {"random": initial_network(job.run, None)}
    if job.run.config.weights == "imagenet":
        networks["imagenet"] = initial_network(job.run, job.run.weights_file or "hub")
    return networks


@torch.inference_mode()
def _features(
    job: AnalysisJob,
    name: str,
    network: Network,
    cohorts: Mapping[str, CohortFeatures],
    sample: Sample,
    progress: Progress,
) -> Floats:
    """Return the features [N, D] of the sampled images: the input of the network's last linear layer.

    If `name` is "random", the network's batch-norm statistics are first computed on the sampled internal images.
    """
    device, internal = torch.device(job.device), job.refs[0].name
    normalizer = normalization_of(job.run, job.store, job.refs[0], network)
    size = images_per_pass(64, cohorts[internal].cache.images.shape[-1])

    def passes(cohort_name: str) -> Iterator[Callable[[], Tensor]]:
        """Yield one function for each batch of a cohort's sampled images; a call computes the features of the batch."""
        cohort = cohorts[cohort_name]
        reader = BatchReader(cohort.cache.images, device)
        rows = cohort.examples.rows[cohort.feature_rows[sample.row[sample.source == sample.names.index(cohort_name)]]]
        for start in range(0, len(rows), size):
            batch = normalizer(reader(rows[start : start + size])).contiguous(memory_format=torch.channels_last)
            yield lambda batch=batch: network.embed(batch)  # type: ignore[misc]

    if name == "random" and internal in sample.names:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed_for(job.run.config.seed, "random network"))
            recalibrate_batch_norm(network, passes(internal))
    network.eval()
    batches = []
    for number, cohort_name in enumerate(sample.names):
        progress(f"{name} network", number, len(sample.names))
        batches += [embed().float().cpu().numpy() for embed in passes(cohort_name)]
    return np.concatenate(batches)


def _selectivity(name: str, trained: Probed, untrained: Probed) -> list[pd.DataFrame]:
    """Return rows of the table `sources`: probe scores of an untrained network `name`, and the run's selectivity.

    Selectivity is the balanced accuracy of the run's probe minus the accuracy of the untrained network's probe.
    """
    frames = []
    for shots, (scores, _) in untrained.items():
        value, low, high = difference(trained[shots][0], scores)
        gain = pd.DataFrame({"metric": ["selectivity"], "value": value, "low": low, "high": high, "chance": 0.0})
        gain = gain.assign(num_sources=scores.num_sources, n=scores.n, probe="features", control=name, shots=shots)
        frames += [source_rows(scores, name, "none", shots), gain]
    return frames


def _decoded(
    sample: Sample,
    cohort: CohortFeatures,
    nuisances: Mapping[str, nuisance.Nuisance],
    features_by_network: Mapping[str, Mapping[str, Floats]],
) -> list[nuisance.Row]:
    """Return rows with the AUROCs of probes: one row for each nuisance variable of a cohort and each network.

    A probe predicts the level of the variable from the network's features of the cohort's images. A variable without
    two levels of at least FEWEST images has no rows.
    """
    cohort_sample = sample.subset(sample.source == sample.names.index(cohort.ref.name))
    projections_by_network = {
        network: projections(cohort_sample, features[cohort.ref.name])
        for network, features in features_by_network.items()
    }
    out: list[nuisance.Row] = []
    for name, (level_names, code) in nuisances.items():
        code = code[cohort.feature_rows[cohort_sample.row]]
        large_levels = [level for level in range(len(level_names)) if (code == level).sum() >= FEWEST]
        has_level = np.isin(code, large_levels)
        if len(large_levels) < 2:
            continue
        target = np.searchsorted(large_levels, code[has_level])
        level_sample = replace(
            cohort_sample.subset(has_level), names=tuple(level_names[level] for level in large_levels), source=target
        )
        for network, projected in projections_by_network.items():
            prob_NK = out_of_fold(level_sample, [x_NC[has_level] for x_NC in projected], target)
            rows = score_probe(prob_NK, target, level_sample.ids).rows()
            value, low, high = rows.loc[rows["metric"] == "auroc", ["value", "low", "high"]].to_numpy()[0].tolist()
            metric = "decodability" if network == "features" else f"{network}_decodability"
            out.append((name, "", "", metric, value, low, high, 0.5, len(target)))
    return out


def _by_source(sample: Sample, x_ND: Floats) -> dict[str, Floats]:
    return {name: x_ND[sample.source == k] for k, name in enumerate(sample.names)}


def _write(folder: Path, name: str, run_id: str, frame: pd.DataFrame | None) -> None:
    """Write the table `name` of the run into the folder; write nothing if `frame` is None."""
    if frame is not None:
        write_table(folder / f"{name}.parquet", frame.assign(run_id=run_id)[list(SCHEMAS[name])])
