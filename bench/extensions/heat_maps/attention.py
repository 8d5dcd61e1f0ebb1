"""The analysis `attention`: heat maps of a sample of images of every cohort, and a gallery of cases.

A case is a pair of an image and a finding. Its prediction is correct, wrong or confidently wrong. A region is an area
of an image, such as the border, or the pixels outside the lungs.

Shapes: N images, K findings, H and W pixels of the network input, h and w pixels of its feature maps.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from bench.analyses.marker_masks import with_anatomy
from bench.extensions.heat_maps.gradcam import heat_maps, upsampled
from bench.extensions.heat_maps.image_sample import OperatingPoint, ScoredImages, cases, points_of, positives
from bench.extensions.heat_maps.localization import energy
from bench.extensions.heat_maps.measure import Row, measure
from bench.extensions.heat_maps.pictures import picture_name, views, webp
from bench.extensions.heat_maps.randomization import mean_of_images, randomization
from bench.extensions.heat_maps.summary import MEASURES, summarize
from bench.inputs.batches import BatchReader
from bench.inputs.examples import Examples
from bench.inputs.normalize import Normalizer
from bench.models.network import Network
from bench.models.predict import images_per_pass
from bench.planning.image_caches import open_images
from bench.planning.jobs import AnalysisJob
from bench.planning.plan import CohortRef
from bench.runs.networks import normalization_of, trained_network
from bench.runs.stored_run import STANDARD_RULE
from bench.store.array_files import read_arrays, write_arrays
from bench.store.checked_folders import CheckedFolder, ScoresFolder
from bench.store.store import canonical_json, short_hash, write_bytes, write_table
from harmonize.cache.cache import ImageCache
from harmonize.ground_truth.ground_truth import OUTSIDE, Scene, Truth, scene, truth_of_places
from harmonize.images.image_header import UnreadableImage
from harmonize.images.pixels import Geometry, Gray
from harmonize.labels.findings import NO_FINDING
from harmonize.progress import Progress
from reports.schemas.tables import SCHEMAS

SCENE_VERSION = 1  # part of the key of cached regions; increase this number when the computation of regions changes
BATCH = 64  # maximum number of images per pass at 224 pixels, because gradients of all findings are in memory together

Heats = NDArray[np.float32]


def attention(job: AnalysisJob, folder: Path, progress: Progress) -> None:
    """Write the tables of a run's heat maps, and WebP files below gallery/.

    The tables are `attention` (measurements of the maps), `gallery` (cases) and `randomization` (the sanity check).
    """
    device = torch.device(job.device)
    if device.type == "cpu":
        torch.set_num_threads(job.run.config.threads)
    mapper = HeatMapper.load(job, device)
    attention_tables, gallery_tables = [], []
    for ref, left_out in job.tested:
        table, gallery = mapper.explain_cohort(ref, folder / "gallery", progress, left_out)
        attention_tables.append(table)
        gallery_tables.append(gallery)
    write_table(folder / "randomization.parquet", mapper.randomization_check(job.refs[0], progress))
    write_table(folder / "attention.parquet", _stacked(attention_tables, "attention"))
    write_table(folder / "gallery.parquet", _stacked(gallery_tables, "gallery"))


def _stacked(frames: list[pd.DataFrame], name: str) -> pd.DataFrame:
    """Return the frames as one table. If no frame has rows, the table is empty and has the columns of the schema."""
    filled = [frame for frame in frames if len(frame)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=list(SCHEMAS[name]))


class HeatMapper:
    """Computes heat maps of cohorts with the network and the thresholds of a finished run."""

    def __init__(
        self, job: AnalysisJob, network: Network, normalizer: Normalizer, points: Mapping[str, OperatingPoint]
    ) -> None:
        self.job, self.network, self.normalizer, self.points = job, network, normalizer, points
        self.run, self.options = job.run, job.analysis.options
        self.device = torch.device(job.device)
        self.size = job.run.input_size

    @classmethod
    def load(cls, job: AnalysisJob, device: torch.device) -> "HeatMapper":
        """Load the network and the thresholds of the job's run."""
        network = trained_network(job.run, job.store, device).eval()
        normalization = normalization_of(job.run, job.store, job.refs[0], network)
        stored = ScoresFolder(job.store.root / "scores" / job.run.id).table("operating_points")
        return cls(job, network, normalization, points_of(stored, STANDARD_RULE, job.run.config.findings))

    def explain_cohort(
        self, ref: CohortRef, folder: Path, progress: Progress, left_out: str = ""
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return the tables `attention` and `gallery` of one cohort, and write the gallery's pictures into the folder.

        `left_out`: the hospital of a pool that the run leaves out, whose images are then explained; "" for the cohort `ref`.
        """
        name = left_out or ref.name
        cache = open_images(self.job.store, ref, self.run.geometry)
        table = ref.read()
        scored, cache_rows = self.scored_images(ref, table, cache, left_out)
        truth = truth_of_places(ref.places, table)
        sample = positives(scored, truth.located, self.options.images)
        gallery = cases(scored, self.points, self.options.gallery)
        findings_of_row: dict[int, list[str]] = {}
        cases_of_row: dict[int, list[int]] = {}
        for finding, sampled_rows in sample.items():
            for row in sampled_rows.tolist():
                findings_of_row.setdefault(row, []).append(finding)
        for i, row in enumerate(gallery["row"].tolist()):
            cases_of_row.setdefault(row, []).append(i)
        measurements: list[Row] = []
        pictures: dict[int, GalleryPicture] = {}
        column = {finding: k for k, finding in enumerate(scored.findings)}
        image_rows = np.array(sorted({*findings_of_row, *cases_of_row}), np.int64)
        truth = with_anatomy(truth, ref.places, scored.image_id[image_rows].astype(str).tolist())
        regions_of = self.region_cache(ref, truth, cache, table)
        for row, gray, heat_KHW in self.heat_maps(
            image_rows, cache_rows, BatchReader(cache.images, self.device), progress, name
        ):
            image_id = str(scored.image_id[row])
            regions = regions_of(image_id)
            if regions is not None:
                for finding in findings_of_row.get(row, ()):
                    measurements += measure(regions, heat_KHW[column[finding]], finding, str(scored.patient_id[row]))
            for i in cases_of_row.get(row, ()):
                pictures[i] = gallery_picture(
                    gray, heat_KHW[column[gallery["finding"][i]]], str(gallery["finding"][i]), regions
                )
        for i, picture in pictures.items():
            finding, kind, rank = (gallery[c][i] for c in ("finding", "kind", "rank"))
            write_bytes(folder / picture_name(name, str(finding), str(kind), int(rank)), picture.content)
        frame = pd.DataFrame(measurements, columns=list(MEASURES))
        return summarize(frame, name, self.run.id), self._gallery_table(name, gallery, pictures)

    def randomization_check(self, internal: CohortRef, progress: Progress) -> pd.DataFrame:
        """Return the table `randomization`, from images with the most common finding, one per patient.

        "No Finding" does not count as a finding here. The table is empty without images.
        """
        columns = list(SCHEMAS["randomization"])
        cache = open_images(self.job.store, internal, self.run.geometry)
        scored, cache_rows = self.scored_images(internal, internal.read(), cache)
        sample = positives(scored, outlined_pairs=frozenset(), most_per_finding=len(cache_rows))
        sample.pop(NO_FINDING, None)
        finding = max(sample, key=lambda name: len(sample[name]), default="")
        num_checked = self.options.sanity
        sampled_rows = sample.get(finding, np.zeros(0, np.int64))[:num_checked]
        if not len(sampled_rows):
            return pd.DataFrame(columns=columns)
        progress("check the maps", 0, 1)
        x_NCHW = self.normalizer(BatchReader(cache.images, self.device)(cache_rows[sampled_rows]))
        similarity_N = randomization(self.network, x_NCHW, scored.findings.index(finding), self.run.config.seed)
        progress("check the maps", 1, 1)
        return pd.DataFrame([(self.run.id, internal.name, finding, *mean_of_images(similarity_N))], columns=columns)

    def scored_images(
        self, ref: CohortRef, table: pd.DataFrame, cache: ImageCache, left_out: str = ""
    ) -> tuple[ScoredImages, NDArray[np.int64]]:
        """Return the scored images outside `train` and `val`, with logits and labels, and their rows in the cache.

        `left_out` is explained in `explain_cohort`.
        """
        examples = Examples.predicted(ref, self.run.config, cache)
        findings = tuple(self.run.config.findings)
        stored = CheckedFolder(self.job.store.run_dir(self.run.id)).table(f"predictions/{ref.name}.parquet")
        prediction_row = pd.Index(stored["image_id"].astype(str)).get_indexer(pd.Index(examples.image_id.astype(str)))
        split = ref.split_of(table, self.run.config)
        held_out = table["image_id"][ref.left_out_rows(split) if left_out else ref.held_out_rows(split)]
        keep = np.isin(examples.image_id.astype(str), held_out.to_numpy(str)) & (prediction_row >= 0)
        logit_NK = stored[list(findings)].to_numpy(np.float32)[prediction_row[keep]]
        ids, patients = (values[keep].astype(str) for values in (examples.image_id, examples.patient_id))
        return ScoredImages(
            left_out or ref.name, ids, patients, examples.state_NK[keep], logit_NK, findings
        ), examples.rows[keep]

    def heat_maps(
        self,
        image_rows: NDArray[np.int64],
        cache_rows: NDArray[np.int64],
        reader: BatchReader,
        progress: Progress,
        name: str,
    ) -> Iterator[tuple[int, Gray, Heats]]:
        """Yield (row, central crop [H, W], heat maps [K, H, W]) for each image.

        `image_rows` has the rows of the images among the scored images. `cache_rows` has the cache row of every scored image.
        """
        margin = (reader.images.shape[1] - self.size) // 2
        inner = slice(margin, margin + self.size)
        batch = images_per_pass(BATCH, self.size)
        for start in range(0, len(image_rows), batch):
            progress(f"heat maps of {name}", start, len(image_rows))
            rows_of_batch = image_rows[start : start + batch]
            batch_NHW = reader(cache_rows[rows_of_batch])
            maps = heat_maps(self.network, self.normalizer(batch_NHW))
            heat_NKHW = upsampled(maps.heat_NKhw, self.size).cpu().numpy()
            gray_NHW = batch_NHW[:, inner, inner].cpu().numpy()
            yield from zip(rows_of_batch.tolist(), gray_NHW, heat_NKHW, strict=True)
        progress(f"heat maps of {name}", len(image_rows), len(image_rows))

    def region_cache(self, ref: CohortRef, truth: Truth, cache: ImageCache, table: pd.DataFrame) -> "RegionCache":
        """Return the cache of the regions in a cohort's images. Runs with the same geometry share this cache."""
        center = self.size if self.normalizer.input else 0
        key = [ref.id, cache.fingerprint, self.run.geometry.key, center, truth.source, truth.stamp, SCENE_VERSION]
        key += sorted((i, p.stat().st_mtime_ns) for i, p in truth.lung_masks.items())
        folder = self.job.store.root / "cache" / "scenes" / f"{ref.name}-{short_hash(canonical_json(key))}"
        paths = dict(zip(table["image_id"].astype(str), table["path"].astype(str), strict=True))
        return RegionCache(ref.root, paths, self.run.geometry, center, truth, folder)

    def _gallery_table(
        self, name: str, gallery: pd.DataFrame, pictures: Mapping[int, "GalleryPicture"]
    ) -> pd.DataFrame:
        """Return the rows of the table `gallery`. The column `picture` stays empty until a report is written."""
        inside, outside = ([getattr(pictures[i], side) for i in range(len(gallery))] for side in ("inside", "outside"))
        gallery_table = gallery.assign(run_id=self.run.id, dataset=name, inside=inside, outside=outside, picture=None)
        return gallery_table[list(SCHEMAS["gallery"])]


@dataclass(frozen=True, slots=True)
class RegionCache:
    """A folder with the masks of a cohort's images: findings, lungs, border, markers and other regions.

    The masks of an image are computed at the first request and then read from the folder.
    """

    root: Path
    paths: Mapping[str, str]  # image id -> path below root
    geometry: Geometry
    center: int  # side in pixels of the center crop that the network gets; 0 for no crop
    truth: Truth
    folder: Path

    def __call__(self, image_id: str) -> Scene | None:
        """Return the regions of one image; None if its file can no longer be read."""
        path = self.folder / f"{short_hash(image_id.encode(), 24)}.npz"
        if (stored := read_arrays(path, Scene.unpacked)) is not None:
            return stored
        try:
            regions = scene(self.root / self.paths[image_id], image_id, self.geometry, self.center, self.truth)
        except (UnreadableImage, OSError):
            return None
        write_arrays(path, regions.packed())
        return regions


@dataclass(frozen=True, slots=True)
class GalleryPicture:
    """A gallery picture, with the shares of the heat map's sum inside the finding's outline and outside the lungs."""

    content: bytes  # content of a WebP file
    inside: float
    outside: float


def gallery_picture(gray: Gray, heat: Heats, finding: str, regions: Scene | None) -> GalleryPicture:
    """Return the gallery picture of a heat map. A share is NaN if its mask (outline or lungs) is missing."""
    outline = regions.findings.get(finding) if regions is not None else None
    outside_lungs = regions.regions.get(OUTSIDE) if regions is not None else None
    shares = [energy(heat, mask) if mask is not None else float("nan") for mask in (outline, outside_lungs)]
    return GalleryPicture(webp(views(gray, heat, outline)), *shares)
