"""The analysis `acquisition`: how well images, descriptors and tables identify the hospitals of a grid, without a trained run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from bench.analyses.shortcuts import acquisition as descriptors
from bench.analyses.shortcuts import nuisance
from bench.analyses.shortcuts.cnn import VIEWS, network_probe
from bench.analyses.shortcuts.evaluation import confusion, judge
from bench.analyses.shortcuts.sample import Sample, draw_sample, shuffled
from bench.analyses.shortcuts.source import labelled
from bench.config.analyses import Acquisition
from bench.planning.image_caches import open_images
from bench.planning.jobs import AnalysisJob
from bench.planning.plan import CohortRef, states
from bench.store.store import Progress, write_table
from harmonize.images.pixels import UnreadableImage, read_gray
from harmonize.labels.findings import ABSENT, NOT_MENTIONED, PRESENT
from reports.schemas.tables import SCHEMAS

Rows = list[tuple[Any, ...]]


def acquisition(job: AnalysisJob, folder: Path, progress: Progress) -> None:
    """Write the tables `sources`, `source_confusion` and `descriptors` of source classifiers, and `nuisances` of the cohorts."""
    options: Acquisition = job.analysis.options
    device = torch.device(job.device)
    if device.type == "cpu":
        torch.set_num_threads(job.run.config.threads)
    tables, pixels = {}, {}
    for ref in job.refs:
        table, cache = _headline_images(job, ref), open_images(job.store, ref, job.run.geometry)
        rows = cache.rows(table["image_id"])
        tables[ref.name], pixels[ref.name] = table[rows >= 0].reset_index(drop=True), (cache.images, rows[rows >= 0])
    sample = draw_sample({name: t["patient_id"].to_numpy(str) for name, t in tables.items()}, most=options.per_source)
    found: dict[str, list[pd.DataFrame]] = {"sources": [], "source_confusion": [], "descriptors": []}
    if not isinstance(sample, str):
        images = np.concatenate([pixels[name][0][pixels[name][1][sample.row[sample.source == k]]] for k, name in enumerate(sample.names)])  # fmt: skip
        _networks(found, images, sample, options, device, progress)
        _trees(found, sample, images, tables, {ref.name: ref for ref in job.refs}, options, progress)
    found["nuisances"] = [_nuisances(job, progress)]
    for name, frames in found.items():
        if frames and sum(map(len, frames)):
            frame = pd.concat(frames, ignore_index=True).assign(run_id="")
            write_table(folder / f"{name}.parquet", frame[list(SCHEMAS[name])])


def _headline_images(job: AnalysisJob, ref: CohortRef) -> pd.DataFrame:
    """Return the headline rows of a cohort table."""
    table = pd.read_parquet(ref.table)
    return table[ref.headline_rows(ref.split_of(table, job.run.config))]


def _networks(
    found: dict[str, list[pd.DataFrame]], images: NDArray[np.uint8], sample: Sample, options: Acquisition,
    device: torch.device, progress: Progress,
) -> None:  # fmt: skip
    """Add the scores of a source network for each view of the images, and of one trained on shuffled sources."""
    named = {"shuffled": shuffled(sample, 0)}
    for i, control in enumerate([*VIEWS, "shuffled"]):
        progress(f"source network, {control}", i, len(VIEWS) + 1)
        target = named.get(control, sample.source)
        view = VIEWS.get(control, VIEWS["none"])
        prob_NK = network_probe(images, sample, target, view, device, options.epochs, options.folds)
        inside = np.asarray(np.isfinite(prob_NK).all(1))
        part = sample.part(inside)
        found["sources"].append(labelled(judge(prob_NK[inside], target[inside], part.ids), "cnn", control))
        if control == "none":
            table = confusion(prob_NK[inside], part.source, sample.names)
            found["source_confusion"].append(table.assign(probe="cnn", control="none"))


def _trees(
    found: dict[str, list[pd.DataFrame]], sample: Sample, images: NDArray[np.uint8], tables: Mapping[str, pd.DataFrame],
    refs: Mapping[str, CohortRef], options: Acquisition, progress: Progress,
) -> None:  # fmt: skip
    """Add the scores and explanations of tree ensembles that predict the source from descriptors of the stored images."""
    pixel, header = [], []
    for i, (k, row) in enumerate(zip(sample.source, sample.row, strict=True)):
        progress("describe images", i, len(images))
        name = sample.names[k]
        path = refs[name].root / str(tables[name]["path"].iloc[row])
        header.append(descriptors.header_descriptors(path))
        try:
            pixel.append(descriptors.pixel_descriptors(read_gray(path, at_least=descriptors.AT_LEAST)))
        except UnreadableImage:  # the file changed after it was decoded for the cache
            pixel.append(descriptors.pixel_descriptors(images[i]))
    models = (("pixels", np.array(pixel), descriptors.PIXELS), ("header", np.array(header), descriptors.HEADER))
    for number, (model, x_ND, names) in enumerate(models):
        progress(f"trees on {model}", number, len(models))
        explained = descriptors.trees(x_ND, sample, sample.source, options.explained)
        found["sources"].append(labelled(judge(explained.prob_NK, sample.source, sample.ids), model, "none"))
        found["source_confusion"].append(
            confusion(explained.prob_NK, sample.source, sample.names).assign(probe=model, control="none")
        )
        found["descriptors"].append(descriptors.described(explained, x_ND, sample, model, names))
        named = shuffled(sample, 0)
        mixed = descriptors.trees(x_ND, sample, named)
        found["sources"].append(labelled(judge(mixed.prob_NK, named, sample.ids), model, "shuffled"))


def _nuisances(job: AnalysisJob, progress: Progress) -> pd.DataFrame:
    """Return what the cohort tables say: shares and associations in the internal training images, and the same externally."""
    rows: Rows = []
    findings = job.run.config.findings
    internal: nuisance.Association | None = None
    for i, ref in enumerate(job.refs):
        progress("associations", i, len(job.refs))
        table = pd.read_parquet(ref.table)
        of_row = ref.split_of(table, job.run.config)
        split = "train" if ref.role == "internal" else ref.headline_name
        table = table[of_row == "train"] if ref.role == "internal" else table[ref.headline_rows(of_row)]
        table = table[nuisance.drawn(table["patient_id"].to_numpy(str))]
        state = states(table, findings)
        label_NF = np.select([state == PRESENT, np.isin(state, (ABSENT, NOT_MENTIONED))], [1, 0], -1).astype(np.int8)
        known = nuisance.levels(table, nuisance.phantom_marker(ref.root, table["image_id"]))
        patient = table["patient_id"].to_numpy(str)
        if internal is None:
            internal = nuisance.Association(findings, known, label_NF)
            found = internal.rows(patient)
        else:
            found = internal.external(known, label_NF, patient)
        rows += [(ref.name, split, *row) for row in (*nuisance.shares(known), *found)]
    return pd.DataFrame(rows, columns=["dataset", "split", *nuisance.COLUMNS])
