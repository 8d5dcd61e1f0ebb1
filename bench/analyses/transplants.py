"""The analysis `transplants` (region transplant test): predictions after pixels are moved between cohorts.

Every changed image has a control, changed in the same way with pixels of its own cohort. The difference removes the
effect of pasting itself. The kinds are in `transplant.py`, the numbers in `effects.py`; `docs/transplants.md` explains
what they can show.

Legend: N images, K findings, S side in pixels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.analyses.marker_masks import marks
from bench.analyses.shortcuts import effects as measured
from bench.analyses.shortcuts import transplant
from bench.analyses.shortcuts.effects import Answers, Effects
from bench.analyses.shortcuts.transplant import Gray, Mask
from bench.inputs.batches import BatchReader
from bench.inputs.examples import Examples
from bench.models.network import Network
from bench.models.predict import predict
from bench.planning.image_caches import open_images
from bench.planning.jobs import AnalysisJob
from bench.planning.plan import CohortRef
from bench.runs.networks import normalization_of, trained_network
from bench.store.store import Progress, read_table, write_table
from harmonize.labels.findings import ABSENT, NOT_MENTIONED
from harmonize.seeds import stream
from reports.schemas.tables import SCHEMAS

EXTERNAL = "external"
NUM_RESAMPLES = 1000
RULE = "f1_max"  # the operating point of positive calls
Change = Callable[[Gray, Gray, bool], Gray]  # host, donor, whether letterboxed -> changed host
WHOLE: dict[str, Change] = {  # kinds that work for any pair of images
    "border": lambda host, donor, padded: transplant.pasted(host, donor, transplant.ring(len(host)), padded),
    "corner": lambda host, donor, padded: transplant.pasted(host, donor, transplant.corners(len(host)), padded),
    "intensity": transplant.intensity_matched,
    "resolution": transplant.resolution_matched,
}


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Some images of one cohort, one per patient, with the logits of the frozen network."""

    name: str
    image: NDArray[np.uint8]  # [N, S, S]
    state: NDArray[np.int8]  # [N, K]
    patient: NDArray[np.str_]  # [N]
    marker: tuple[Mask, ...]  # [N], all False without a marker
    lungs: tuple[Mask | None, ...]  # [N], None if not detected
    logit: NDArray[np.float32]  # [N, K]
    padded: bool = False  # letterboxed: gray value 0 is padding

    @property
    def marked(self) -> NDArray[np.bool_]:
        """Return which images carry a marker."""
        return np.array([bool(mask.any()) for mask in self.marker], bool)


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """The frozen network of a run, with its findings and thresholds."""

    look: Callable[[NDArray[np.uint8]], NDArray[np.float32]]  # images [N, S, S] -> logits [N, K]
    findings: tuple[str, ...]
    threshold: NDArray[np.float64]  # [K], on the logit; NaN if undefined
    taught: NDArray[np.intp]  # indices of the findings that the run has learned

    def effects(self, sample: Sample, kind: str, donor: str, places: NDArray[np.intp],
                after: Sequence[Gray], control: Sequence[Gray] | None) -> Effects:  # fmt: skip
        """Return the effects of changed images; `places` [n] are their rows in the sample, `control` may be None."""
        if len(places) < measured.MIN_IMAGES:
            return {}
        seen = [self.look(np.stack(list(images))) if images is not None else None for images in (after, control)]
        k = self.taught
        answers = Answers(
            kind, donor, sample.name, sample.logit[np.ix_(places, k)], seen[0][:, k],  # type: ignore[index]
            None if seen[1] is None else seen[1][:, k], sample.state[np.ix_(places, k)], sample.patient[places],
        )  # fmt: skip
        return measured.effects(answers, [self.findings[i] for i in k], self.threshold[k], NUM_RESAMPLES)


def transplants(job: AnalysisJob, folder: Path, progress: Progress) -> None:
    """Write the table `transplants` of a run into the folder.

    It takes one forward pass for each image, kind, donor cohort and host cohort, with at most `images` images per cohort.
    The result is deterministic.
    """
    asked, samples = prepared(job, progress)
    internal, *external = samples
    pairs = [(internal, host) for host in external] + [(donor, internal) for donor in external]
    if job.analysis.options.all_pairs:
        pairs += [(donor, host) for donor in external for host in external if donor is not host]
    found: dict[tuple[str, str, str], Effects] = {}
    for i, sample in enumerate(samples):
        progress("change images", i, len(samples))
        donors = [donor for donor, host in pairs if host is sample]
        for (kind, donor), numbers in (alone(asked, sample, internal) | between(asked, sample, donors)).items():
            found[kind, donor, sample.name] = numbers
    progress("change images", len(samples), len(samples))
    table = measured.rows(with_means(found, internal.name))
    table.insert(0, "run_id", job.run.id)
    write_table(folder / "transplants.parquet", table[list(SCHEMAS["transplants"])])


