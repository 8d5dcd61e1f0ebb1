"""The analysis `attention`: heat maps on a bounded sample of every cohort, and a gallery of cases.

Legend: N images, K findings, H and W pixels of the network input (h, w of its feature maps).
"""

import contextlib
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from bench.analyses.heatmaps.gradcam import heat_maps, upsampled
from bench.analyses.heatmaps.image_sample import RULE, Point, Seen, cases, points_of, positives
from bench.analyses.heatmaps.localization import energy
from bench.analyses.heatmaps.measure import Row, measure
from bench.analyses.heatmaps.pictures import pair, picture_name, png
from bench.analyses.heatmaps.sanity_table import sanity_table
from bench.analyses.heatmaps.summary import MEASURES, summarise
from bench.inputs.batches import BatchReader
from bench.inputs.examples import Examples
from bench.inputs.normalize import Normalizer
from bench.models.network import Network
from bench.models.predict import images_per_pass
from bench.planning.image_caches import open_images
from bench.planning.jobs import AnalysisJob
from bench.planning.plan import CohortRef
from bench.runs.networks import normalization_of, trained_network
from bench.store.store import Progress, canonical_json, read_table, replacing, short_hash, write_bytes, write_table
from harmonize.cache.cache import ImageCache
from harmonize.ground_truth.ground_truth import OUTSIDE, Scene, Truth, scene, truth_of
from harmonize.images.image_header import UnreadableImage
from harmonize.images.pixels import Geometry, Gray
from harmonize.labels.findings import NO_FINDING
from reports.schemas.tables import SCHEMAS

SCENE_VERSION = 1  # raise it when an image may get other regions
BATCH = 64  # images per pass at 224 px: gradients of all findings are in memory together

Heats = NDArray[np.float32]


def attention(job: AnalysisJob, folder: Path, progress: Progress) -> None:
    """Write the tables `attention`, `gallery` and `cascade` of one run, and the gallery's PNG files below gallery/."""
    device = torch.device(job.device)
    if device.type == "cpu":
        torch.set_num_threads(job.run.config.threads)
    look = Look.of(job, device)
    measured, shown, checked = [], [], []
    for ref in job.refs:
        table, gallery = look.cohort(ref, folder / "gallery", progress)
        measured.append(table)
        shown.append(gallery)
    if job.analysis.options.sanity:
        checked.append(look.sanity_checks(job.refs[0], progress))
    write_table(folder / "cascade.parquet", _stacked(checked, "cascade"))
    write_table(folder / "attention.parquet", _stacked(measured, "attention"))
    write_table(folder / "gallery.parquet", _stacked(shown, "gallery"))


def _stacked(frames: list[pd.DataFrame], name: str) -> pd.DataFrame:
    some = [frame for frame in frames if len(frame)]
    return pd.concat(some, ignore_index=True) if some else pd.DataFrame(columns=list(SCHEMAS[name]))


