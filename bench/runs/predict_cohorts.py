"""Predict every cohort with frozen networks, and check with the seal that external images change nothing that was fitted.

The seal has hashes of three parts: the weights, the preprocessing table (reference.json of histstd and histmatch), and the
logits of the internal cohort. Thresholds and calibrators are functions of these logits and of the internal labels, so the
seal also protects thresholds and calibrators.

Legend: N images, K findings, D features, F images whose features are stored.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from bench.inputs.batches import BatchReader
from bench.inputs.examples import Examples
from bench.inputs.normalize import Normalizer
from bench.models.network import Network
from bench.models.predict import predict, weights_sha256
from bench.planning.image_caches import open_images
from bench.planning.plan import CohortRef
from bench.planning.run import RunSpec
from bench.runs.encoder_features import EncoderFeatures
from bench.runs.networks import normalization_of
from bench.store.checked_folders import REFERENCE
from bench.store.features import features_file
from bench.store.file_integrity import file_sha256, is_intact
from bench.store.store import Store, canonical_json, replacing, table_facts, write_bytes, write_table
from bench.training import TrainingError
from bench.training.data_parallel import SINGLE_PROCESS, DataParallelGroup
from bench.training.probe import probe_logits
from harmonize.cache.cache import ImageCache
from harmonize.progress import Progress


@dataclass(frozen=True, slots=True, eq=False)
class FrozenRun:
    """The frozen network of a run, ready to predict."""

    run: RunSpec
    store: Store
    network: Network
    normalization: Normalizer
    weights: str  # SHA-256 of the weights before the first prediction
    preprocessing: str  # SHA-256 of the preprocessing table before the first prediction, "" without such a table

    @classmethod
    def of(cls, run: RunSpec, store: Store, internal: CohortRef, network: Network) -> Self:
        """Return a run with its network, its normalization, and the hashes of weights and preprocessing table."""
        normalization = normalization_of(run, store, internal, network)
        table = _sha256(store.run_dir(run.id) / REFERENCE)
        return cls(run, store, network, normalization, weights_sha256(network), table)

    @property
    def folder(self) -> Path:
        """Return the run's folder."""
        return self.store.run_dir(self.run.id)

    def is_incomplete(self, ref: CohortRef, cache: ImageCache) -> bool:
        """Return whether stored predictions or features are missing, or were made from other images or weights."""
        stored = table_facts(self.folder / "predictions" / f"{ref.name}.parquet")
        if not is_intact(self.folder / features_file(ref.name)):
            return True
        return [stored.get("fingerprint"), stored.get("weights")] != [cache.fingerprint, self.weights]

    def write(
        self,
        ref: CohortRef,
        cache: ImageCache,
        examples: Examples,
        logit_NK: NDArray[np.float32],
        feature_rows: NDArray[np.int64],
        feature_FD: NDArray[np.float16],
    ) -> None:
        """Write the predictions and features of a cohort.

        `feature_rows`: indices, among the N images, of the F images with stored features. Raises TrainingError for logits that
        are not finite, and when the weights have changed.
        """
        if not np.isfinite(logit_NK).all():
            raise TrainingError(f"{int((~np.isfinite(logit_NK)).sum())} logits on {ref.name} are not finite numbers")
        if weights_sha256(self.network) != self.weights:
            raise TrainingError(f"zero-shot seal broken: the weights changed while predicting {ref.name}")
        config = self.run.config
        write_features(self.folder / features_file(ref.name), examples, feature_rows, feature_FD)
        frame = pd.DataFrame(logit_NK, columns=[*config.findings, *(head.column for head in config.own_heads)])
        frame.insert(0, "image_id", examples.image_id.astype(str))
        facts = {"fingerprint": cache.fingerprint, "weights": self.weights, "cohort": ref.id}
        write_table(self.folder / "predictions" / f"{ref.name}.parquet", frame, facts)

    def internal_logits(self, internal: CohortRef) -> str:
        """Return the SHA-256 of the stored predictions of the internal cohort, "" if they are missing."""
        return _sha256(self.folder / "predictions" / f"{internal.name}.parquet")

    def seal(self, internal: CohortRef, internal_before: str) -> None:
        """Write seal.json: the hashes before the first external prediction, and the hashes now.

        `internal_before`: hash of the internal predictions before the first external image. Raises TrainingError if a hash has
        changed.
        """
        before = {"weights": self.weights, "preprocessing": self.preprocessing, "internal_logits": internal_before}
        after = {
            "weights": weights_sha256(self.network),
            "preprocessing": _sha256(self.folder / REFERENCE),
            "internal_logits": self.internal_logits(internal),
        }
        if changed := [name.replace("_", " ") for name in before if before[name] != after[name]]:
            raise TrainingError(
                f"zero-shot seal broken: {', '.join(changed)} changed while external images were predicted"
            )
        hashes = {f"{name}_before": digest for name, digest in before.items()}
        hashes |= {f"{name}_after": digest for name, digest in after.items()}
        write_bytes(self.folder / "seal.json", canonical_json(hashes))


