"""What a model had seen of each cohort of a grid: the declared answers, and the listed images that are in the cohort.

The answers are stored in the manifest of the grid. Lists of images are stored in the folder `seen` of the store; the
name of a list is its hash, so equal lists are stored once.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pandas as pd

from bench.config.registry import Entry
from bench.config.seen import OTHERS, SeenData
from bench.planning.run import RunSpec
from bench.store.file_integrity import bytes_sha256, file_sha256
from bench.store.store import Store, write_bytes
from harmonize.cohorts.cohort import Cohort
from harmonize.cohorts.pooled import members_of, places_of
from harmonize.datasets import PUBLISHED, TABLE
from harmonize.datasets.user_table import read_user_table
from harmonize.errors import ConfigError, StoreError
from reports.schemas.exposure import CORPORA, IMAGES, LABELS, NO, TEXT, UNKNOWN

FOLDER = "seen"  # folder of the store with the lists of images
_COLUMNS = ("image_id", "sha256")  # if a list has both columns, only the first is used
_STRENGTH = (NO, UNKNOWN, IMAGES, TEXT, LABELS)  # in rising order: a combination of models gets the strongest answer


@dataclass(frozen=True, slots=True, eq=False)
class Exposure:
    """What a model had seen of each cohort of a grid.

    `answers`: cohort -> answer (see reports.schemas.exposure). `images`: cohort -> sorted ids of the listed images that
    the cohort has; only cohorts with a list.
    """

    answers: Mapping[str, str]
    images: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, seen: Mapping[str, SeenData], cohorts: Mapping[str, Cohort]) -> Self:
        """Return the exposure to some cohorts; `seen` is the result of `SeenData.parse`.

        The name of a cohort comes before its layout, so `seen` can name "nih" or the user's own name for a copy of it.
        A pool gets the strongest answer of its hospitals, which also keep their own.
        Raises ConfigError for a list that cannot be read, and for a list without any image of the cohort.
        """
        answers, images = {}, {}
        for name, cohort in cohorts.items():
            of_hospitals, listed = [], list[str]()
            for place, hospital in zip(places_of(cohort), members_of(cohort), strict=True):
                keys = (hospital.name, *((hospital.layout,) if hospital.layout != TABLE else ()), OTHERS)
                own = next(seen[key] for key in keys if key in seen)
                of_hospitals.append(own.answer)
                if place.prefix:
                    answers[hospital.name] = own.answer  # for the run that leaves the hospital out
                if own.images:
                    listed += [place.prefix + image for image in _listed(own.images, hospital)]
            answers[name] = cls.strongest(of_hospitals)
            if listed:
                images[name] = tuple(sorted(listed))
        return cls(answers, images)

    @classmethod
    def of_run(
        cls,
        run: RunSpec,
        cohorts: Mapping[str, Cohort],
        registry: Path,
        weights: Path | None,
        known: Iterable[str] = (),
    ) -> Self:
        """Return what the starting weights, or the given vectors, of a run had seen of some cohorts.

        Random weights and weights of photographs had seen no hospital. Other weights and given vectors need the key
        `seen` in their registry entry; without it, all answers are unknown. `registry`: path of the registry file.
        `weights`: folder of --weights. Relative paths of lists begin there if the file exists there, else at the folder
        of the registry. `known`: names of other cohorts that `seen` may have. Raises ConfigError for a name in `seen`
        that is no cohort and no layout, because a typing error would let OTHERS answer for the hospital.
        """
        entry = run.weights_entry
        hospitals = [m.name for cohort in cohorts.values() for m in members_of(cohort)]
        if cls.saw_no_data(run.config.weights, run.entries["architecture"]) or (
            "seen" not in entry.facts and _of_photographs(entry)
        ):
            return cls(dict.fromkeys((*cohorts, *hospitals), NO), {})
        where = f"{entry.section}.{entry.name}: seen"
        seen = SeenData.parse(entry.facts.get("seen", UNKNOWN), registry.parent, where)
        SeenData.check_names(seen, [*dict.fromkeys((*hospitals, *known, *PUBLISHED))], where)
        if weights is not None:
            moved = {name: own for name, own in seen.items() if own.images and (weights / own.images.name).is_file()}
            seen |= {name: SeenData(own.answer, weights / own.images.name) for name, own in moved.items() if own.images}
        return cls.of(seen, cohorts)

    @staticmethod
    def saw_no_data(weights: str, own: Entry) -> bool:
        """Return whether a run starts from random weights, so that it learned from no data before it is trained here.

        Given vectors come from a network that was trained elsewhere. So do the features of a network of another package
        whose entry states `seen`: it may load weights of its own. A timm network without starting weights is random.
        `weights`: name of the starting weights in the configuration. `own`: the entry of the architecture.
        """
        brings_weights = "seen" in own.facts and (
            not own.use.endswith(":timm_model") or "checkpoint_path" in own.options
        )
        return weights == "none" and own.given_features is None and not brings_weights

    @property
    def document(self) -> dict[str, dict[str, Any]]:
        """Return the exposure for a manifest: {cohort: {"answer"}}, with a list also {"listed", "list"}.

        listed: number of listed images in the cohort. list: hash of these images, which names their file in the store.
        """
        rows: dict[str, dict[str, Any]] = {name: {"answer": answer} for name, answer in self.answers.items()}
        for name, images in self.images.items():
            rows[name] |= {"listed": len(images), "list": _hash(images)}
        return rows

    @property
    def saw_nothing(self) -> bool:
        """Return whether all answers are "no"."""
        return set(self.answers.values()) <= {NO}

    def write(self, store: Store) -> None:
        """Write the lists of images into the store."""
        for images in self.images.values():
            path = _path(store, _hash(images))
            if not path.is_file() or file_sha256(path) != path.stem:
                path.parent.mkdir(exist_ok=True)
                write_bytes(path, _content(images))

    @staticmethod
    def listed(store: Store, name: str) -> frozenset[str] | None:
        """Return the ids of a stored list; None if the store does not have it, as in a store made from bundles.

        Raises StoreError for a list that differs from its hash.
        """
        path = _path(store, name)
        if not path.is_file():
            return None
        if file_sha256(path) != name:
            fix = "run the grid or evaluate the model again"
            raise StoreError("this list of images differs from its hash", str(path), fix)
        return frozenset(path.read_text(encoding="utf-8").splitlines()[1:])

    @staticmethod
    def strongest(answers: Iterable[str]) -> str:
        """Return the answer for a combination of models.

        >>> Exposure.strongest(["no", "images", "unknown"])
        'images'
        """
        return max(answers, key=_STRENGTH.index, default=UNKNOWN)


def _of_photographs(entry: Entry) -> bool:
    """Return whether starting weights were trained on photographs, as their corpus or the end of their timm tag states."""
    tag = str(entry.options.get("name", "")).partition(".")[2]
    return str(entry.facts.get("corpus", tag.rpartition("_")[2])) in CORPORA


def _listed(path: Path, cohort: Cohort) -> tuple[str, ...]:
    """Return the sorted ids of the cohort's images that a list names by id or by the SHA-256 of the file.

    Folder names and endings such as .png do not matter in ids unless the cohort needs them to tell images apart.
    """
    column, entries = _read(path)
    ids = cohort.table["image_id"].astype(str)
    if column == "sha256":
        files = [cohort.root / name for name in cohort.table["path"]]
        keys = pd.Series([file_sha256(file) if file.is_file() else "" for file in files], ids.index)
        is_listed = keys.isin({entry.lower() for entry in entries})
    else:
        is_listed, short = ids.isin(entries), ids.map(_short)
        if not short.duplicated().any():
            is_listed |= short.isin({_short(entry) for entry in entries})
    found = tuple(sorted(set(ids[is_listed])))
    if not found:
        example = next(iter(ids), "")
        what = f"none of the {len(entries):,} entries is an image of {cohort.name}, e.g. {min(entries, default='')!r}"
        fix = f"list its image ids, such as {example!r}, or the SHA-256 of its files in the column sha256"
        raise ConfigError(what, str(path), fix)
    return found


def _short(image_id: str) -> str:
    """Return an image id without folders and without the ending of an image file."""
    return re.sub(r"\.(png|jpe?g|dcm|dicom)$", "", image_id.replace("\\", "/").rpartition("/")[2], flags=re.IGNORECASE)


def _read(path: Path) -> tuple[str, set[str]]:
    """Return the name of the column of a list, and its entries without blank cells."""
    try:
        rows = read_user_table(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        fix = "name a CSV file with the column image_id or sha256"
        raise ConfigError(f"the list of images cannot be read: {error}", str(path), fix) from error
    for column in _COLUMNS:
        if column in rows:
            cells = rows[column].dropna().convert_dtypes()  # a Parquet column of whole numbers with a null has floats
            return column, set(cells.astype(str).str.strip()) - {""}
    present = ", ".join(map(str, rows.columns[:10]))
    fix = f"name the column of the ids image_id, or that of the hashes sha256; the file has: {present}"
    raise ConfigError("the list of images has no column image_id or sha256", str(path), fix)


def _content(images: tuple[str, ...]) -> bytes:
    return "\n".join(["image_id", *images, ""]).encode()


def _hash(images: tuple[str, ...]) -> str:
    return bytes_sha256(_content(images))


def _path(store: Store, name: str) -> Path:
    return store.root / FOLDER / f"{name}.csv"