class Look:
    """A frozen run with its thresholds, ready to compute heat maps."""

    def __init__(self, job: AnalysisJob, network: Network, normalizer: Normalizer, points: Mapping[str, Point]) -> None:
        self.job, self.network, self.normalizer, self.points = job, network, normalizer, points
        self.run, self.options = job.run, job.analysis.options
        self.device = torch.device(job.device)
        self.size = job.run.input_size

    @classmethod
    def of(cls, job: AnalysisJob, device: torch.device) -> "Look":
        """Return the loaded run of a job."""
        network = trained_network(job.run, job.store, device).eval()
        normalization = normalization_of(job.run, job.store, job.refs[0], network)
        stored = read_table(job.store.root / "scores" / job.run.id / "operating_points.parquet")
        return cls(job, network, normalization, points_of(stored, RULE, job.run.config.findings))

    def cohort(self, ref: CohortRef, folder: Path, progress: Progress) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return the rows of `attention` and of `gallery` of one cohort, and write its pictures into the folder."""
        cache = open_images(self.job.store, ref, self.run.geometry)
        table = pd.read_parquet(ref.table)
        seen, rows = self.seen(ref, table, cache)
        truth = truth_of(ref.layout, ref.root, table)
        scenes = self.scenes(ref, truth, cache, table)
        sample = positives(seen, truth.located, self.options.images)
        gallery = cases(seen, self.points, self.options.gallery)
        measured: dict[int, list[str]] = {}
        pictured: dict[int, list[int]] = {}
        for finding, chosen in sample.items():
            for at in chosen.tolist():
                measured.setdefault(at, []).append(finding)
        for i, at in enumerate(gallery["row"].tolist()):
            pictured.setdefault(at, []).append(i)
        measures: list[Row] = []
        cards: dict[int, Card] = {}
        column = {finding: k for k, finding in enumerate(seen.findings)}
        wanted = np.array(sorted({*measured, *pictured}), np.int64)
        for at, shown, heat_KHW in self.maps(wanted, rows, BatchReader(cache.images, self.device), progress, ref.name):
            image_id = str(seen.image_id[at])
            there = scenes(image_id)
            for finding in measured.get(at, ()):
                if there is None:
                    break
                measures += measure(there, heat_KHW[column[finding]], finding, str(seen.patient_id[at]))
            for i in pictured.get(at, ()):
                cards[i] = card(shown, heat_KHW[column[gallery["finding"][i]]], str(gallery["finding"][i]), there)
        for i, each in cards.items():
            finding, kind, rank = (gallery[c][i] for c in ("finding", "kind", "rank"))
            write_bytes(folder / picture_name(ref.name, str(finding), str(kind), int(rank)), each.picture)
        frame = pd.DataFrame(measures, columns=list(MEASURES))
        return summarise(frame, ref.name, self.run.id), self._listed(ref, gallery, cards)

    def sanity_checks(self, internal: CohortRef, progress: Progress) -> pd.DataFrame:
        """Return the rows of `cascade`: of images at the internal hospital with the finding that is commonest there, "No Finding" aside."""
        cache = open_images(self.job.store, internal, self.run.geometry)
        seen, rows = self.seen(internal, pd.read_parquet(internal.table), cache)
        sample = {f: chosen for f, chosen in positives(seen, frozenset(), len(rows)).items() if f != NO_FINDING}
        finding = max(sample, key=lambda name: len(sample[name]), default="")
        chosen = sample.get(finding, np.zeros(0, np.int64))[: self.options.sanity]
        if not len(chosen):
            return pd.DataFrame(columns=list(SCHEMAS["cascade"]))
        progress("check the maps", 0, 1)
        x_NCHW = self.normalizer(BatchReader(cache.images, self.device)(rows[chosen]))
        found = sanity_table(
            self.network, x_NCHW, seen.findings.index(finding), self.run.config.seed, self.options.method
        )
        progress("check the maps", 1, 1)
        return found.assign(run_id=self.run.id, dataset=internal.name, finding=finding)[list(SCHEMAS["cascade"])]

    def seen(self, ref: CohortRef, table: pd.DataFrame, cache: ImageCache) -> tuple[Seen, NDArray[np.int64]]:
        """Return the predictions on the held-out images, and their rows in the cache."""
        chosen = Examples.predicted(ref, self.run.config, cache)
        findings = tuple(self.run.config.findings)
        stored = read_table(self.job.store.run_dir(self.run.id) / "predictions" / f"{ref.name}.parquet")
        at = pd.Index(stored["image_id"].astype(str)).get_indexer(pd.Index(chosen.image_id.astype(str)))
        held_out = table["image_id"][ref.held_out_rows(ref.split_of(table, self.run.config))]
        keep = np.isin(chosen.image_id.astype(str), held_out.to_numpy(str)) & (at >= 0)
        logit_NK = stored[list(findings)].to_numpy(np.float32)[at[keep]]
        ids, patients = (values[keep].astype(str) for values in (chosen.image_id, chosen.patient_id))
        return Seen(ref.name, ids, patients, chosen.state_NK[keep], logit_NK, findings), chosen.rows[keep]

    def maps(
        self, wanted: NDArray[np.int64], rows: NDArray[np.int64], reader: BatchReader, progress: Progress, name: str
    ) -> Iterator[tuple[int, Gray, Heats]]:
        """Yield index, central crop [H, W] and heat maps [K, H, W] of each wanted image."""
        margin = (reader.images.shape[1] - self.size) // 2
        inner = slice(margin, margin + self.size)
        batch = images_per_pass(BATCH, self.size)
        for start in range(0, len(wanted), batch):
            progress(f"look at {name}", start, len(wanted))
            some = wanted[start : start + batch]
            batch_NHW = reader(rows[some])
            found = heat_maps(self.network, self.normalizer(batch_NHW), self.options.method)
            heat_NKHW = upsampled(found.heat_NKhw, self.size).cpu().numpy()
            shown_NHW = batch_NHW[:, inner, inner].cpu().numpy()
            yield from zip(some.tolist(), shown_NHW, heat_NKHW, strict=True)
        progress(f"look at {name}", len(wanted), len(wanted))

    def scenes(self, ref: CohortRef, truth: Truth, cache: ImageCache, table: pd.DataFrame) -> "Scenes":
        """Return the cached regions of a cohort's images, shared by runs with the same geometry."""
        centre = self.size if self.normalizer.input else 0
        about = [ref.id, cache.fingerprint, self.run.geometry.key, centre, truth.source, truth.stamp, SCENE_VERSION]
        about += sorted((i, p.stat().st_mtime_ns) for i, p in truth.lung_masks.items())
        folder = self.job.store.root / "cache" / "scenes" / f"{ref.name}-{short_hash(canonical_json(about))}"
        paths = dict(zip(table["image_id"].astype(str), table["path"].astype(str), strict=True))
        return Scenes(ref.root, paths, self.run.geometry, centre, truth, folder)

    def _listed(self, ref: CohortRef, gallery: pd.DataFrame, cards: Mapping[int, "Card"]) -> pd.DataFrame:
        """Return the gallery's rows; a report fills in `picture` later, and only where the data license allows it."""
        facts = [(cards[i].inside, cards[i].outside) for i in range(len(gallery))]
        inside, outside = zip(*facts, strict=True) if facts else ((), ())
        named = gallery.assign(run_id=self.run.id, dataset=ref.name, inside=inside, outside=outside, picture=None)
        return named[list(SCHEMAS["gallery"])]


