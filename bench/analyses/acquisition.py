"""The analysis `acquisition`: how well classifiers predict the hospital of an image. No network of the grid is used.

A source is the cohort of an image, and a source classifier predicts the source. There are two types of source
classifiers. Source networks use pixels; tree ensembles use descriptors (numbers that describe how an image was taken or
stored). A view is a changed image, such as the border alone. A nuisance variable, such as the projection, varies inside
a cohort, and a network may use the variable in place of a finding. A level is one value of a nuisance variable.
"""

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
from bench.analyses.shortcuts.evaluation import confusion, score_probe
from bench.analyses.shortcuts.sample import Sample, draw_sample, shuffled
from bench.analyses.shortcuts.source import source_rows
from bench.config.analyses import Acquisition
from bench.planning.image_caches import open_images
from bench.planning.jobs import AnalysisJob
from bench.planning.plan import CohortRef
from bench.store.store import write_table
from harmonize.images.image_header import UnreadableImage
from harmonize.images.pixels import read_gray
from harmonize.labels.findings import ABSENT, NOT_MENTIONED, PRESENT
from harmonize.labels.states import states
from harmonize.progress import Progress
from reports.schemas.tables import SCHEMAS

Rows = list[tuple[Any, ...]]


def acquisition(job: AnalysisJob, folder: Path, progress: Progress) -> None:
    """Write four tables of a grid: `sources`, `source_confusion`, `descriptors` and `nuisances`.

    `sources` has the scores of the source classifiers, `source_confusion` has their confusion matrices, and
    `descriptors` has the SHAP values of the tree ensembles. `nuisances` has the associations of nuisance variables,
    such as sex and projection, with the findings. A table without rows is not written.
    """
    options: Acquisition = job.analysis.options
    device = torch.device(job.device)
    if device.type == "cpu":
        torch.set_num_threads(job.run.config.threads)
    tables, pixels = {}, {}
    for ref in job.refs:
        table, cache = ref.read(), open_images(job.store, ref, job.run.geometry)
        table = table[ref.headline_rows(ref.split_of(table, job.run.config))]
        rows = cache.rows(table["image_id"])
        tables[ref.name], pixels[ref.name] = table[rows >= 0].reset_index(drop=True), (cache.images, rows[rows >= 0])
    sample = draw_sample(
        {name: cohort_table["patient_id"].to_numpy(str) for name, cohort_table in tables.items()},
        per_source=options.per_source,
    )
    frames_by_table: dict[str, list[pd.DataFrame]] = {"sources": [], "source_confusion": [], "descriptors": []}
    if not isinstance(sample, str):
        cached = [
            images[rows[sample.row[sample.source == k]]]
            for k, (images, rows) in enumerate(pixels[name] for name in sample.names)
        ]
        images = np.concatenate(cached)
        _networks(frames_by_table, images, sample, options, device, progress)
        _trees(frames_by_table, sample, images, tables, {ref.name: ref for ref in job.refs}, options, progress)
    frames_by_table["nuisances"] = [_nuisances(job, progress)]
    for name, frames in frames_by_table.items():
        if any(len(frame) for frame in frames):
            frame = pd.concat(frames, ignore_index=True).assign(run_id="")
            write_table(folder / f"{name}.parquet", frame[list(SCHEMAS[name])])


def _networks(
    frames_by_table: dict[str, list[pd.DataFrame]],
    images: NDArray[np.uint8],
    sample: Sample,
    options: Acquisition,
    device: torch.device,
    progress: Progress,
) -> None:
    """Train source networks; add their scores and a confusion matrix to `frames_by_table`.

    Networks are trained for each view, and for one control: unchanged images with their sources in random order. The
    confusion matrix belongs to the unchanged images with their true sources.
    """
    targets = {"shuffled": shuffled(sample, 0)}
    for i, control in enumerate([*VIEWS, "shuffled"]):
        progress(f"source network, {control}", i, len(VIEWS) + 1)
        target = targets.get(control, sample.source)
        view = VIEWS.get(control, VIEWS["none"])
        prob_NK = network_probe(images, sample, target, view, device, options.epochs, options.folds)
        has_prediction = np.asarray(np.isfinite(prob_NK).all(1))
        subsample = sample.subset(has_prediction)
        frames_by_table["sources"].append(
            source_rows(score_probe(prob_NK[has_prediction], target[has_prediction], subsample.ids), "cnn", control)
        )
        if control == "none":
            table = confusion(prob_NK[has_prediction], subsample.source, sample.names)
            frames_by_table["source_confusion"].append(table.assign(probe="cnn", control="none"))


