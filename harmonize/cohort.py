"""One dataset on disk -> one validated table, one row per image, with every loss of rows counted."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harmonize import labelmap
from harmonize.datasets import BASE, FRONTAL_VIEWS, adapter
from harmonize.errors import DatasetError
from harmonize.findings import FINDINGS, NO_FINDING, PRESENT, UNMAPPED_CODE, labels_yaml
from harmonize.specs import CohortSpec
from harmonize.splits import shared_patients

QUARANTINE = ("image_id", "path", "reason")


@dataclass(frozen=True, eq=False)  # no slots: the id is computed once and kept
class Cohort:
    """The frontal images of one dataset after harmonisation.

    table       BASE columns, dataset extras, native labels, then one Int8 state per finding; index 0..n-1
    quarantine  image_id, path, reason of images that are listed but absent
    flow        images found -> dropped by reason -> not_frontal -> absent -> kept; `contradictory` are of those kept
                ("No Finding" together with another finding: left as they are)
    """

    name: str
    layout: str
    root: Path
    table: pd.DataFrame
    quarantine: pd.DataFrame
    flow: dict[str, int]
    phantom: bool
    spec: CohortSpec

    @cached_property
    def id(self) -> str:
        """Return 12 hex digits that change when the label mapping or the table does."""
        digest = hashlib.sha256()
        digest.update(_rules(self.spec))
        for column in self.table.columns:
            digest.update(b"\x1e" + str(column).encode())
            digest.update(_bytes(self.table[column]))
        return digest.hexdigest()[:12]


def load(spec: CohortSpec, mapping: str = "default", findings: Sequence[str] = FINDINGS) -> Cohort:
    """Read one cohort: native table -> findings -> checks -> frontal images that are on disk.

    Raises DatasetError for whatever would make numbers wrong: missing files and columns, repeated image ids, blank
    patient ids, a patient in two official splits, paths that leave the root, or no image left.
    """
    module = adapter(spec.layout)
    native = module.read(spec.root, spec.table, spec.mapping) if spec.layout == "table" else module.read(spec.root)
    where = str(spec.root / spec.table) if spec.table else str(spec.root)
    flow = {"found": len(native)}
    if "drop" in native:
        for reason in sorted(set(native["drop"]) - {""}):
            flow[reason.replace(" ", "_")] = int((native["drop"] == reason).sum())
        native = native[native["drop"] == ""].drop(columns="drop")
    _check(native, where)
    frontal = native["view"].isin(FRONTAL_VIEWS)
    flow["not_frontal"] = int((~frontal).sum())
    native = native[frontal]
    on_disk = _on_disk(spec.root, native["path"])
    absent = native.loc[~on_disk, ["image_id", "path"]].assign(reason="listed but absent")
    flow["absent"] = len(absent)
    native = native[on_disk].reset_index(drop=True)
    flow["kept"] = len(native)
    if native.empty:
        counts = ", ".join(f"{number:,} {name}" for name, number in flow.items())
        raise DatasetError(
            f"no image is left ({counts})", where, "check `root:`: are the images below it, in the published folders?"
        )
    states = labelmap.apply(native, spec.layout, mapping, findings)
    table = pd.concat([native, states], axis=1)
    flow["contradictory"] = _contradictory(states)
    phantom = any((folder / "phantom.json").is_file() for folder in (spec.root, spec.root.parent))
    return Cohort(spec.name, spec.layout, spec.root, table, absent.reset_index(drop=True), flow, phantom, spec)


def _check(native: pd.DataFrame, where: str) -> None:
    """Raise DatasetError for a native table that is not what every layout promises."""
    missing = [column for column in BASE if column not in native]
    if missing:
        raise ValueError(f"the adapter left out {missing}")  # a bug, not bad input
    for column in ("image_id", "patient_id"):
        blank = int((native[column] == "").sum())
        if blank:
            raise DatasetError(
                f"{blank} rows have no {column}", where, "fill it in or remove the rows: patients must not mix"
            )
    shared_patients(native, native["split"], where)
    repeated = native["image_id"].duplicated()
    if repeated.any():
        example = native.loc[repeated, "image_id"].iloc[0]
        raise DatasetError(
            f"{int(repeated.sum())} image ids are repeated, e.g. {example!r}", where, "keep one row per image"
        )
    path = native["path"]
    escapes = path.str.contains(r"(?:^|/)\.\.(?:/|$)|^/|\\|^[A-Za-z]:|\x00", regex=True)
    if escapes.any():
        raise DatasetError(
            f"{int(escapes.sum())} paths leave the root, e.g. {path[escapes].iloc[0]!r}",
            where,
            "use paths below the root",
        )


def _on_disk(root: Path, path: pd.Series) -> NDArray[np.bool_]:
    """Return which paths are files below root, listing each folder once."""
    parts = path.str.rpartition("/")
    codes, folders = pd.factorize(parts[0])
    names: list[frozenset[str]] = []
    for folder in folders:
        try:
            with os.scandir(f"{root}/{folder}") as entries:
                names.append(frozenset(entry.name for entry in entries if entry.is_file()))
        except OSError:  # the folder is absent or closed to us: so are its images
            names.append(frozenset())
    return np.fromiter((name in names[code] for code, name in zip(codes, parts[2], strict=True)), bool, len(path))


def _contradictory(states: pd.DataFrame) -> int:
    """Return how many images have "No Finding" and another finding present."""
    if NO_FINDING not in states:
        return 0
    present = states.eq(PRESENT).fillna(False)
    others = present.drop(columns=NO_FINDING)
    return int((present[NO_FINDING] & others.any(axis=1)).sum())


def _rules(spec: CohortSpec) -> bytes:
    """Return what decides the labels: the mapping file, or the layout's words in labels.yaml (not titles and reasons)."""
    if spec.layout == "table":
        return Path(spec.mapping).read_bytes()
    block = labels_yaml()["datasets"][spec.layout]
    words = {
        finding: [rule.get(k) for k in ("native", "strict", "broad")] for finding, rule in block["findings"].items()
    }
    return repr([block["family"], words, block.get("silent"), block.get("exclusive")]).encode()


def _bytes(column: pd.Series) -> bytes:
    """Return a column's content in a form that no version of pandas changes."""
    if isinstance(column.dtype, pd.Int8Dtype):
        return column.to_numpy(np.int8, na_value=UNMAPPED_CODE).tobytes()
    if column.dtype == np.float64:
        return "\x1f".join(map(repr, column.tolist())).encode()
    return "\x1f".join(map(str, column.tolist())).encode()
