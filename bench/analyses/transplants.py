"""The analysis `transplants` (region transplant test): predictions after pixels are moved between cohorts.

A host is an image that is changed; a donor is an image whose pixels are put into the host. Most changed images have a
control: the same host, changed in the same way with pixels of its own cohort. The effect is the difference between the
predictions of the changed image and of the control. So the effect of pasting itself is not part of the difference.
`transplant.py` defines the kinds of changes, and `effects.py` defines the measures. `docs/shortcuts.md` explains what
the test can show.

Shapes: N images, K findings, S side in pixels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.special import expit
from torch import Tensor

from bench.analyses.marker_masks import stored_masks
from bench.analyses.shortcuts import effects, transplant
from bench.analyses.shortcuts.effects import ChangedPredictions, Effects
from bench.analyses.shortcuts.jpeg_quality import jpeg_quality
from bench.analyses.shortcuts.transplant import Gray, Mask
from bench.inputs.batches import BatchReader
from bench.inputs.examples import Examples
from bench.models.network import Network
from bench.models.predict import predict
from bench.planning.image_caches import open_images
from bench.planning.jobs import AnalysisJob
from bench.planning.plan import CohortRef
from bench.runs.networks import normalization_of, trained_network
from bench.runs.stored_run import STANDARD_RULE
from bench.store.checked_folders import CheckedFolder, ScoresFolder
from bench.store.store import write_table
from harmonize.labels.findings import ABSENT, NOT_MENTIONED
from harmonize.progress import Progress
from harmonize.seeds import stream
from reports.schemas.tables import SCHEMAS

EXTERNAL = "external"
BEST_QUALITY = 100  # JPEG quality that loses hardly anything
Change = Callable[[Gray, Gray, bool], Gray]  # host, donor, whether gray value 0 is padding -> changed host
PAIR_CHANGES: dict[str, Change] = {  # kinds of changes that need no marker and no JPEG file
    "border": lambda host, donor, padded: transplant.pasted(host, donor, transplant.ring(len(host)), padded),
    "corner": lambda host, donor, padded: transplant.pasted(host, donor, transplant.corners(len(host)), padded),
    "intensity": transplant.intensity_matched,
    "resolution": transplant.resolution_matched,
}


@dataclass(frozen=True, slots=True, eq=False)
class TransplantSample:
    """A sample of one cohort's images, one per patient, with the logits of the frozen network."""

    name: str
    image: NDArray[np.uint8]  # [N, S, S]
    state: NDArray[np.int8]  # [N, K], label states; "not mentioned" is stored as absent
    marker: tuple[Mask, ...]  # N masks [S, S], all False without a marker
    lungs: tuple[Mask | None, ...]  # N masks [S, S], None if not detected
    logit: NDArray[np.float32]  # [N, K]
    quality: NDArray[np.int64]  # [N], JPEG quality of the image file, 1 to 100; 0 for files of other formats
    padded: bool = False  # whether gray value 0 is padding (letterboxed images)

    @property
    def marked(self) -> NDArray[np.bool_]:
        """Return the mask [N] of the images with a marker."""
        return np.array([bool(mask.any()) for mask in self.marker], bool)


@dataclass(frozen=True, slots=True, eq=False)
class TransplantRun:
    """The trained network of a run as a function, with its findings and thresholds."""

    predict_logits: Callable[[NDArray[np.uint8]], NDArray[np.float32]]  # images [N, S, S] -> logits [N, K]
    findings: tuple[str, ...]
    threshold: NDArray[np.float64]  # [K], on the logit; NaN if undefined
    learned: NDArray[np.intp]  # indices of the findings that the run has learned

    def effects(
        self,
        sample: TransplantSample,
        kind: str,
        donor: str,
        rows: NDArray[np.intp],
        after: Sequence[Gray],
        control: Sequence[Gray] | None,
    ) -> Effects:
        """Return the effects of one kind of change on images of a sample.

        `rows` [n] are the rows of the changed images in the sample. `after` has the n changed images. `control` has the
        n control images, or is None for a kind of change without a control. `donor` is the name of the donor cohort, ""
        without one. The result is empty for fewer than `effects.MIN_IMAGES` images.
        """
        if len(rows) < effects.MIN_IMAGES:
            return {}
        k = self.learned
        predictions = ChangedPredictions(
            kind,
            donor,
            sample.name,
            sample.logit[np.ix_(rows, k)],
            self.predict_logits(np.stack(list(after)))[:, k],
            None if control is None else self.predict_logits(np.stack(list(control)))[:, k],
            sample.state[np.ix_(rows, k)],
            rows,
            len(sample.image),
        )
        return effects.effects(predictions, [self.findings[i] for i in k], self.threshold[k])