def _trees(
    frames_by_table: dict[str, list[pd.DataFrame]],
    sample: Sample,
    images: NDArray[np.uint8],
    tables: Mapping[str, pd.DataFrame],
    refs: Mapping[str, CohortRef],
    options: Acquisition,
    progress: Progress,
) -> None:
    """Fit a tree ensemble on pixel descriptors and one on file headers; add the results to `frames_by_table`.

    The results are scores, confusion matrices and SHAP values. Each ensemble has a control, for which only scores are
    added: an ensemble that is trained on sources in random order.
    """
    pixel_rows, header_rows = [], []
    for i, (k, row) in enumerate(zip(sample.source, sample.row, strict=True)):
        progress("describe images", i, len(images))
        name = sample.names[k]
        path = refs[name].root / str(tables[name]["path"].iloc[row])
        header_rows.append(descriptors.header_descriptors(path))
        try:
            pixel_rows.append(descriptors.pixel_descriptors(read_gray(path, at_least=descriptors.AT_LEAST)))
        except UnreadableImage:  # the file changed after decoding for the cache, so the cached image is described
            pixel_rows.append(descriptors.pixel_descriptors(images[i]))
    inputs = (
        ("pixels", np.array(pixel_rows), descriptors.PIXELS),
        ("header", np.array(header_rows), descriptors.HEADER),
    )
    for number, (model, x_ND, names) in enumerate(inputs):
        progress(f"trees on {model}", number, len(inputs))
        explained = descriptors.trees(x_ND, sample, sample.source, options.explained)
        frames_by_table["sources"].append(
            source_rows(score_probe(explained.prob_NK, sample.source, sample.ids), model, "none")
        )
        frames_by_table["source_confusion"].append(
            confusion(explained.prob_NK, sample.source, sample.names).assign(probe=model, control="none")
        )
        frames_by_table["descriptors"].append(descriptors.descriptor_rows(explained, x_ND, sample, model, names))
        shuffled_source = shuffled(sample, 0)
        control = descriptors.trees(x_ND, sample, shuffled_source)
        frames_by_table["sources"].append(
            source_rows(score_probe(control.prob_NK, shuffled_source, sample.ids), model, "shuffled")
        )


def _nuisances(job: AnalysisJob, progress: Progress) -> pd.DataFrame:
    """Return the table `nuisances`: shares of the levels of nuisance variables, and associations with findings.

    A share is the share of images at one level. An association is measured between one nuisance variable and one
    finding. The internal cohort is measured on its training images, each external cohort on its headline rows (the rows
    behind its scores on the leaderboard).
    """
    rows: Rows = []
    findings = job.run.config.findings
    internal: nuisance.Association | None = None
    for i, ref in enumerate(job.refs):
        progress("associations", i, len(job.refs))
        table = ref.read()
        split_of_row = ref.split_of(table, job.run.config)
        split = "train" if ref.role == "internal" else ref.headline_name
        table = table[split_of_row == "train"] if ref.role == "internal" else table[ref.headline_rows(split_of_row)]
        table = table[nuisance.patient_sample(table["patient_id"].to_numpy(str))]
        state = states(table, findings)
        label_NF = np.select([state == PRESENT, np.isin(state, (ABSENT, NOT_MENTIONED))], [1, 0], -1).astype(np.int8)
        nuisances = nuisance.levels(table, nuisance.phantom_marker(ref.places, table["image_id"]))
        patient = table["patient_id"].to_numpy(str)
        if internal is None:
            internal = nuisance.Association(findings, nuisances, label_NF)
            association_rows = internal.rows(patient)
        else:
            association_rows = internal.external(nuisances, label_NF, patient)
        rows += [(ref.name, split, *row) for row in (*nuisance.shares(nuisances, patient), *association_rows)]
    return pd.DataFrame(rows, columns=["dataset", "split", *nuisance.COLUMNS])
