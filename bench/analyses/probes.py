"""The analysis `probes`: information in a run's frozen features besides the findings, compared with untrained networks.

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
from bench.analyses.shortcuts.evaluation import Judged, difference, judge
from bench.analyses.shortcuts.linear import out_of_fold, projections
from bench.analyses.shortcuts.sample import Sample, draw_sample
from bench.analyses.shortcuts.source import feature_probe, labelled
from bench.inputs.batches import BatchReader
from bench.inputs.examples import Examples, probe_rows
from bench.models.network import Network
from bench.models.predict import images_per_pass
from bench.planning.image_caches import open_images
from bench.planning.jobs import AnalysisJob
from bench.planning.plan import CohortRef
from bench.runs.networks import initial_network, normalization_of
from bench.store.store import Progress, read_table, write_table
from bench.training.train_modes import recalibrate_batch_norm
from harmonize.cache.cache import ImageCache
from harmonize.labels.findings import ABSENT, NOT_MENTIONED, PRESENT
from harmonize.seeds import seed_for
from reports.schemas.tables import SCHEMAS

Floats = NDArray[np.float32]
Probed = Mapping[int, tuple[Judged, NDArray[np.float64]]]  # by images per source that a probe learns from

FEWEST = 20  # images that a level of a nuisance variable needs to be decoded


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """The judged images of one cohort: the test split at the internal hospital, the headline external split."""

    ref: CohortRef
    cache: ImageCache
    examples: Examples
    table: pd.DataFrame  # a row per image
    logit_NF: Floats
    kept: NDArray[np.int64]  # places of the images whose features are stored, one per patient
    feature_ND: Floats  # in the order of `kept`

    @property
    def labels(self) -> NDArray[np.int8]:
        """Return 1, 0 and -1 where the finding is neither stated present nor absent."""
        state = self.examples.state_NK
        return np.select([state == PRESENT, np.isin(state, (ABSENT, NOT_MENTIONED))], [1, 0], -1).astype(np.int8)


def probes(job: AnalysisJob, folder: Path, progress: Progress) -> None:
    """Write the tables `sources` (probes of untrained networks, selectivity of the run) and `nuisances` of one run."""
    most = job.analysis.options.per_source
    device = torch.device(job.device)
    if device.type == "cpu":
        torch.set_num_threads(job.run.config.threads)
    places = {ref.name: _place(job, ref) for ref in job.refs}
    sample = draw_sample({name: p.examples.patient_id[p.kept] for name, p in places.items()}, most=most)
    seen: dict[str, dict[str, Floats]] = {}  # network -> cohort -> features of the sampled images
    frames: list[pd.DataFrame] = []
    if not isinstance(sample, str):
        x_ND = sample.gather({name: place.feature_ND for name, place in places.items()})
        trained = feature_probe(sample, x_ND)
        seen["features"] = _by_source(sample, x_ND)
        for name, network in _untrained(job).items():
            x_ND = _features(job, name, network.to(device), places, sample, progress)
            frames += _selectivity(name, trained, feature_probe(sample, x_ND))
            seen[name] = _by_source(sample, x_ND)
    rows: list[tuple[Any, ...]] = []
    for i, (name, place) in enumerate(places.items()):
        progress("nuisances", i, len(places))
        split = place.ref.headline_name
        known = nuisance.levels(place.table, nuisance.phantom_marker(place.ref.root, place.table["image_id"]))
        label_NF, patient = place.labels, place.examples.patient_id
        found = nuisance.stratified(job.run.config.findings, label_NF, place.logit_NF, patient, known)
        if not isinstance(sample, str) and name in sample.names:
            found += _decoded(sample, place, known, seen)
        rows += [(name, split, *row) for row in found]
    progress("nuisances", len(places), len(places))
    _write(folder, "sources", job.run.id, pd.concat(frames, ignore_index=True) if frames else None)
    columns = ["dataset", "split", *nuisance.COLUMNS]
    _write(folder, "nuisances", job.run.id, pd.DataFrame(rows, columns=columns) if rows else None)


def _place(job: AnalysisJob, ref: CohortRef) -> Place:
    """Return the scored images of a cohort with labels and logits, and the stored features of its feature sample."""
    folder = job.store.run_dir(job.run.id)
    cache = open_images(job.store, ref, job.run.geometry)
    everything = Examples.predicted(ref, job.run.config, cache)
    at = everything.headline_indices
    chosen = Examples(everything.image_id[at], everything.patient_id[at], everything.rows[at], everything.state_NK[at])
    with np.load(folder / "features" / f"{ref.name}.npz", allow_pickle=False) as stored:
        feature_ND = stored["feature"].astype(np.float32)
    ids = chosen.image_id.astype(str)
    logits = read_table(folder / "predictions" / f"{ref.name}.parquet").set_index("image_id").loc[ids]
    logit_NF = logits[list(job.run.config.findings)].to_numpy(np.float32)
    table = pd.read_parquet(ref.table).set_index("image_id", drop=False).loc[ids].reset_index(drop=True)
    return Place(ref, cache, chosen, table, logit_NF, probe_rows(chosen.patient_id), feature_ND)


def _untrained(job: AnalysisJob) -> dict[str, Network]:
    """Return the run's network with random weights, and with ImageNet's where it began with these."""
    found = {"random": initial_network(job.run, None)}
    if job.run.config.weights == "imagenet":
        found["imagenet"] = initial_network(job.run, job.run.weights_file or "hub")
    return found


@torch.inference_mode()
def _features(
    job: AnalysisJob, name: str, network: Network, places: Mapping[str, Place], sample: Sample, progress: Progress
) -> Floats:
    """Return the penultimate features [N, D] of the sampled images.

    A random network has no batch-norm statistics, so they are computed on the sampled internal images.
    """
    device, internal = torch.device(job.device), job.refs[0].name
    normalizer = normalization_of(job.run, job.store, job.refs[0], network)
    size = images_per_pass(64, places[internal].cache.images.shape[-1])

    def passes(cohort: str) -> Iterator[Callable[[], Tensor]]:
        """Yield a forward pass for each batch of a cohort's sampled images."""
        place = places[cohort]
        reader = BatchReader(place.cache.images, device)
        rows = place.examples.rows[place.kept[sample.row[sample.source == sample.names.index(cohort)]]]
        for at in range(0, len(rows), size):
            batch = normalizer(reader(rows[at : at + size])).contiguous(memory_format=torch.channels_last)
            yield lambda batch=batch: network.embed(batch)  # type: ignore[misc]

    if name == "random" and internal in sample.names:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed_for(job.run.config.seed, "random network"))
            recalibrate_batch_norm(network, passes(internal))
    network.eval()
    found = []
    for number, cohort in enumerate(sample.names):
        progress(f"{name} network", number, len(sample.names))
        found += [embed().float().cpu().numpy() for embed in passes(cohort)]
    return np.concatenate(found)