def transplants(job: AnalysisJob, folder: Path, progress: Progress) -> None:
    """Write the table `transplants` of a run into the folder.

    Each combination of kind of change, donor cohort and host cohort needs one forward pass per image. The option
    `images` of the analysis limits the number of images per cohort. The same run always gives the same table.
    """
    run, samples = load_run_and_samples(job, progress)
    internal, *external = samples
    pairs = [(internal, host) for host in external] + [(donor, internal) for donor in external]
    if job.analysis.options.all_pairs:
        pairs += [(donor, host) for donor in external for host in external if donor is not host]
    effects_by_cell: dict[tuple[str, str, str], Effects] = {}
    for i, sample in enumerate(samples):
        progress("change images", i, len(samples))
        donors = [donor for donor, host in pairs if host is sample]
        for (kind, donor), cell_effects in (
            single_cohort_effects(run, sample, internal) | cross_cohort_effects(run, sample, donors)
        ).items():
            effects_by_cell[kind, donor, sample.name] = cell_effects
    progress("change images", len(samples), len(samples))
    table = effects.rows(with_means(effects_by_cell, internal.name))
    table.insert(0, "run_id", job.run.id)
    write_table(folder / "transplants.parquet", table[list(SCHEMAS["transplants"])])
    if all(ref.synthetic for ref in job.refs):  # no radiograph of a patient is ever stored as a picture of this test
        example = marker_example(run, internal, external)
        example.insert(0, "run_id", job.run.id)
        write_table(folder / "marker_example.parquet", example[list(SCHEMAS["marker_example"])])


def load_run_and_samples(job: AnalysisJob, progress: Progress) -> tuple[TransplantRun, list[TransplantSample]]:
    """Return the trained network of a job's run, and the samples of all cohorts, the internal cohort first."""
    planned_run, device = job.run, torch.device(job.device)
    if device.type == "cpu":
        torch.set_num_threads(planned_run.config.threads)
    run_folder = job.store.run_dir(planned_run.id)
    network = trained_network(planned_run, job.store, device)
    normalizer = normalization_of(planned_run, job.store, job.refs[0], network)
    points = ScoresFolder(job.store.root / "scores" / planned_run.id).table("operating_points")
    unlearned = CheckedFolder(run_folder).json("trained.json").get("unlearnt", [])
    findings = planned_run.config.findings
    learned = np.array([k for k, finding in enumerate(findings) if finding not in unlearned], np.intp)
    predict_logits = predictor(network, normalizer, device, planned_run.config.prediction_precision)
    run = TransplantRun(predict_logits, findings, _thresholds(points, findings), learned)
    samples = []
    for i, ref in enumerate(job.refs):
        progress("choose images", i, len(job.refs))
        samples.append(_sample(job, ref, run))
    return run, samples


def predictor(
    network: Network, normalizer: Callable[[Tensor], Tensor], device: torch.device, precision: str
) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """Return a function that maps images [N, S, S] to the run's logits [N, K]."""

    def predict_logits(image_NSS: NDArray[np.uint8]) -> NDArray[np.float32]:
        rows = np.arange(len(image_NSS), dtype=np.int64)
        reader = BatchReader(np.ascontiguousarray(image_NSS), device)
        return predict(network, normalizer, reader, rows, device, precision)[0]

    return predict_logits


