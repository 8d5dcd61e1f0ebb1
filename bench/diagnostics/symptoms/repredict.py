"""A run's network shown its internal images again: are its predictions its own, and is it shown what it has learnt on.

What the store alone cannot tell: the network of another checkpoint, another number of channels, and images in another scale
than training had (0 to 255, without normalisation, inverted, of another preprocessing). Nothing is written.

Legend: N images, K findings, S side in pixels, C channels.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from bench.diagnostics.symptoms.failures import of_failure, symptom
from bench.diagnostics.symptoms.predictions_and_labels import areas, internal_parts
from bench.inputs.batches import BatchReader
from bench.inputs.normalize import Normalizer, minmax, unit, zscore
from bench.models.predict import predict, weights_sha256
from bench.planning.manifest import planned
from bench.runs.new_images import StoredRun, load
from bench.scoring.scored_split import ScoredSplit
from bench.store.store import Progress, Store, table_facts
from harmonize.cache.cache import ImageCache, finished_cache
from harmonize.checks.release import Check
from harmonize.errors import StoreError

_IMAGES = 512  # of the internal cohort
_SAME = 0.02  # share of the logits' own spread by which two predictions may differ and be the same
_BETTER = 0.1  # macro AUROC that another scale must add before it is said to be the one of training


@dataclass(frozen=True, eq=False)
class _Look:
    """What is shown: the images' rows in the cache, the part of the predictions that they are, in the same order."""

    stored: StoredRun
    cache: ImageCache
    rows: NDArray[np.int64]
    part: ScoredSplit


def relook(store: Store, run_id: str, device: str = "cpu", progress: Progress | None = None) -> list[Check]:
    """Return the symptoms of a finished run that only its network shows; a note where images or weights are not here."""
    where = f"run {run_id}"
    try:
        stored = load(store, run_id, device)
    except StoreError as error:
        found = list(of_failure(where, error.what))
        return found or [
            Check("", f"{where}: shown its images again", "note", "", f"not done: {error.what}", error.fix)
        ]
    look = _look(store, run_id, stored)
    if look is None:
        fix = "`bench run` of its grid decodes them again"
        return [
            Check(
                "",
                f"{where}: shown its images again",
                "note",
                "",
                "not done: decoded images of the internal hospital are gone",
                fix,
            )
        ]
    found = [*_weights(store, look)]
    scales = _scales(stored)
    logits: dict[str, NDArray[np.float32]] = {}
    for done, (name, normalizer) in enumerate(scales.items()):
        if progress:
            progress("other scales", done, len(scales))
        reader = BatchReader(look.cache.images, stored.device)
        logits[name] = predict(stored.network, normalizer, reader, look.rows, stored.device)[0]
    if progress:
        progress("other scales", len(scales), len(scales))
    own = next(iter(scales))
    return [*found, *_reproduced(where, look, logits, own, bool(found)), *_read_better(where, look, logits, own)]


def _look(store: Store, run_id: str, stored: StoredRun) -> _Look | None:
    """Return what to show: a sample of the internal hospital's predicted images; None where the decoded images are gone."""
    manifest, run = planned(store, run_id, None)
    internal = str(manifest.content["source"])
    facts = table_facts(store.run_dir(run_id) / "predictions" / f"{internal}.parquet")
    cache = finished_cache(store.root / "cache", internal, stored.geometry, facts.get("fingerprint", ""))
    parts = internal_parts(manifest, run, stored.run.config)
    if cache is None or not parts:
        return None
    image_id, patient_id, logit, state = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("image_id", "patient_id", "logit", "state")
    )
    rows = cache.rows(image_id.astype(str).tolist())
    readable = np.flatnonzero(rows >= 0)
    kept = np.sort(np.random.default_rng(0).permutation(readable)[:_IMAGES])
    if not len(kept):
        return None
    part = ScoredSplit(
        internal, "internal", parts[0].reference, image_id[kept], patient_id[kept], logit[kept], state[kept]
    )
    return _Look(stored, cache, rows[kept], part)


