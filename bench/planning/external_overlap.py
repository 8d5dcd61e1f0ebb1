"""Find the images and patients that two external cohorts share, because a mean over hospitals would count them twice.

Shared images and patients of external cohorts are no leak into training, so they do not stop a grid: terminal and page
state their number. If nearly all images of a cohort are also in another cohort, both cohorts are the same hospital.
Then the cohort whose images are also in the other cohort is left out of the plan, so that every mean, gap, rank and
count of hospitals includes this hospital once. Only scored rows are counted.
"""

import contextlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pandas as pd

from bench.planning.overlap import are_of_one_hospital, refuse_copies, shares_patient_ids, write_list
from bench.planning.planned_grid import SAME_SHARE, Overlap
from bench.store.store import Store, canonical_json, short_hash, write_bytes
from harmonize.cohorts.cohort import Cohort
from harmonize.datasets.ids import occurs_in
from harmonize.errors import StoreError
from harmonize.progress import Progress

if TYPE_CHECKING:
    from harmonize.cache.cache import ImageCache  # this module imports OpenCV
    from harmonize.checks.copies import Copies  # this module imports OpenCV


def find_equal_tables(external: Sequence[Cohort], scored: Mapping[str, pd.DataFrame]) -> tuple[Overlap, ...]:
    """Return one overlap for each external cohort that has the same table as an earlier external cohort, or its hospital.

    Equal tables name the same images, so the images are not compared. Nor are those of two layouts with images of one
    hospital, such as RSNA and NIH: their shared patients are not known, so `patients` is None. `scored` maps the name of
    each cohort to its scored rows.
    """
    kept: list[Cohort] = []
    repeated = []
    for cohort in external:
        earlier = next((one for one in kept if one.id == cohort.id or are_of_one_hospital(one, cohort)), None)
        if earlier is None:
            kept.append(cohort)
            continue
        names, layouts = (earlier.name, cohort.name), (earlier.layout, cohort.layout)
        patients = int(scored[cohort.name]["patient_id"].nunique()) if earlier.id == cohort.id else None
        repeated.append(Overlap(names, layouts, (len(scored[earlier.name]), len(scored[cohort.name])), None, patients))
    return tuple(repeated)


def find_repeated(overlaps: Sequence[Overlap], gold: Collection[str]) -> tuple[Overlap, ...]:
    """Return one overlap for each cohort to leave out: its first cohort contains the second, which is left out.

    If two cohorts contain each other, the later one is left out. `gold` has the names of the gold subsets (the images
    of a cohort with labels of physicians or radiologists). A gold subset is never left out, because a grid that names
    the subset asks for the same images with these other labels.
    """
    left_out: dict[str, Overlap] = {}
    # pairs with the largest cohorts first: a cohort that contains another cohort should stay in the plan if possible
    for overlap in sorted(overlaps, key=lambda overlap: -max(overlap.num_images)):
        for pair in (overlap, overlap.swapped):
            is_new = not left_out.keys() & set(pair.cohorts)
            if is_new and pair.repeats_first and pair.cohorts[1] not in gold:
                left_out[pair.cohorts[1]] = pair
    return tuple(left_out.values())


def compare_patients(external: Sequence[Cohort], scored: Mapping[str, pd.DataFrame]) -> tuple[Overlap, ...]:
    """Return one overlap for each pair of external cohorts, with the number of shared patients.

    Shared images are not counted here. `scored` maps the name of each cohort to its scored rows.
    """
    overlaps = []
    for one, other in combinations(external, 2):
        tables = scored[one.name], scored[other.name]
        patients = None
        if shares_patient_ids(one.spec, other.spec):
            patients = len(_shared_patients(*tables))
        sizes = len(tables[0]), len(tables[1])
        overlaps.append(Overlap((one.name, other.name), (one.layout, other.layout), sizes, None, patients))
    return tuple(overlaps)


@dataclass(frozen=True, slots=True)
class Comparison:
    """The result of a comparison of all images of a plan.

    overlaps  one overlap for each pair of external cohorts, with images and patients
    repeated  result of `find_repeated`
    lists     (first cohort, second cohort) -> names of list files in the folder `cohorts` of the store. The files list the
              shared images and patients; the data file can name them as `exclude:` of the second cohort
    crowded   number of images in groups of similar images that are so large that not all pairs were compared
    """

    overlaps: tuple[Overlap, ...]
    repeated: tuple[Overlap, ...]
    lists: Mapping[tuple[str, str], Sequence[str]]
    crowded: int