def prepared(job: AnalysisJob, progress: Progress) -> tuple[Asked, list[Sample]]:
    """Return the frozen network of a run and a sample of each cohort, the internal cohort first."""
    run, device = job.run, torch.device(job.device)
    if device.type == "cpu":
        torch.set_num_threads(run.config.threads)
    run_folder = job.store.run_dir(run.id)
    network = trained_network(run, job.store, device)
    normalizer = normalization_of(run, job.store, job.refs[0], network)
    points = read_table(job.store.root / "scores" / run.id / "operating_points.parquet")
    unlearnt = job.store.read_json(str(run_folder.relative_to(job.store.root)), "trained.json").get("unlearnt", [])
    findings = run.config.findings
    taught = np.array([k for k, finding in enumerate(findings) if finding not in unlearnt], np.intp)
    asked = Asked(look_with(network, normalizer, device), findings, _thresholds(points, findings), taught)
    samples = []
    for i, ref in enumerate(job.refs):
        progress("choose images", i, len(job.refs))
        samples.append(_sample(job, ref, asked))
    return asked, samples


def look_with(
    network: Network, normalizer: Callable[[Tensor], Tensor], device: torch.device
) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """Return the function from images [N, S, S] to logits [N, K] that the run predicts."""

    def look(image_NSS: NDArray[np.uint8]) -> NDArray[np.float32]:
        rows = np.arange(len(image_NSS), dtype=np.int64)
        return predict(network, normalizer, BatchReader(np.ascontiguousarray(image_NSS), device), rows, device)[0]

    return look


def between(asked: Asked, host: Sample, donors: Sequence[Sample]) -> dict[tuple[str, str], Effects]:
    """Return the effects of each kind of transplant into a cohort, by (kind, donor cohort)."""
    everyone = np.arange(len(host.image))
    own = _others(host, everyone, everyone)
    found: dict[tuple[str, str], Effects] = {}
    for kind, change in WHOLE.items():
        control = [change(host.image[i], host.image[j], host.padded) for i, j in zip(everyone, own, strict=True)]
        for donor in donors:
            given = _drawn(donor, np.arange(len(donor.image)), host, len(everyone))
            after = [change(host.image[i], donor.image[j], host.padded) for i, j in zip(everyone, given, strict=True)]
            found[kind, donor.name] = asked.effects(host, kind, donor.name, everyone, after, control)
    for donor in donors:
        places, after, control = printed(host, donor)
        found["marker", donor.name] = asked.effects(host, "marker", donor.name, places, after, control)
    return found


def printed(host: Sample, donor: Sample) -> tuple[NDArray[np.intp], list[Gray], list[Gray]]:
    """Return rows [n] of the unmarked hosts, these images with a donor's marker, and with a patch without a marker.

    The control patch comes from another unmarked image of the host's cohort. So both images have a pasted patch, and they
    differ in the marker and its cohort.
    """
    clean, marked = np.flatnonzero(~host.marked), np.flatnonzero(donor.marked)
    if not len(clean) or not len(marked):
        return clean[:0], [], []
    given, own = _drawn(donor, marked, host, len(clean)), _others(host, clean, clean)
    masks = [transplant.boxed(donor.marker[j]) for j in given]

    def patched(source: Sample, chosen: NDArray[np.intp]) -> list[Gray]:
        return [
            transplant.pasted(host.image[i], source.image[j], mask, host.padded)
            for i, j, mask in zip(clean, chosen, masks, strict=True)
        ]

    return clean, patched(donor, given), patched(host, own)


def alone(asked: Asked, sample: Sample, internal: Sample) -> dict[tuple[str, str], Effects]:
    """Return the effects of kinds without a donor cohort: marker erased, marker toggled, lungs only, lungs masked."""
    everyone, marked = np.arange(len(sample.image)), np.flatnonzero(sample.marked)
    found: dict[tuple[str, str], Effects] = {}
    pairs = list(zip(sample.image, sample.marker, strict=True))
    erased = [transplant.erased(image, mask, sample.padded) for image, mask in pairs]
    elsewhere = [transplant.erased(image, transplant.mirrored(mask) & ~mask, sample.padded) for image, mask in pairs]
    if len(marked) >= measured.MIN_IMAGES:
        found["erased", ""] = asked.effects(sample, "erased", "", everyone, erased, elsewhere)
        clean, after, control = printed(sample, internal)
        places = np.concatenate([marked, clean])
        toggled = [*(erased[i] for i in marked), *after]
        found["toggled", ""] = asked.effects(
            sample, "toggled", "", places, toggled, [*(elsewhere[i] for i in marked), *control]
        )
    fields = {i: field for i, field in enumerate(sample.lungs) if field is not None}
    seen = np.array(list(fields), np.intp)
    for kind, inside in (("lungs_masked", True), ("lungs_only", False)):
        changed = [transplant.flattened(sample.image[i], fields[i] == inside, sample.padded) for i in seen]
        found[kind, ""] = asked.effects(sample, kind, "", seen, changed, None)
    return found


