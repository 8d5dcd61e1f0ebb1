"""Features of frozen encoders, stored once for each encoder and cohort, and shared by all runs that probe the encoder.

Legend: N images, D features.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from bench.inputs.batches import BatchReader
from bench.inputs.normalize import Normalizer
from bench.models.network import Network
from bench.models.predict import ExactFloat32, images_per_pass
from bench.planning.plan import CohortRef
from bench.planning.run import RunSpec
from bench.store.file_integrity import bytes_sha256
from bench.store.store import Store, canonical_json, short_hash, write_bytes
from harmonize.cache.cache import ImageCache
from harmonize.progress import Progress

FOLDER = "encoders"  # folder of the store
FEATURES_VERSION = 1  # increase this number if a change of the code may change features


@dataclass(frozen=True, slots=True, eq=False)
class EncoderFeatures:
    """The features of all readable images of a cohort."""

    image_id: "pd.Index[str]"  # [N], sorted
    feature_ND: NDArray[np.float32]

    @classmethod
    def stored(
        cls,
        run: RunSpec,
        store: Store,
        ref: CohortRef,
        cache: ImageCache,
        network: Network,
        normalizer: Normalizer,
        device: torch.device,
        progress: Progress,
    ) -> Self:
        """Return the features of a cohort's images: from the store if they are there, otherwise computed and stored.

        The output layer of `network` does not matter. A damaged file is made again. The features of a run with given
        vectors are from its tables.
        """
        readable = cache.index.loc[cache.index["reason"] == "", "image_id"].astype(str)
        image_id = pd.Index(sorted(readable))
        path = store.root / FOLDER / encoder_id(run) / f"{ref.name}-{cache.fingerprint}.safetensors"
        found = _read(path, len(image_id))
        if found is not None:
            return cls(image_id, found)
        if given := run.entries["architecture"].given_features:
            feature_ND = given.of_images(run.entries["architecture"], ref.name, list(image_id))
        else:
            rows = cache.rows(list(image_id))
            feature_ND = compute_features(
                network, normalizer, BatchReader(cache.images, device), rows, progress, ref.name
            )
        _write(path, feature_ND)
        return cls(image_id, feature_ND)

    def of(self, image_id: NDArray[np.object_]) -> NDArray[np.float32]:
        """Return the features of the images with these ids, which must be readable."""
        return self.feature_ND[self.image_id.get_indexer(pd.Index(image_id.astype(str)))]


def encoder_id(run: RunSpec) -> str:
    """Return 12 hex digits that change with everything that may change the features of a run's encoder.

    Not included are labels, head, shots and, with pretrained weights, the seed.
    """
    document = json.loads(run.document)
    parts = {
        "version": FEATURES_VERSION,
        "entries": {key: document["entries"][key] for key in ("architecture", "weights", "preprocessing")},
        "weights": document["weights"],
        "channels": run.config.channels,
        "threads": run.config.threads,
        "seed": run.config.seed if document["weights"] == "none" else None,
        "internal": [document["internal"], document["config"].get("split")] if run.histogram_op else None,
    }
    return short_hash(canonical_json(parts))


@torch.inference_mode()
def compute_features(
    network: Network,
    normalizer: Normalizer,
    reader: BatchReader,
    rows: NDArray[np.int64],
    progress: Progress,
    cohort: str,
) -> NDArray[np.float32]:
    """Return the features [N, D] that a network computes for the cached images at `rows`."""
    network.eval()
    size = images_per_pass(256 if reader.device.type == "cuda" else 64, reader.images.shape[-1])
    batches = [slice(start, min(start + size, len(rows))) for start in range(0, len(rows), size)]
    features = []
    with ExactFloat32(), reader.prefetch(rows[batch] for batch in batches):
        for batch in batches:
            x_NCHW = normalizer(reader(rows[batch])).contiguous(memory_format=torch.channels_last)
            features.append(network.embed(x_NCHW).float().cpu().numpy())
            progress(f"features of {cohort}", batch.stop, len(rows))
    return np.concatenate(features)


def _write(path: Path, feature_ND: NDArray[np.float32]) -> None:
    from safetensors.numpy import save

    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, save({"feature": feature_ND}, {"sha256": bytes_sha256(feature_ND.tobytes())}))


def _read(path: Path, num_images: int) -> NDArray[np.float32] | None:
    """Return the features of a file; None if the file is missing or damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            feature_ND: NDArray[np.float32] = file.get_tensor("feature")
            stated = (file.metadata() or {}).get("sha256")
    except (OSError, SafetensorError):
        return None
    intact = len(feature_ND) == num_images and bytes_sha256(feature_ND.tobytes()) == stated
    return feature_ND if intact else None