def _selectivity(name: str, trained: Probed, untrained: Probed) -> list[pd.DataFrame]:
    """Return the scores of the probes of an untrained network, and the selectivity: how much more accurate the run's is."""
    frames = []
    for shots, (found, _) in untrained.items():
        value, low, high = difference(trained[shots][0], found)
        gain = pd.DataFrame({"metric": ["selectivity"], "value": value, "low": low, "high": high, "chance": 0.0})
        gain = gain.assign(num_sources=found.num_sources, n=found.n, probe="features", control=name, shots=shots)
        frames += [labelled(found, name, "none", shots), gain]
    return frames


def _decoded(
    sample: Sample, place: Place, known: Mapping[str, tuple[tuple[str, ...], NDArray[np.int64]]], seen: Mapping[str, Mapping[str, Floats]]
) -> list[nuisance.Row]:  # fmt: skip
    """Return how well each nuisance variable is decoded from the features of each network, on images of one cohort."""
    mine = sample.part(sample.source == sample.names.index(place.ref.name))
    inputs = {network: projections(mine, features[place.ref.name]) for network, features in seen.items()}
    out: list[nuisance.Row] = []
    for name, (named, code) in known.items():
        code = code[place.kept[mine.row]]
        fine = [level for level in range(len(named)) if (code == level).sum() >= FEWEST]
        inside = np.isin(code, fine)
        if len(fine) < 2:
            continue
        target = np.searchsorted(fine, code[inside])
        of = replace(mine.part(inside), names=tuple(named[level] for level in fine), source=target)
        for network, seen_NC in inputs.items():
            prob_NK = out_of_fold(of, [x_NC[inside] for x_NC in seen_NC], target)
            rows = judge(prob_NK, target, of.ids).rows()
            value, low, high = (
                float(v) for v in rows.loc[rows["metric"] == "auroc", ["value", "low", "high"]].to_numpy()[0]
            )
            metric = "decodability" if network == "features" else f"{network}_decodability"
            out.append((name, "", "", metric, value, low, high, 0.5, len(target)))
    return out


def _by_source(sample: Sample, x_ND: Floats) -> dict[str, Floats]:
    return {name: x_ND[sample.source == k] for k, name in enumerate(sample.names)}


def _write(folder: Path, name: str, run_id: str, frame: pd.DataFrame | None) -> None:
    """Write a table of the report, unless it is None."""
    if frame is not None:
        write_table(folder / f"{name}.parquet", frame.assign(run_id=run_id)[list(SCHEMAS[name])])
