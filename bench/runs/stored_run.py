"""A finished run in memory, ready to predict: one trained network, or a combination of other runs.

    stored = load(Store.open(Path("runs"), create=False), "3fa9")
    logit_NK = logits(stored, images)

A combination (TTA, ensemble or panel) has no network of its own. Its logits are computed from the logits of its sources in the
same way as `bench.runs.make_derived` computes them from stored logits, so both give the same logits.
`bench.runs.model_folder` loads a `StoredRun` from a folder that `bench upload` wrote.

Legend: N images, K findings.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError

from bench.config.tta_and_ensembles import View
from bench.inputs.batches import BatchReader
from bench.inputs.histogram_reference import stored_reference
from bench.inputs.histograms import Reference
from bench.inputs.normalize import Normalizer
from bench.models.network import Network
from bench.models.predict import predict
from bench.planning.derived_runs import logit_of_mean
from bench.planning.manifest import planned, trained_on_synthetic
from bench.planning.run import RunSpec, read_run
from bench.planning.stored_names import find_run
from bench.runs.elsewhere import elsewhere, elsewhere_table
from bench.runs.internal_images import NO_FEATURES, fitted_distances, usual_gray_values
from bench.runs.make_derived import view_transform
from bench.runs.networks import trained_network
from bench.scoring.image_distances import ImageDistances
from bench.store.checked_folders import CheckedFolder, ScoresFolder
from bench.store.store import Store, canonical_json, short_hash
from harmonize.errors import StoreError
from harmonize.images.pixels import Geometry
from harmonize.progress import Progress

COMBINED = ("tta", "ensemble", "panel")  # kinds of runs that combine other runs
# threshold rule of a run without a grid, and of analyses, which all grids of a run share
STANDARD_RULE = "f1_max"
POINTS = ("finding", "rule", "threshold", "probability", "platt_a", "platt_b")

# A function of an image geometry (size and crop) that returns the reader of the images and the rows to predict. The rows are
# those of the same images for every geometry.
Images = Callable[[Geometry], tuple[BatchReader, NDArray[np.int64]]]


@dataclass(frozen=True, eq=False)
class StoredRun:
    """A finished run, ready to predict.

    A trained run has `trained` and no sources. A combination has sources and no network. The source of a TTA is one run. The
    sources of an ensemble are runs or TTAs. The sources of a panel are runs with one finding each.
    """

    id: str
    findings: tuple[str, ...]
    device: torch.device
    unlearnt: tuple[str, ...]  # findings present (or absent) in all training images; the run does not predict them
    # columns: finding, rule, threshold (a logit), probability, platt_a, platt_b; empty without scores
    points: pd.DataFrame
    trained: "TrainedNetwork | None" = None
    kind: str = ""  # one of COMBINED, "" for a trained run
    name: str = ""  # name of an ensemble
    views: tuple[View, ...] = ()  # views of a TTA
    sources: tuple["StoredRun", ...] = ()
    # name of a value in `gray_values` -> its lowest and highest value among internal images
    usual: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    synthetic: bool = False  # whether the training images are synthetic
    # distances of images to internal images, or the reason why they are not available; of trained runs only
    fitted: ImageDistances | str = NO_FEATURES
    threshold: str = STANDARD_RULE  # threshold rule of the grid
    # columns ELSEWHERE: the verdict on each finding; no rows if nothing is known
    elsewhere: pd.DataFrame = field(default_factory=elsewhere_table)

    @property
    def measuring(self) -> "StoredRun | None":
        """Return the trained run whose features measure distances: the first network with stored features."""
        return next((network for network in self.networks if isinstance(network.fitted, ImageDistances)), None)

    @property
    def networks(self) -> tuple["StoredRun", ...]:
        """Return the trained runs whose networks predict: this run, or the runs of its sources."""
        if self.trained is not None:
            return (self,)
        return tuple(network for source in self.sources for network in source.networks)

    @property
    def first(self) -> "TrainedNetwork":
        """Return the network of a trained run; of a combination, its first network."""
        trained = self.networks[0].trained
        assert trained is not None
        return trained

    @property
    def run(self) -> RunSpec:
        """Return the trained run; of a combination, its first trained run."""
        return self.first.run

    @property
    def network(self) -> Network:
        """Return the network of a trained run; of a combination, its first network."""
        return self.first.network

    @property
    def normalizer(self) -> Normalizer:
        """Return the intensity normalization of `network`."""
        return self.first.normalizer

    @property
    def geometry(self) -> Geometry:
        """Return the image geometry of `network`."""
        return self.run.geometry

    @property
    def learned(self) -> list[str]:
        """Return the findings that the run predicts."""
        return [finding for finding in self.findings if finding not in self.unlearnt]

    def passes(self, view: View | None = None) -> list[tuple["StoredRun", View | None]]:
        """Return the predictions that a combination combines, as pairs: a source run, and the view of the images that this run gets.

        `view`: the view that the sources of an ensemble or a panel get. The source of a TTA gets the views of the TTA.
        """
        if self.kind == "tta":
            return [(self.sources[0], own_view) for own_view in self.views]
        return [(source, view) for source in self.sources]

    @property
    def title(self) -> str:
        """Return a name for captions: architecture and run id, or what is combined and its id."""
        architectures = list(dict.fromkeys(network.run.config.architecture for network in self.networks))
        named = ", ".join(architectures) if len(architectures) < 3 else f"{len(architectures)} architectures"
        number = len(self.networks)
        what = {
            "": named,
            "tta": f"TTA of {named} ({len(self.views)} views)",
            "ensemble": f"{self.name or 'ensemble'} (mean of {number} run{'s' if number > 1 else ''} of {named})",
            "panel": f"panel of {number} networks of {named}",
        }
        return f"{what[self.kind]}, run {self.id}"


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """The network of a trained run, with its intensity normalization."""

    run: RunSpec
    network: Network
    normalizer: Normalizer

    @classmethod
    def of(cls, run: RunSpec, network: Network, reference: Reference) -> "TrainedNetwork":
        """Return a network with its normalization. `reference` is the histogram reference of the run, {} without one."""
        return cls(
            run, network, Normalizer.of(run.preprocessing, network.mean, network.std, run.config.channels, reference)
        )


def load(store: Store, prefix: str, device: str = "cpu", grid: str | None = None) -> StoredRun:
    """Return the run of the store whose id begins with `prefix`. TTA, ensembles and panels are loaded with their networks.

    `grid`: the grid whose findings, thresholds and scores the run gets; None for a grid that has the run. Raises StoreError when
    the run is missing, unfinished or an imported model, or one of its files is damaged, and if `grid` does not have the run.
    """
    stored = _load(store, find_run(store, prefix), device)
    try:
        manifest, _ = planned(store, stored.id, grid)
    except StoreError:
        if grid:
            raise
        return stored  # a run that was copied without its grid
    return replace(
        stored,
        unlearnt=(*stored.unlearnt, *manifest.uncounted(stored.learned)),
        points=_points(manifest.scores, stored.id),
        threshold=manifest.settings.threshold,
        elsewhere=elsewhere(manifest, stored.id),
    )


def _load(store: Store, run_id: str, device: str) -> StoredRun:
    """Return the run with an id, without what is known of it at other hospitals."""
    folder = store.run_dir(run_id)
    content = store.read_json(str((folder / "run.json").relative_to(store.root)))
    if content.get("kind") in COMBINED:
        return _load_combination(store, run_id, content, device)
    run = read_run(store, run_id)
    _refuse_unfinished(store, run_id)
    # This check comes before the network is built: building imports the code that run.json names, and a run.json from
    # elsewhere may name any code.
    if not (folder / "model.safetensors").is_file():
        fix = "predict in the store in which it was trained, or with a folder of `bench upload --folder`"
        raise StoreError(f"run {run_id} cannot be loaded: its weights are missing", str(folder), fix)
    on = torch.device(device)
    try:
        network = trained_network(run, store, on)
        trained = CheckedFolder(folder).json("trained.json")
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        fix = "train it again: delete this folder and run its grid"
        raise StoreError(f"run {run_id} cannot be loaded: {error}", str(folder), fix) from error
    return StoredRun(
        run_id,
        tuple(run.config.findings),
        on,
        tuple(trained.get("unlearnt", ())),
        _points(store.root / "scores", run_id),
        TrainedNetwork.of(run, network, stored_reference(run, folder)),
        usual=usual_gray_values(store, run),
        synthetic=trained_on_synthetic(store, run_id),
        fitted=fitted_distances(CheckedFolder(folder), run.config.train_on),
    )


def _load_combination(store: Store, run_id: str, content: Mapping[str, Any], device: str) -> StoredRun:
    """Return a TTA, an ensemble or a panel of the store, with the runs that it combines."""
    folder = store.run_dir(run_id)
    if short_hash(canonical_json(content)) != run_id:
        raise StoreError("run.json does not match the run id", str(folder / "run.json"), "run the grid again")
    _refuse_unfinished(store, run_id)
    trained = CheckedFolder(folder).json("trained.json")
    ids = trained["chosen"].values() if "chosen" in trained else content["sources"]
    sources = [_load(store, find_run(store, source), device) for source in ids]
    points = _points(store.root / "scores", run_id)
    return combination(run_id, content, sources, trained.get("unlearnt", ()), points, _ensemble_name(store, run_id))


def combination(
    run_id: str,
    content: Mapping[str, Any],
    sources: list[StoredRun],
    unlearnt: tuple[str, ...] | list[str],
    points: pd.DataFrame,
    name: str,
) -> StoredRun:
    """Return the TTA, ensemble or panel that a run.json describes.

    `content`: the content of run.json. `points`: thresholds and calibrators. `name`: the name of an ensemble, else "".
    Raises StoreError when the runs of an ensemble predict different findings.
    """
    first = sources[0]
    findings = first.run.config.of_panel.findings if content["kind"] == "panel" else first.findings
    if content["kind"] == "ensemble" and any(source.findings != findings for source in sources):
        fix = "choose runs that learn the same findings"
        raise StoreError("the runs of an ensemble predict different findings", f"run {run_id}", fix)
    return StoredRun(
        run_id,
        tuple(findings),
        first.device,
        tuple(unlearnt),
        points,
        kind=str(content["kind"]),
        name=name,
        views=tuple((bool(mirrored), float(degrees)) for mirrored, degrees in content.get("views", ())),
        sources=tuple(sources),
        synthetic=any(source.synthetic for source in sources),
    )


def logits(
    stored: StoredRun, images: Images, progress: Progress | None = None, what: str = "predict", view: View | None = None
) -> NDArray[np.float32]:
    """Return logit_NK of images. `view` transforms the images before the network (see `view_transform`).

    The logits of a TTA or an ensemble are computed from the mean probability over its views or runs. A panel has 0 for
    a finding without a network.
    """
    if stored.trained is not None:
        trained = stored.trained
        normalizer = trained.normalizer if view is None else partial(trained.normalizer, augment=view_transform(view))
        reader, rows = images(trained.run.geometry)
        precision = trained.run.config.prediction_precision
        return predict(trained.network, normalizer, reader, rows, stored.device, precision, None, progress, what)[0]
    passes = stored.passes(view)
    parts = [logits(source, images, progress, f"{what} ({i} of {len(passes)})", own_view)
             for i, (source, own_view) in enumerate(passes, 1)]  # fmt: skip
    if stored.kind != "panel":
        return logit_of_mean(np.stack(parts))
    columns = {source.run.config.finding: part[:, 0] for source, part in zip(stored.sources, parts, strict=True)}
    blank = np.zeros(len(parts[0]), np.float32)
    return np.stack([columns.get(finding, blank) for finding in stored.findings], axis=1)


def logits_and_features(stored: StoredRun, images: Images) -> tuple[NDArray[np.float32], NDArray[np.float16] | None]:
    """Return logit_NK of images, and their features [N, D] in the network that measures distances (None without it).

    For a trained run, one pass gives both. For a combination, the features need one more pass of one network.
    """
    network = stored.measuring
    if network is None:
        return logits(stored, images), None
    own = network.first
    reader, rows = images(own.run.geometry)
    everyone, precision = np.arange(len(rows)), own.run.config.prediction_precision
    logit_NK, feature_ND = predict(own.network, own.normalizer, reader, rows, network.device, precision, everyone)
    return (logit_NK if network is stored else logits(stored, images)), feature_ND


def no_points() -> pd.DataFrame:
    """Return the thresholds and calibrators of a run without scores: a table without rows."""
    return pd.DataFrame(columns=list(POINTS))


def _refuse_unfinished(store: Store, run_id: str) -> None:
    if store.state(run_id) != "done":
        raise StoreError(f"run {run_id} is not finished", str(store.run_dir(run_id)), "finish it with `bench run`")


def _points(scores: Path, run_id: str) -> pd.DataFrame:
    """Return the thresholds and calibrators of a run from a folder of scores; no rows without scores."""
    folder = ScoresFolder(scores / run_id)
    return folder.table("operating_points") if folder.key() else no_points()


def _ensemble_name(store: Store, run_id: str) -> str:
    """Return the name of an ensemble in the grids of the store, "" if no readable grid has it."""
    try:
        run = planned(store, run_id, None)[1]
    except StoreError:
        return ""
    return run.name if run.kind == "ensemble" else ""