def compare(
    store: Store,
    cohorts: Sequence[Cohort],
    overlaps: Sequence[Overlap],
    scored: Mapping[str, pd.DataFrame],
    caches: Mapping[str, "ImageCache"],
    progress: Progress | None = None,
) -> Comparison:
    """Compare the images of each pair of cohorts; list shared images and patients of external cohorts in the store.

    `cohorts`: the internal cohort is first. `overlaps`: result of `compare_patients`. `scored`: name of each external
    cohort -> its scored rows. `caches`: name of each cohort -> its decoded images, all of one size and crop. The store
    keeps the result, so that the same images are not compared again.

    Raises DatasetError when an external cohort contains copies of internal images, also copies that were encoded again.
    """
    from harmonize.checks.copies import comparison_key, find_copies  # imports OpenCV, which scoring does not need

    facts = [[cohort.name, cohort.id, len(scored.get(cohort.name, ())), cohort.spec.choice.gold] for cohort in cohorts]
    rules = [comparison_key(caches), SAME_SHARE, facts, [asdict(overlap) for overlap in overlaps]]
    path = store.root / "cohorts" / f"compared-{short_hash(canonical_json(rules))}.json"
    # if the stored result is missing or damaged, the images are compared below
    with contextlib.suppress(StoreError, KeyError, TypeError, ValueError):
        stored = _read(store, path)
        if all((path.parent / name).is_file() for names in stored.lists.values() for name in names):
            return stored
    copies = find_copies(caches, progress)
    refuse_copies(store, cohorts[0], cohorts[1:], copies)
    found = tuple(_with_images(overlap, scored, caches, copies) for overlap in overlaps)
    repeated = find_repeated(found, {cohort.name for cohort in cohorts if cohort.spec.choice.gold})
    left_out = {overlap.cohorts[1] for overlap in repeated}
    of_name = {cohort.name: cohort for cohort in cohorts}
    lists = {}
    for overlap in found:
        one, other = overlap.cohorts
        if overlap.is_shared and not left_out & {one, other}:
            tables = {"shared": _listed_images(one, other, scored, copies)}
            if overlap.patients:
                tables["patients"] = _shared_patients(scored[one], scored[other])
            lists[one, other] = [
                write_list(store, f"{kind}-{one}+{other}", of_name[other], rows).name
                for kind, rows in tables.items()
                if len(rows)
            ]
    content = {
        "overlaps": [asdict(overlap) for overlap in found],
        "repeated": [asdict(overlap) for overlap in repeated],
        "lists": [[*names, files] for names, files in lists.items()],
        "crowded": copies.crowded,
    }
    write_bytes(path, canonical_json(content))
    return Comparison(found, repeated, lists, copies.crowded)


def _read(store: Store, path: Path) -> Comparison:
    """Return a stored comparison. Raises StoreError, KeyError, TypeError or ValueError for a missing or damaged file."""
    content = store.read_json("cohorts", path.name)
    lists = {(str(one), str(other)): list(map(str, names)) for one, other, names in content["lists"]}
    overlaps, repeated = (msgspec.convert(content[key], tuple[Overlap, ...]) for key in ("overlaps", "repeated"))
    return Comparison(overlaps, repeated, lists, int(content["crowded"]))


def _with_images(
    overlap: Overlap, scored: Mapping[str, pd.DataFrame], caches: Mapping[str, "ImageCache"], copies: "Copies"
) -> Overlap:
    """Return the overlap with `num_images` and `images` counted over the readable scored images."""
    one, other = overlap.cohorts
    sizes = [int((caches[name].rows(scored[name]["image_id"]) >= 0).sum()) for name in overlap.cohorts]
    shared = [len(_scored_copies(*pair, scored, copies)) for pair in ((other, one), (one, other))]
    return replace(overlap, num_images=(sizes[0], sizes[1]), images=(shared[0], shared[1]))


def _scored_copies(one: str, other: str, scored: Mapping[str, pd.DataFrame], copies: "Copies") -> pd.DataFrame:
    """Return the scored images of cohort `other` that are copies of scored images of cohort `one`.

    Columns: image_id (in `other`), copy_of (image id in `one`), kind (exact or near).
    """
    table = copies.tables[one, other]
    is_scored = occurs_in(table["image_id"], scored[other]["image_id"])
    return table[is_scored & occurs_in(table["copy_of"], scored[one]["image_id"])]


def _listed_images(one: str, other: str, scored: Mapping[str, pd.DataFrame], copies: "Copies") -> pd.DataFrame:
    """Return the images of cohort `other` that the two cohorts share, for the key `exclude` of `other`.

    The columns are image_id, patient_id, copy_of and kind.
    """
    patients = scored[other][["image_id", "patient_id"]].astype(object)
    shared = _scored_copies(one, other, scored, copies).merge(patients, on="image_id")
    return shared[["image_id", "patient_id", "copy_of", "kind"]]


def _shared_patients(one: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """Return the patients that are in both tables, as a table with the column patient_id."""
    patients = other[["patient_id"]].drop_duplicates()
    return patients[occurs_in(patients["patient_id"], one["patient_id"])]