def with_means(found: dict[tuple[str, str, str], Effects], internal: str) -> dict[tuple[str, str, str], Effects]:
    """Return the effects with their means over external hospitals (host or donor "external") and the causal score.

    The causal score is the mean over the kinds marker, corner and border of the effect of internal pixels on external
    images.
    """
    kinds = dict.fromkeys(kind for kind, _, _ in found)
    means: dict[tuple[str, str, str], Effects] = {}
    for kind in kinds:
        there = [
            e for (k, donor, host), e in found.items() if k == kind and host != internal and donor in ("", internal)
        ]
        back = [e for (k, donor, host), e in found.items() if k == kind and host == internal and donor]
        donor = internal if any(d for k, d, _ in found if k == kind) else ""
        means[kind, donor, EXTERNAL] = measured.pooled(there)
        if back:
            means[kind, EXTERNAL, internal] = measured.pooled(back)
    scored = [means[kind, internal, EXTERNAL] for kind in measured.SCORED if means.get((kind, internal, EXTERNAL))]
    return found | means | {(measured.CAUSAL, internal, EXTERNAL): measured.pooled(scored)}


def _sample(job: AnalysisJob, ref: CohortRef, asked: Asked) -> Sample:
    """Return at most `images` images of a cohort, one per patient, with the present findings as balanced as possible."""
    cache = open_images(job.store, ref, job.run.geometry)
    chosen = Examples.predicted(ref, job.run.config, cache)
    one_each = chosen.feature_indices
    generator = stream(0, "transplants", ref.name)
    places = one_each[balanced(chosen.state_NK[one_each], job.analysis.options.images, generator)]
    image = np.ascontiguousarray(cache.images[chosen.rows[places]])
    ids = [str(i) for i in chosen.image_id[places]]
    found = marks(ref, ids, job.run.geometry)
    logit = asked.look(image) if len(image) else np.empty((0, len(asked.findings)), np.float32)
    state = chosen.state_NK[places]
    state[state == NOT_MENTIONED] = ABSENT  # as in scoring
    return Sample(
        ref.name,
        image,
        state,
        chosen.patient_id[places].astype(str),
        tuple(m.marker for m in found),
        tuple(m.lungs for m in found),
        logit,
        job.run.padded,
    )


def balanced(state_NK: NDArray[np.int8], most: int, generator: np.random.Generator) -> NDArray[np.intp]:
    """Return the rows of at most `most` images: up to half with a finding present, findings in turn, the rest at random."""
    order = generator.permutation(len(state_NK))
    quota = max(1, most // (2 * max(1, state_NK.shape[1])))
    taken: dict[int, None] = {}
    for k in range(state_NK.shape[1]):
        present = [int(i) for i in order if state_NK[i, k] == 1 and int(i) not in taken]
        taken |= dict.fromkeys(present[:quota])
    taken |= dict.fromkeys(int(i) for i in order)
    return np.sort(np.array(list(taken)[:most], np.intp))


def _drawn(donor: Sample, among: NDArray[np.intp], host: Sample, num: int) -> NDArray[np.intp]:
    """Return `num` rows drawn from `among`, each the same number of times up to one."""
    order = stream(0, "donors", donor.name, host.name).permutation(among)
    return np.resize(order, num)


def _others(sample: Sample, hosts: NDArray[np.intp], among: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return another row of the same cohort for each host: the next one in a random cyclic order."""
    order = stream(0, "own donors", sample.name).permutation(among)
    following = dict(zip(order.tolist(), np.roll(order, -1).tolist(), strict=True))
    return np.array([following[int(i)] for i in hosts], np.intp)


def _thresholds(points: pd.DataFrame, findings: Sequence[str]) -> NDArray[np.float64]:
    """Return the thresholds [K] on the logit, fixed on the validation split; NaN if undefined."""
    stored = points[points["rule"] == RULE].set_index("finding")["threshold"]
    return stored.reindex(list(findings)).to_numpy(np.float64)
