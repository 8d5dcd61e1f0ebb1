"""The decoded images of a plan: made once, looked at for doubles, and what a run still lacks."""

from collections.abc import Mapping

import pandas as pd

from bench.ops import geometry
from bench.plan import CohortRef, Plan, home_split
from bench.run import Run
from bench.store import Progress, Store, short_hash, table_facts, write_bytes
from harmonize.cache import ImageCache, open_cache
from harmonize.errors import DatasetError
from harmonize.pixels import Geometry

# what a finished run has beside its predictions and features
COMPLETE = ("model.safetensors", "trained.json", "history.parquet", "cost.json", "seal.json", "env.json")


def geometry_of(run: Run) -> Geometry:
    """Return the cached half of a run's preprocessing: size, fit, region and CLAHE."""
    return geometry(run.preprocessing)


def open_images(
    store: Store, ref: CohortRef, geometry: Geometry, workers: int = 1, progress: Progress | None = None
) -> ImageCache:
    """Open the decoded images of a cohort, decoding what is not there yet."""
    table = pd.read_parquet(ref.table, columns=["image_id", "path"])
    folder = store.root / "cache" / short_hash(str(ref.root.resolve()).encode())  # two datasets may have one name
    return open_cache(ref.name, ref.root, table, geometry, folder, workers=workers, progress=progress)


def prepare(plan: Plan, workers: int, progress: Progress) -> dict[tuple[str, str], ImageCache]:
    """Decode every image that a run of the plan needs, once; return the caches by (cohort, geometry key)."""
    caches: dict[tuple[str, str], ImageCache] = {}
    for form in dict.fromkeys(geometry_of(run) for run in plan.runs):
        for ref in plan.refs:
            caches[ref.name, form.key] = open_images(plan.store, ref, form, workers, progress)
    for (name, _), cache in caches.items():
        if not (cache.index["reason"] == "").any():
            reason = cache.index["reason"].iloc[0]
            fix = "give readable images, or take the cohort out of the grid"
            raise DatasetError(
                f"no image of {name} can be read (the first: {reason})", str(plan.cohorts[name].root), fix
            )
    for ref in plan.refs:
        bad = [
            plan.cohorts[ref.name].quarantine,
            *(c.quarantine for (name, _), c in caches.items() if name == ref.name),
        ]
        rows = pd.concat(bad).drop_duplicates()
        path = plan.store.root / "cohorts" / f"quarantine-{ref.name}.csv"
        if len(rows) or path.is_file():
            write_bytes(path, rows.to_csv(index=False).encode())
        doubts = plan.cohorts[ref.name].doubts
        path = plan.store.root / "cohorts" / f"doubts-{ref.name}.csv"
        if len(doubts) or path.is_file():
            write_bytes(path, doubts.to_csv(index=False).encode())
    return caches


def fallbacks(caches: Mapping[tuple[str, str], ImageCache]) -> list[str]:
    """Return a line for each cohort and adaptive geometry: in how many of its images no lungs were found."""
    rates = {(name, key): cache.fallback_rate for (name, key), cache in caches.items()}
    return [
        f"{name} ({key}): no lungs found in {100 * rate:.1f} % of the images, which keep the fixed region"
        for (name, key), rate in rates.items()
        if rate is not None
    ]


def lacks(plan: Plan, run: Run, caches: Mapping[tuple[str, str], ImageCache]) -> bool:
    """Whether a run is not finished: it lacks a file, or predictions on images as they are now."""
    folder, key = plan.store.run_dir(run.id), geometry_of(run).key
    if plan.store.state(run.id) != "done" or not all((folder / name).is_file() for name in COMPLETE):
        return True
    for ref in plan.refs:
        facts = table_facts(folder / "predictions" / f"{ref.name}.parquet")
        if facts.get("fingerprint") != caches[ref.name, key].fingerprint:
            return True
        if not (folder / "features" / f"{ref.name}.npz").is_file():
            return True
    return False


def check_doubles(plan: Plan, caches: Mapping[tuple[str, str], ImageCache]) -> int:
    """Return how many home images have the same pixels as one of another patient in another home split.

    Raises DatasetError when a hospital away holds images of the home cohort: it would be tested on what it trained on.
    """
    key = next(iter(caches))[1]
    home, *away = plan.refs
    at_home = _prints(caches[home.name, key])
    for ref in away:
        same = at_home[at_home["print"].isin(_prints(caches[ref.name, key])["print"])]
        if len(same):
            example = same["image_id"].iloc[0]
            what = f"{len(same)} images of {home.name} are also in {ref.name}, e.g. {example}"
            raise DatasetError(what, str(ref.root), "take them out of one of the two: an external test must be unseen")
    table = plan.cohorts[home.name].table[["image_id", "patient_id"]]
    table = table.assign(split=home_split(plan.cohorts[home.name].table, plan.runs[0].config))
    known = at_home.merge(table, on="image_id")
    spread = known.groupby("print")[["patient_id", "split"]].nunique()
    doubled = spread.index[(spread["patient_id"] > 1) & (spread["split"] > 1)]
    return int(known["print"].isin(doubled).sum())


def _prints(cache: ImageCache) -> pd.DataFrame:
    """Return image_id and a print (file size and checksum of the pixels) of readable images that are not one flat gray."""
    index = cache.index[cache.index["reason"] == ""]
    prints = index["size"].astype(str) + "/" + index["crc32"].astype(str)
    shared = prints.duplicated(keep=False)
    flat = {
        p
        for p, row in zip(prints[shared], index.index[shared], strict=True)
        if cache.images[row].min() == cache.images[row].max()
    }
    found = pd.DataFrame({"image_id": index["image_id"], "print": prints})
    return found[~found["print"].isin(flat)]
