"""Predictions of frozen networks, sealed: the weights are the same before and after, whatever the images.

Several networks may share the pass over a cohort's images; what each gives is what it gives alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from bench.config.auxiliary_heads import own_outputs
from bench.inputs.batches import Feed
from bench.inputs.examples import Examples, examples, probe_rows
from bench.inputs.histogram_reference import reference
from bench.inputs.normalize import Tone
from bench.models.network import Network, build
from bench.models.predict import Asked, predict_each, weights_sha256
from bench.planning.image_caches import geometry_of, open_images
from bench.planning.jobs import Job
from bench.planning.plan import CohortRef
from bench.planning.protocol import headline_rows, predicted_rows, split_of
from bench.planning.run import Run
from bench.store.checksums import drop_checksums
from bench.store.file_integrity import is_intact
from bench.store.store import Progress, Store, canonical_json, replacing, table_facts, write_bytes, write_table
from bench.training.data_parallel import ALONE, Team
from bench.training.fit import TrainingError
from harmonize.cache.cache import ImageCache
from harmonize.seeds import seed_for


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """A frozen network of a run, with its folder, its tone and the hash of its weights."""

    run: Run
    folder: Path
    network: Network
    tone: Tone
    weights: str

    @classmethod
    def of(cls, job: Job, folder: Path, network: Network) -> Self:
        """Return it as it is before the first image."""
        return cls(job.run, folder, network, tone_of(job, folder, network), weights_sha256(network))

    def lacks(self, ref: CohortRef, cache: ImageCache) -> bool:
        """Whether predictions or features on these images are missing, or are of other weights."""
        stored = table_facts(self.folder / "predictions" / f"{ref.name}.parquet")
        there = is_intact(self.folder / "features" / f"{ref.name}.npz")
        return not there or [stored.get("fingerprint"), stored.get("weights")] != [cache.fingerprint, self.weights]

    def write(self, store: Store, ref: CohortRef, cache: ImageCache, chosen: Examples, sample: NDArray[np.int64],
              logit_NK: NDArray[np.float32], features: NDArray[np.float16]) -> None:  # fmt: skip
        """Write what it says of a cohort. Raises TrainingError for what is no number, and when its weights have changed.

        A run that was finished is not from here on, and its record of checksums lacks what is written anew.
        """
        if not np.isfinite(logit_NK).all():
            raise TrainingError(f"{int((~np.isfinite(logit_NK)).sum())} logits on {ref.name} are not finite numbers")
        if weights_sha256(self.network) != self.weights:
            raise TrainingError(f"zero-shot seal broken: the weights changed while predicting {ref.name}")
        config, kept, logits = self.run.config, f"features/{ref.name}.npz", f"predictions/{ref.name}.parquet"
        store.reopen(self.run.id)
        drop_checksums(self.folder, [kept, logits])
        write_features(self.folder / kept, chosen, sample, features)
        frame = pd.DataFrame(logit_NK, columns=[*config.findings, *(head.column for head in own_outputs(config))])
        frame.insert(0, "image_id", chosen.image_id.astype(str))
        facts = {"fingerprint": cache.fingerprint, "weights": self.weights, "cohort": ref.id}
        write_table(self.folder / logits, frame, facts)

    def seal(self) -> None:
        """Note the weights before the first image and now."""
        found = {"weights_before": self.weights, "weights_after": weights_sha256(self.network)}
        write_bytes(self.folder / "seal.json", canonical_json(found))


def frozen(job: Job, folder: Path, device: torch.device) -> Network:
    """Return the run's trained network as it is stored: what predicts does not depend on who trained it, and when."""
    from safetensors.torch import load_file

    network = start(job, None)
    network.load_state_dict(load_file(folder / "model.safetensors"))
    return network.to(device).to(memory_format=torch.channels_last)


def start(job: Job, weights: Path | Literal["hub"] | None) -> Network:
    """Return the network that a run trains, as it is before: random, or with the weights of a file or of timm's hub."""
    config, architecture = job.run.config, job.run.entries["architecture"]
    num_findings, states, seed = len(config.findings), job.run.states, seed_for(config.seed, "weights")
    num_outputs = num_findings * states + len(own_outputs(config))
    channels, options = config.channels, architecture.options
    return build(architecture.use, options, num_outputs, channels, weights, seed, num_findings, states)


def tone_of(job: Job, folder: Path, network: Network) -> Tone:
    """Return the second half of a run's preprocessing, with what it has learnt at the internal hospital."""
    learnt = reference(job.run, job.store, job.refs[0], folder)
    return Tone.of(job.run.preprocessing, network.mean, network.std, job.run.config.channels, learnt)


def evaluated(ref: CohortRef, run: Run, cache: ImageCache) -> Examples:
    """Return what is predicted of a cohort: every readable external image, all but the training split at the internal hospital."""
    table = pd.read_parquet(ref.table)
    return examples(table[predicted_rows(ref, split_of(ref, table, run.config))], cache, run.config)


def judged(ref: CohortRef, run: Run, chosen: Examples) -> NDArray[np.int64]:
    """Return the places of the images that stand for a cohort: the test split at the internal hospital, the headline external images."""
    table = pd.read_parquet(ref.table, columns=["image_id", "patient_id", "split"])
    kept = table["image_id"][headline_rows(ref, split_of(ref, table, run.config))]
    return np.flatnonzero(np.isin(chosen.image_id.astype(str), kept.to_numpy(str)))


def probe_sample(ref: CohortRef, run: Run, chosen: Examples) -> NDArray[np.int64]:
    """Return the places of the images whose features are kept: one per patient of those that stand for the cohort."""
    inside = judged(ref, run, chosen)
    return inside[probe_rows(chosen.patient_id[inside])]


def write_features(path: Path, chosen: Examples, sample: NDArray[np.int64], features: NDArray[np.float16]) -> None:
    """Write the features of a sample of the images, with the patients that they are of."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, patient_id=chosen.patient_id[sample].astype("U"), feature=features)


def predict_all(members: Sequence[Member], store: Store, refs: Sequence[CohortRef], device: torch.device,
                progress: Progress, team: Team = ALONE) -> dict[str, TrainingError]:  # fmt: skip
    """Write what is missing of the predictions of some runs of one plan and geometry, one file per cohort; seal each.

    The images of a cohort are read once for all of them; the members of a team share them, and its first writes. Returns,
    by run, what cannot be stored: weights that changed, logits that are no numbers. Such a run is not sealed.
    """
    failed: dict[str, TrainingError] = {}
    for ref in refs:
        cache = open_images(store, ref, geometry_of(members[0].run))
        lacking = [each for each in members if each.run.id not in failed and each.lacks(ref, cache)]
        if not lacking:
            continue
        chosen = evaluated(ref, members[0].run, cache)
        sample = probe_sample(ref, members[0].run, chosen)
        mine, what = team.share(len(chosen)), f"predict {ref.name}"
        kept = sample[(sample >= mine.start) & (sample < mine.stop)] - mine.start
        asked = [Asked(each.network, each.tone, kept, further=True) for each in lacking]
        found = predict_each(asked, Feed(cache.images, device), chosen.rows[mine], device, "fp32", progress, what)
        for each, both in zip(lacking, found, strict=True):
            logit_NK, features = team.gather(both[0]), team.gather(both[1])
            if not team.first:
                continue
            try:
                each.write(store, ref, cache, chosen, sample, logit_NK, features)
            except TrainingError as error:
                failed[each.run.id] = error
    for each in members if team.first else ():
        if each.run.id not in failed:
            each.seal()
    return failed