def predict_all(
    frozen: FrozenRun,
    refs: Sequence[CohortRef],
    device: torch.device,
    progress: Progress,
    processes: DataParallelGroup = SINGLE_PROCESS,
) -> None:
    """Write the missing predictions of a run, one file per cohort, and seal the run.

    The processes of a data-parallel group divide the images among them, and only the main process writes files. Raises
    TrainingError if the seal is broken, or if logits are not finite.
    """
    run, internal_before = frozen.run, ""
    for ref in refs:
        if ref is not refs[0] and not internal_before:  # the internal cohort, refs[0], was predicted first
            internal_before = frozen.internal_logits(refs[0])
        cache = open_images(frozen.store, ref, run.geometry)
        if not frozen.is_incomplete(ref, cache):
            continue
        examples = Examples.predicted(ref, run.config, cache)
        rows = examples.feature_indices
        if run.config.is_frozen:
            if processes.is_main:
                _write_probe(frozen, ref, cache, examples, device, progress)
            continue
        share = processes.own_slice(len(examples))
        featured = rows[(rows >= share.start) & (rows < share.stop)] - share.start
        logit_NK, feature_FD = predict(
            frozen.network,
            frozen.normalization,
            BatchReader(cache.images, device),
            examples.rows[share],
            device,
            run.config.prediction_precision,
            featured,
            progress=progress,
            what=f"predict {ref.name}",
            auxiliary=True,
        )
        gathered = processes.all_gather(logit_NK), processes.all_gather(feature_FD)
        if processes.is_main:
            frozen.write(ref, cache, examples, gathered[0], rows, gathered[1])
    if processes.is_main:
        frozen.seal(refs[0], internal_before or frozen.internal_logits(refs[0]))


def _write_probe(
    probe: FrozenRun,
    ref: CohortRef,
    cache: ImageCache,
    examples: Examples,
    device: torch.device,
    progress: Progress,
) -> None:
    """Write the predictions of a probe from the stored features of its encoder."""
    of_cohort = EncoderFeatures.stored(
        probe.run, probe.store, ref, cache, probe.network, probe.normalization, device, progress
    )
    feature_ND, rows = of_cohort.of(examples.image_id), examples.feature_indices
    logit_NK = probe_logits(probe.network, feature_ND)
    probe.write(ref, cache, examples, logit_NK, rows, feature_ND[rows].astype(np.float16))


def _sha256(path: Path) -> str:
    """Return the SHA-256 of a file, "" if it does not exist."""
    return file_sha256(path) if path.is_file() else ""


def write_features(path: Path, examples: Examples, rows: NDArray[np.int64], feature_FD: NDArray[np.float16]) -> None:
    """Write features with patient ids. `rows`: indices, in `examples`, of the F images of `feature_FD`."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, patient_id=examples.patient_id[rows].astype("U"), feature=feature_FD)