def cross_cohort_effects(
    run: TransplantRun, host: TransplantSample, donors: Sequence[TransplantSample]
) -> dict[tuple[str, str], Effects]:
    """Return the effects of transplants from donor cohorts into the host cohort: (kind, donor cohort) -> effects."""
    host_rows = np.arange(len(host.image))
    own_donors = _own_donors(host, host_rows, host_rows)
    results: dict[tuple[str, str], Effects] = {}
    for kind, change in PAIR_CHANGES.items():
        control = [
            change(host.image[i], host.image[j], host.padded) for i, j in zip(host_rows, own_donors, strict=True)
        ]
        for donor in donors:
            donor_rows = _donor_rows(donor, np.arange(len(donor.image)), host, len(host_rows))
            after = [
                change(host.image[i], donor.image[j], host.padded) for i, j in zip(host_rows, donor_rows, strict=True)
            ]
            results[kind, donor.name] = run.effects(host, kind, donor.name, host_rows, after, control)
    for donor in donors:
        for kind, swap in (("marker", marker_pasted), ("jpeg", quality_swapped)):
            rows, after, control = swap(host, donor)
            results[kind, donor.name] = run.effects(host, kind, donor.name, rows, after, control)
    return results


def quality_swapped(host: TransplantSample, donor: TransplantSample) -> tuple[NDArray[np.intp], list[Gray], list[Gray]]:
    """Return the rows [n] of the hosts with a JPEG file, the hosts at a donor's JPEG quality, and the controls.

    A control is the same host, encoded again at the quality of its own file. So the changed image and its control
    differ only in the quality. If the donor's cohort has no JPEG files, all three results are empty.
    """
    rows, donors = np.flatnonzero(host.quality), np.flatnonzero(donor.quality)
    if not len(rows) or not len(donors):
        return rows[:0], [], []
    qualities = donor.quality[_donor_rows(donor, donors, host, len(rows))]
    after = [transplant.reencoded(host.image[i], int(q), host.padded) for i, q in zip(rows, qualities, strict=True)]
    return rows, after, [transplant.reencoded(host.image[i], int(host.quality[i]), host.padded) for i in rows]


def marker_pasted(host: TransplantSample, donor: TransplantSample) -> tuple[NDArray[np.intp], list[Gray], list[Gray]]:
    """Return the rows [n] of the hosts without a marker, the hosts with a donor's marker, and the controls.

    A marker is pasted with its bounding box from a donor image. The control gets the same box from another host without
    a marker. So the changed image and its control differ only in the marker and the cohort of the pasted box. If the
    donor's cohort has no markers, all three results are empty.
    """
    unmarked, marked = np.flatnonzero(~host.marked), np.flatnonzero(donor.marked)
    if not len(unmarked) or not len(marked):
        return unmarked[:0], [], []
    donor_rows = _donor_rows(donor, marked, host, len(unmarked))
    masks = [transplant.boxed(donor.marker[j]) for j in donor_rows]

    def patched(donor_sample: TransplantSample, donor_indices: NDArray[np.intp]) -> list[Gray]:
        return [
            transplant.pasted(host.image[i], donor_sample.image[j], mask, host.padded)
            for i, j, mask in zip(unmarked, donor_indices, masks, strict=True)
        ]

    return unmarked, patched(donor, donor_rows), patched(host, _own_donors(host, unmarked, unmarked))