@dataclass(frozen=True, slots=True)
class Scenes:
    """Regions (findings, lungs, border, markers) in the images of one cohort, computed once and stored in a folder."""

    root: Path
    paths: Mapping[str, str]  # image id -> path below root
    geometry: Geometry
    centre: int
    truth: Truth
    folder: Path

    def __call__(self, image_id: str) -> Scene | None:
        """Return the regions of one image; None if its file can no longer be read."""
        path = self.folder / f"{short_hash(image_id.encode(), 24)}.npz"
        if path.is_file():
            with contextlib.suppress(OSError, ValueError, KeyError, zipfile.BadZipFile), np.load(path) as stored:
                return Scene.unpacked({name: stored[name] for name in stored.files})
        try:
            found = scene(self.root / self.paths[image_id], image_id, self.geometry, self.centre, self.truth)
        except (UnreadableImage, OSError):
            return None
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **found.packed())
        return found


@dataclass(frozen=True, slots=True)
class Card:
    """One picture of the gallery, with the shares of its heat-map sum inside the finding and outside the lungs."""

    picture: bytes
    inside: float
    outside: float


def card(shown: Gray, heat: Heats, finding: str, there: Scene | None) -> Card:
    """Return the gallery picture of a heat map; a share is NaN if its region is unknown."""
    outline = there.findings.get(finding) if there is not None else None
    beyond = there.regions.get(OUTSIDE) if there is not None else None
    shares = [energy(heat, mask) if mask is not None else float("nan") for mask in (outline, beyond)]
    return Card(png(pair(shown, heat, outline)), *shares)