def _weights(store: Store, look: _Look) -> list[Check]:
    """Return a symptom when the stored predictions name other weights than those that lie beside them."""
    run_id = look.stored.run.id
    said = table_facts(store.run_dir(run_id) / "predictions" / f"{look.part.dataset}.parquet").get("weights", "")
    here = weights_sha256(look.stored.network)
    if not said or said == here:
        return []
    causes = (
        "the checkpoint was not the one that predicted: `bench run` of its grid predicts again with the weights that are here",
        f"if these are the wrong weights: `bench remove {run_id}`, then train it again",
    )
    seen = f"predictions are of weights {said[:12]}, model.safetensors has {here[:12]}"
    return [symptom(f"run {run_id}", "checkpoint not loaded", "fault", seen, causes)]


def _scales(stored: StoredRun) -> Mapping[str, Callable[[Tensor], Tensor]]:
    """Return, by what it shows, the run's own tone (first) and the scales that networks are shown by mistake."""
    network, normalizer = stored.network, stored.normalizer
    channels = stored.run.config.channels
    imagenet = Normalizer(["imagenet"], network.mean, network.std, channels, normalizer.input, padded=normalizer.padded)

    plain = Normalizer(
        [], network.mean, network.std, channels, normalizer.input
    )  # the centre that it sees, and its channels

    def wide(show: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        return lambda image_NHW: plain.normalize(show(image_NHW))

    return {
        "its own preprocessing": normalizer,
        "gray values 0 to 255": wide(lambda x: unit(x) * 255),
        "gray values 0 to 1, without mean and std": wide(unit),
        "its own preprocessing times 255": lambda x: normalizer(x) * 255,
        "its own preprocessing divided by 255": lambda x: normalizer(x) / 255,
        "inverted gray values": lambda x: normalizer(255 - x),
        "gray values -1024 to 1024": wide(lambda x: (2 * unit(x) - 1) * 1024),
        "mean and std of its pretraining": imagenet,
        "each image stretched to 0 to 1 (minmax)": wide(lambda x: minmax(unit(x))),
        "each image with mean 0 and std 1 (zscore)": wide(lambda x: zscore(unit(x))),
    }


def _reproduced(
    where: str, look: _Look, logits: Mapping[str, NDArray[np.float32]], own: str, other_weights: bool
) -> list[Check]:
    """Return a symptom when the stored predictions are not what the network says of the same images."""
    spread = float(look.part.logit.std()) or 1.0
    apart = {name: float(np.median(np.abs(logit - look.part.logit))) / spread for name, logit in logits.items()}
    if apart[own] <= _SAME:
        return []
    near = min(apart, key=lambda name: apart[name])
    seen = f"{len(look.rows)} images of the internal hospital: median difference {apart[own]:.2f} of the logits' spread"
    if apart[near] <= _SAME:
        causes = (
            f"they were made from {near}: evaluate with the preprocessing of run.json, as `bench run` and `bench predict` do",
            "normalisation is done twice or not at all: it belongs to the preprocessing entry, not into the network",
        )
        what, seen = "wrong normalisation when predicting", f"{seen}; the network gives them when it is shown {near}"
        return [symptom(where, what, "fault", seen, causes)]
    if other_weights:
        return []
    causes = (
        "they were made with other weights or another preprocessing: `bench run` of its grid makes them again once they are deleted",
        "they were joined to other images: align them by image_id",
    )
    return [symptom(where, "predictions are not its own", "fault", seen, causes)]


def _read_better(where: str, look: _Look, logits: Mapping[str, NDArray[np.float32]], own: str) -> list[Check]:
    """Return a symptom when the network reads the images much better in another scale than in the run's own."""
    findings = look.stored.run.config.findings
    found = {
        name: areas(look.part.of_run(logit), findings) for name, logit in logits.items() if np.isfinite(logit).all()
    }
    judged = {name: each for name, each in found.items() if each is not None}
    if own not in judged:
        return []
    best = max(judged, key=lambda name: judged[name].macro)
    gain = judged[best].macro - judged[own].macro
    if gain < max(_BETTER, 4 * judged[own].spread):
        return []
    causes = (
        f"training showed it {best}: give the run that preprocessing (`bench list preprocessing`), or train it again with its own",
        "weights of another project come with their own scale: declare it as a preprocessing entry of a registry (CONTRIBUTING.md)",
    )
    seen = (
        f"macro AUROC {judged[own].macro:.3f} shown {own}, {judged[best].macro:.3f} shown {best} "
        f"({len(look.rows)} images of the internal hospital)"
    )
    return [symptom(where, "trained on another scale", "fault", seen, causes)]


__all__ = ["relook"]