def marker_example(run: TransplantRun, internal: TransplantSample, hosts: Sequence[TransplantSample]) -> pd.DataFrame:
    """Return the table `marker_example` (without run_id): the finding that internal markers change most, at a typical image.

    The image is the one whose probability changes by the median amount. The table is empty without markers.
    """
    cases: list[tuple[str, Gray, Gray, NDArray[np.float64]]] = []
    for host in hosts:
        rows, after, control = marker_pasted(host, internal)
        if len(rows):
            logits = (host.logit[rows], *(run.predict_logits(np.stack(images)) for images in (after, control)))
            p_3NK = expit(np.stack(logits).astype(np.float64))
            cases += [
                (host.name, host.image[i], a, p_3NK[:, n]) for n, (i, a) in enumerate(zip(rows, after, strict=True))
            ]
    if not cases:
        return pd.DataFrame(columns=list(SCHEMAS["marker_example"])[1:])
    p_N3K = np.stack([p_3K for *_, p_3K in cases])
    moved_NK, control_NK = (np.abs(p_N3K[:, i] - p_N3K[:, 0]) for i in (1, 2))
    k = run.learned[np.argmax((moved_NK - control_NK).mean(0)[run.learned])]
    dataset, before, after_image, p_3K = cases[np.argsort(moved_NK[:, k], kind="stable")[len(cases) // 2]]
    picture = bytes(cv2.imencode(".webp", np.hstack([before, after_image]), [cv2.IMWRITE_WEBP_QUALITY, 90])[1])
    row = {"dataset": dataset, "finding": run.findings[k], "before": p_3K[0, k], "after": p_3K[1, k]}
    return pd.DataFrame([{**row, "n": len(cases), "picture": picture}])


def single_cohort_effects(
    run: TransplantRun, sample: TransplantSample, internal: TransplantSample
) -> dict[tuple[str, str], Effects]:
    """Return the effects of the six kinds of changes that have no donor cohort: (kind, "") -> effects.

    erased: markers are removed; the control removes the mirrored area. toggled: markers are removed, and images without
    a marker get an internal marker. erased and toggled need at least `effects.MIN_IMAGES` images with a marker.
    lungs_masked: the lungs are filled with one gray value. lungs_only: all pixels outside the lungs are filled with one
    gray value. jpeg_low: images are encoded as JPEG of low quality; the control has the quality of the image's file, or
    the best quality if the file is no JPEG. clahe: local contrast is equalized.
    """
    all_rows, marked = np.arange(len(sample.image)), np.flatnonzero(sample.marked)
    results: dict[tuple[str, str], Effects] = {}
    pairs = list(zip(sample.image, sample.marker, strict=True))
    erased = [transplant.erased(image, mask, sample.padded) for image, mask in pairs]
    control_erased = [
        transplant.erased(image, transplant.mirrored(mask) & ~mask, sample.padded) for image, mask in pairs
    ]
    if len(marked) >= effects.MIN_IMAGES:
        results["erased", ""] = run.effects(sample, "erased", "", all_rows, erased, control_erased)
        unmarked, after, control = marker_pasted(sample, internal)
        rows = np.concatenate([marked, unmarked])
        toggled = [*(erased[i] for i in marked), *after]
        results["toggled", ""] = run.effects(
            sample, "toggled", "", rows, toggled, [*(control_erased[i] for i in marked), *control]
        )
    lungs = {i: mask for i, mask in enumerate(sample.lungs) if mask is not None}
    rows_with_lungs = np.array(list(lungs), np.intp)
    for kind, inside in (("lungs_masked", True), ("lungs_only", False)):
        changed = [transplant.flattened(sample.image[i], lungs[i] == inside, sample.padded) for i in rows_with_lungs]
        results[kind, ""] = run.effects(sample, kind, "", rows_with_lungs, changed, None)
    low = [transplant.reencoded(image, transplant.LOW_QUALITY, sample.padded) for image in sample.image]
    own_quality = np.where(sample.quality > 0, sample.quality, BEST_QUALITY).tolist()
    own = [transplant.reencoded(image, q, sample.padded) for image, q in zip(sample.image, own_quality, strict=True)]
    results["jpeg_low", ""] = run.effects(sample, "jpeg_low", "", all_rows, low, own)
    equalized = [transplant.equalized(image, sample.padded) for image in sample.image]
    results["clahe", ""] = run.effects(sample, "clahe", "", all_rows, equalized, None)
    return results


def with_means(
    effects_by_cell: dict[tuple[str, str, str], Effects], internal: str
) -> dict[tuple[str, str, str], Effects]:
    """Return the given effects together with their means over external hospitals and with the causal score.

    Keys are (kind, donor, host). A mean over external hospitals has "external" as its host or donor. The causal score
    is the effect of internal pixels on external images, averaged over the kinds marker, corner and border.
    """
    kinds = dict.fromkeys(kind for kind, _, _ in effects_by_cell)
    means: dict[tuple[str, str, str], Effects] = {}
    for kind in kinds:
        on_external = [
            e
            for (k, donor, host), e in effects_by_cell.items()
            if k == kind and host != internal and donor in ("", internal)
        ]
        on_internal = [e for (k, donor, host), e in effects_by_cell.items() if k == kind and host == internal and donor]
        donor = internal if any(d for k, d, _ in effects_by_cell if k == kind) else ""
        means[kind, donor, EXTERNAL] = effects.pooled(on_external)
        if on_internal:
            means[kind, EXTERNAL, internal] = effects.pooled(on_internal)
    scored = [means[kind, internal, EXTERNAL] for kind in effects.SCORED if means.get((kind, internal, EXTERNAL))]
    return effects_by_cell | means | {(effects.CAUSAL, internal, EXTERNAL): effects.pooled(scored)}


def _sample(job: AnalysisJob, ref: CohortRef, run: TransplantRun) -> TransplantSample:
    """Return the sample of a cohort, one image per patient; the analysis option `images` limits its size."""
    cache = open_images(job.store, ref, job.run.geometry)
    examples = Examples.predicted(ref, job.run.config, cache)
    one_per_patient = examples.feature_indices
    generator = stream(0, "transplants", ref.name)
    rows = one_per_patient[balanced(examples.state_NK[one_per_patient], job.analysis.options.images, generator)]
    image = np.ascontiguousarray(cache.images[examples.rows[rows]])
    ids = [str(i) for i in examples.image_id[rows]]
    masks = stored_masks(ref, ids, job.run.geometry, cache.fingerprint, job.store.root / "cache" / "masks")
    path_of = ref.read(["image_id", "path"]).set_index("image_id")["path"]
    quality = np.array([jpeg_quality(ref.root / str(path_of[i])) for i in ids], np.int64)
    logit = run.predict_logits(image) if len(image) else np.empty((0, len(run.findings)), np.float32)
    state = examples.state_NK[rows]
    # As in scoring, "not mentioned" counts as absent.
    state[state == NOT_MENTIONED] = ABSENT
    return TransplantSample(
        ref.name,
        image,
        state,
        tuple(m.marker for m in masks),
        tuple(m.lungs for m in masks),
        logit,
        quality,
        job.run.padded,
    )


def balanced(state_NK: NDArray[np.int8], num_images: int, generator: np.random.Generator) -> NDArray[np.intp]:
    """Return the rows of at most `num_images` images, chosen so that rare findings occur, too.

    Up to half of the images are chosen because a finding is present, with the same maximum number for each finding. The
    other images are random.
    """
    order = generator.permutation(len(state_NK))
    quota = max(1, num_images // (2 * max(1, state_NK.shape[1])))
    selected: dict[int, None] = {}
    for k in range(state_NK.shape[1]):
        present = [int(i) for i in order if state_NK[i, k] == 1 and int(i) not in selected]
        selected |= dict.fromkeys(present[:quota])
    selected |= dict.fromkeys(int(i) for i in order)
    return np.sort(np.array(list(selected)[:num_images], np.intp))


def _donor_rows(
    donor: TransplantSample, candidates: NDArray[np.intp], host: TransplantSample, num: int
) -> NDArray[np.intp]:
    """Return `num` rows of donors, drawn from `candidates` in random order.

    If `num` is larger than the number of candidates, the order is repeated. So all candidates are used equally often, or
    some of them once more.
    """
    order = stream(0, "donors", donor.name, host.name).permutation(candidates)
    return np.resize(order, num)


def _own_donors(sample: TransplantSample, hosts: NDArray[np.intp], candidates: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return for each host the row of a donor of the same cohort: the next candidate in a random cyclic order."""
    order = stream(0, "own donors", sample.name).permutation(candidates)
    next_row = dict(zip(order.tolist(), np.roll(order, -1).tolist(), strict=True))
    return np.array([next_row[int(i)] for i in hosts], np.intp)


def _thresholds(points: pd.DataFrame, findings: Sequence[str]) -> NDArray[np.float64]:
    """Return the thresholds [K] on the logit, fixed on the validation split; NaN if undefined."""
    stored = points[points["rule"] == STANDARD_RULE].set_index("finding")["threshold"]
    return stored.reindex(list(findings)).to_numpy(np.float64)
