"""Decode the images of a plan once, find duplicate images, and find unfinished runs.

A geometry is the part of the preprocessing that is applied before images are cached: size, fit, region crop and CLAHE.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import pandas as pd

from bench.planning.external_overlap import Comparison, compare
from bench.planning.overlap import refuse_copies_of_left_out
from bench.planning.plan import CohortRef, Plan
from bench.planning.run import TRAINED, RunSpec
from bench.store.checked_folders import FILE as CHECKSUMS
from bench.store.checked_folders import CheckedFolder
from bench.store.file_integrity import is_intact
from bench.store.safe_csv import csv_text
from bench.store.store import Store, table_facts, write_bytes
from harmonize.cache.cache import ImageCache, file_states, open_cache, read_cache
from harmonize.checks.copies import prints
from harmonize.checks.frontal_view import wrong_views
from harmonize.errors import DatasetError, StoreError
from harmonize.images.perceptual_hash import smaller, thumbnail
from harmonize.images.pixels import Geometry
from harmonize.progress import Progress

_SAMPLED_VIEWS = 64  # number of images of each cohort that are compared with frontal radiographs
# files of a finished run, besides predictions and features
COMPLETE = (*TRAINED, "cost.json", "seal.json", "env.json", CHECKSUMS)


@dataclass(frozen=True, slots=True, eq=False)
class DecodedImages:
    """The decoded images of a plan: one cache for each cohort and geometry. The function `prepare` makes the caches."""

    plan: Plan
    caches: Mapping[tuple[str, str], ImageCache]  # (cohort, geometry key) -> cache

    def write_lists(self) -> None:
        """Write two lists of each cohort as CSV files in the folder `cohorts` of the store: `quarantine` and `doubts`.

        `quarantine` lists the images that cannot be used. `doubts` lists images that are used although their rows look
        wrong: a label is not in the vocabulary of the dataset, or the patient has two sexes.
        """
        for ref in self.plan.refs:
            cohort = self.plan.cohorts[ref.name]
            unreadable = [cache.quarantine for (name, _), cache in self.caches.items() if name == ref.name]
            quarantine = pd.concat([cohort.quarantine, *unreadable]).drop_duplicates()
            for kind, rows in (("quarantine", quarantine), ("doubts", cohort.doubts)):
                path = self.plan.store.root / "cohorts" / f"{kind}-{ref.name}.csv"
                if len(rows) or path.is_file():
                    write_bytes(path, csv_text(rows).encode())

    @property
    def fallbacks(self) -> list[str]:
        """Return one line for each cohort and geometry that crops to lungs: the share of images without detected lungs."""
        rates = {place: cache.fallback_rate for place, cache in self.caches.items()}
        return [
            f"{name} ({key}): no lungs found in {100 * rate:.1f} % of the images, which keep the fixed region"
            for (name, key), rate in rates.items()
            if rate is not None
        ]

    @property
    def wrong_views(self) -> list[str]:
        """Return one line for each cohort half of whose images look inverted, upside down or turned, of a sample."""
        lines = []
        for name, cache in {name: cache for (name, _), cache in self.caches.items()}.items():
            rows = np.unique(np.linspace(0, len(cache.images) - 1, _SAMPLED_VIEWS).astype(int))
            remarks = [
                text for text in wrong_views(smaller(np.stack([thumbnail(cache.images[row]) for row in rows]))) if text
            ]
            if 2 * len(remarks) > len(rows):
                most = Counter(remarks).most_common(1)[0][0]
                line = f"{name}: {len(remarks)} of {len(rows)} images are unlike frontal radiographs; most {most.replace('looks', 'look')}"
                lines.append(line)
        return lines

    def is_incomplete(self, run: RunSpec) -> bool:
        """Return whether a run is unfinished: a file is missing or damaged, or the predictions are of other images."""
        store = self.plan.store
        folder = store.run_dir(run.id)
        if store.state(run.id) != "done" or (folder / "run.json").read_bytes() != run.document:
            return True
        if CheckedFolder(folder).problems() or not all(is_intact(folder / name) for name in COMPLETE):
            return True
        for ref in self.plan.refs:
            facts = table_facts(folder / "predictions" / f"{ref.name}.parquet")
            if facts.get("fingerprint") != self.caches[ref.name, run.geometry.key].fingerprint:
                return True
            if not is_intact(folder / "features" / f"{ref.name}.npz"):
                return True
        return False

    def compared(self, progress: Progress | None = None) -> tuple[Self, Comparison]:
        """Compare the images of each pair of cohorts; return the images of the cohorts that stay in the plan.

        An external cohort is left out of the plan if nearly all its images are also in another external cohort. The
        second result has the shared images and patients. Raises DatasetError when an external
        cohort contains copies of internal images, also copies that were encoded again, or when a hospital that a run
        leaves out contains exact copies of images of the other training hospitals.
        """
        plan, key = self.plan, next(iter(self.caches))[1]
        if left_out := {run.config.leave_out for run in plan.runs if run.config.leave_out}:
            refuse_copies_of_left_out(plan.store, plan.cohorts[plan.refs[0].name], left_out, self._internal_prints)
        caches = {name: self.caches[name, key] for name in plan.cohorts}
        found = compare(plan.store, list(plan.cohorts.values()), plan.overlaps, plan.scored_tables, caches, progress)
        plan = replace(plan, overlaps=found.overlaps).without(found.repeated)
        kept = {place: cache for place, cache in self.caches.items() if place[0] in plan.cohorts}
        return replace(self, plan=plan, caches=kept), found

    def count_duplicates(self) -> int:
        """Return the number of internal images with the same pixels as an image of another patient in another split.

        The splits are from the first run. If runs leave out different hospitals, the first run without each hospital is
        used, and an image counts if its duplicate is in another split in one of these runs.
        """
        internal = self.plan.refs[0]
        images = self._internal_prints
        repeated = set[str]()
        table = self.plan.cohorts[internal.name].table
        for config in {run.config.leave_out: run.config for run in reversed(self.plan.runs)}.values():
            patients = table[["image_id", "patient_id"]].assign(split=internal.split_of(table, config))
            spread = images.merge(patients, on="image_id").groupby("print")[["patient_id", "split"]].nunique()
            repeated.update(spread.index[(spread["patient_id"] > 1) & (spread["split"] > 1)])
        return int(images["print"].isin(repeated).sum())

    @property
    def _internal_prints(self) -> pd.DataFrame:
        """Return the result of `prints` for the internal cohort."""
        return prints(self.caches[self.plan.refs[0].name, next(iter(self.caches))[1]])


def open_images(store: Store, ref: CohortRef, geometry: Geometry) -> ImageCache:
    """Open the decoded images of a cohort; `prepare` must have made them.

    Workers use this function, so it never decodes images. Raises StoreError when the decoded images are missing or
    belong to another table.
    """
    cache = read_cache(ref.name, _listed(ref), geometry, store.cache_folder(ref.root))
    if cache is None:
        what = f"the decoded images of {ref.name} are missing or belong to another table"
        fix = "run the grid again with `bench run`: it decodes the images first"
        raise StoreError(what, str(store.cache_folder(ref.root)), fix)
    return cache


def _listed(ref: CohortRef) -> pd.DataFrame:
    """Return a table with image_id and path of every image of a cohort."""
    return ref.read(["image_id", "path"])


def prepare(plan: Plan, workers: int, progress: Progress) -> DecodedImages:
    """Decode every image that a run of the plan needs, once. Raises DatasetError if no image of a cohort is readable."""
    states = {ref.name: file_states(ref.root, _listed(ref)) for ref in plan.refs}
    forms = list(dict.fromkeys(run.geometry for run in plan.runs))
    caches: dict[tuple[str, str], ImageCache] = {}
    for form in forms:
        for ref in plan.refs:
            folder = plan.store.cache_folder(ref.root)
            caches[ref.name, form.key] = open_cache(
                ref.name, ref.root, _listed(ref), form, folder, workers, progress, states[ref.name]
            )
    for (name, _), cache in caches.items():
        if not (cache.index["reason"] == "").any():
            reason = cache.index["reason"].iloc[0]
            fix = "give readable images, or remove the cohort from the grid"
            what = f"no image of {name} can be read (the first: {reason})"
            raise DatasetError(what, str(plan.cohorts[name].root), fix)
    return DecodedImages(plan, caches)
