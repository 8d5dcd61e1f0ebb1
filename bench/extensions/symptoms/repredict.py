"""Predict internal images again with a run's network, and compare with the stored predictions and with other image scales.

The comparison detects mistakes that stored files do not show. Examples are weights of another checkpoint, another number of
channels, or another image scale than in training (0 to 255, not normalized, inverted, another preprocessing). No file is
written.

Shapes: N images, H and W height and width in pixels.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from bench.extensions.symptoms.failures import failure_symptoms, symptom
from bench.extensions.symptoms.predictions_and_labels import internal_splits
from bench.inputs.batches import BatchReader
from bench.inputs.normalize import Normalizer, minmax, unit, zscore
from bench.models.predict import predict, weights_sha256
from bench.planning.manifest import planned
from bench.planning.run import read_run
from bench.runs.stored_run import StoredRun, load
from bench.scoring.diagnostics import chances, cross_auroc
from bench.scoring.scored_split import ScoredSplit
from bench.store.store import Store, table_facts
from harmonize.cache.cache import ImageCache, finished_cache
from harmonize.checks.release import Check
from harmonize.errors import StoreError
from harmonize.progress import Progress

_IMAGES = 512  # maximum number of internal images that are predicted again
# logits count as equal if the median of their absolute differences is at most this share of the stored logits' standard deviation
_SAME = 0.02
_BETTER = 0.1  # training used another scale if that scale raises the macro AUROC by at least this difference


@dataclass(frozen=True, eq=False)
class _Sample:
    """A sample of internal images.

    stored       the run
    cache        decoded images of the internal cohort
    rows         [N] positions of the sampled images in the cache
    predictions  stored predictions of the sampled images, in the order of `rows`
    """

    stored: StoredRun
    cache: ImageCache
    rows: NDArray[np.int64]
    predictions: ScoredSplit


def repredict_symptoms(store: Store, run_id: str, device: str = "cpu", progress: Progress | None = None) -> list[Check]:
    """Predict internal images again, and return the symptoms that the new predictions show.

    Returns a note if decoded images or weights are missing, or if the run is derived. `device`: a torch device such as "cpu".
    """
    where = f"run {run_id}"
    title = f"{where}: predictions repeated"
    try:
        # raises StoreError for a derived run, whose source runs have to be checked
        run = read_run(store, run_id)
        stored = load(store, run_id, device)
    except StoreError as error:
        checks = list(failure_symptoms(where, error.what))
        return checks or [Check("", title, "note", "", f"not done: {error.what}", error.fix)]
    if run.has_given_vectors:
        problem = "not done: the run has vectors of its images, and no network that reads images"
        return [Check("", title, "note", "", problem, "compare its vectors with those of the owner of the encoder")]
    sample = _sample(store, run_id, stored)
    if sample is None:
        problem = "not done: the decoded images of the internal hospital are missing"
        return [Check("", title, "note", "", problem, "`bench run` of its grid decodes them again")]
    checks = [*_weights(store, sample)]
    scales = _scales(stored)
    logits: dict[str, NDArray[np.float32]] = {}
    for done, (name, normalizer) in enumerate(scales.items()):
        if progress:
            progress("other scales", done, len(scales))
        reader = BatchReader(sample.cache.images, stored.device)
        logits[name] = predict(stored.network, normalizer, reader, sample.rows, stored.device)[0]
    if progress:
        progress("other scales", len(scales), len(scales))
    own = next(iter(scales))
    return [
        *checks,
        *_not_reproduced(where, sample, logits, own, bool(checks)),
        *_better_scale(where, sample, logits, own),
    ]


def _sample(store: Store, run_id: str, stored: StoredRun) -> _Sample | None:
    """Draw a random sample of the internal images that the run has predicted; None if there are no decoded images."""
    manifest, run = planned(store, run_id, None)
    internal = manifest.source
    facts = table_facts(store.run_dir(run_id) / "predictions" / f"{internal}.parquet")
    cache = finished_cache(store.root / "cache", internal, stored.geometry, facts.get("fingerprint", ""))
    splits = internal_splits(manifest, run, stored.run.config)
    if cache is None or not splits:
        return None
    image_id, patient_id, logit, state = (
        np.concatenate([getattr(scored_split, name) for scored_split in splits])
        for name in ("image_id", "patient_id", "logit", "state")
    )
    rows = cache.rows(image_id.astype(str).tolist())
    readable = np.flatnonzero(rows >= 0)
    drawn = np.sort(np.random.default_rng(0).permutation(readable)[:_IMAGES])
    if not len(drawn):
        return None
    predictions = ScoredSplit(
        internal, "internal", splits[0].reference, image_id[drawn], patient_id[drawn], logit[drawn], state[drawn]
    )
    return _Sample(stored, cache, rows[drawn], predictions)


def _weights(store: Store, sample: _Sample) -> list[Check]:
    """Return [symptom] if the stored predictions were not made with the stored weights, else []."""
    run_id = sample.stored.run.id
    path = store.run_dir(run_id) / "predictions" / f"{sample.predictions.dataset}.parquet"
    recorded = table_facts(path).get("weights", "")
    stored = weights_sha256(sample.stored.network)
    if not recorded or recorded == stored:
        return []
    causes = (
        "the predictions come from another checkpoint: `bench run` of its grid predicts again with the stored weights",
        f"the stored weights are wrong: `bench remove {run_id}`, then train the run again",
    )
    observation = f"predictions were made with weights {recorded[:12]}, model.safetensors has {stored[:12]}"
    return [symptom(f"run {run_id}", "checkpoint not loaded", "fault", observation, causes)]


def _scales(stored: StoredRun) -> Mapping[str, Callable[[Tensor], Tensor]]:
    """Return the image scales to try as {description: function from stored gray values to the network's input}.

    The first scale is the run's own preprocessing. The other scales are often used by mistake.
    """
    network, normalizer = stored.network, stored.normalizer
    channels = stored.run.config.channels
    imagenet = Normalizer(["imagenet"], network.mean, network.std, channels, normalizer.input, padded=normalizer.padded)

    # without preprocessing steps, the normalizer only crops the center and sets the number of channels
    plain = Normalizer([], network.mean, network.std, channels, normalizer.input)

    def cropped(scale: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        return lambda image_NHW: plain.normalize(scale(image_NHW))

    return {
        "its own preprocessing": normalizer,
        "gray values 0 to 255": cropped(lambda x: unit(x) * 255),
        "gray values 0 to 1, without mean and std": cropped(unit),
        "its own preprocessing times 255": lambda x: normalizer(x) * 255,
        "its own preprocessing divided by 255": lambda x: normalizer(x) / 255,
        "inverted gray values": lambda x: normalizer(255 - x),
        "gray values -1024 to 1024": cropped(lambda x: (2 * unit(x) - 1) * 1024),
        "mean and std of its pretraining": imagenet,
        "each image stretched to 0 to 1 (minmax)": cropped(lambda x: minmax(unit(x))),
        "each image with mean 0 and std 1 (zscore)": cropped(lambda x: zscore(unit(x))),
    }


def _not_reproduced(
    where: str, sample: _Sample, logits: Mapping[str, NDArray[np.float32]], own: str, other_weights: bool
) -> list[Check]:
    """Return [symptom] if the new logits differ from the stored logits of the same images, else [].

    `logits`: description of a scale -> new logits [N, K findings]. `own`: description of the run's own scale. `other_weights`:
    whether the stored predictions were made with other weights, which is a symptom of its own.
    """
    stored_logit = sample.predictions.logit
    spread = float(stored_logit.std()) or 1.0
    difference = {name: float(np.median(np.abs(logit - stored_logit))) / spread for name, logit in logits.items()}
    if difference[own] <= _SAME:
        return []
    nearest = min(difference, key=lambda name: difference[name])
    share = f"median difference {difference[own]:.2f} of the logits' standard deviation"
    observation = f"{len(sample.rows)} images of the internal hospital: {share}"
    if difference[nearest] <= _SAME:
        causes = (
            f"the predictions were made from {nearest}: use the preprocessing in run.json, as `bench run` and `bench predict` do",
            "images are normalized twice or not at all: normalization belongs to the preprocessing entry, not to the network",
        )
        what = "wrong normalization in prediction"
        return [symptom(where, what, "fault", f"{observation}; they equal the output for {nearest}", causes)]
    if other_weights:
        return []
    causes = (
        "the predictions were made with other weights or another preprocessing: delete them, and `bench run` of its grid makes them again",
        "the predictions were joined to other images: align them by image_id",
    )
    return [symptom(where, "predictions do not match the network", "fault", observation, causes)]


def _better_scale(where: str, sample: _Sample, logits: Mapping[str, NDArray[np.float32]], own: str) -> list[Check]:
    """Return [symptom] if another image scale gives a much higher macro AUROC than the run's own scale `own`, else []."""
    aurocs, chance = dict[str, float](), np.empty(0)
    for name, logit in logits.items():
        if not np.isfinite(logit).all():
            continue
        matrix, scored = cross_auroc(sample.predictions.of_run(logit))
        if scored:
            aurocs[name], chance = float(np.diag(matrix).mean()), chances(sample.predictions)[scored]
    if own not in aurocs:
        return []
    best = max(aurocs, key=lambda name: aurocs[name])
    if aurocs[best] - aurocs[own] < max(_BETTER, 4 * np.sqrt((chance**2).sum()) / len(chance)):
        return []
    causes = (
        f"training used {best}: configure that preprocessing (`bench list preprocessing`), or train again with the present one",
        "weights of another project need their own scale: declare it as a preprocessing entry of a registry (CONTRIBUTING.md)",
    )
    observation = (
        f"macro AUROC {aurocs[own]:.3f} with {own}, {aurocs[best]:.3f} with {best} "
        f"({len(sample.rows)} images of the internal hospital)"
    )
    return [symptom(where, "trained on another scale", "fault", observation, causes)]


__all__ = ["repredict_symptoms"]
