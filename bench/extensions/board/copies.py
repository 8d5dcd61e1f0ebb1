"""Compare submissions without ids: the tables of their hospitals, and their logits.

The first accepted bundle fixes the table of each hospital: its origin, images, labels and patients. Every other bundle must have
the same tables, so that all rows of a board are scored on equal images and findings. Logits are compared by their values and by
their ranks, so that a copy is found if it is shifted, rescaled, or changed by little.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.planning.manifest import Manifest
from bench.planning.planned_grid import PlannedCohort
from bench.scoring.metrics import average_ranks
from bench.store.checked_folders import CheckedFolder
from bench.store.file_integrity import bytes_sha256
from harmonize.labels.findings import PRESENT

Key = TypeVar("Key", str, tuple[str, str])  # finding; hospital and finding
QUANTILES = np.linspace(0, 1, 101)
# Logits are a copy if their quantiles differ by at most this share of the standard deviation, on average. Two trainings with
# different seeds differ by more than 10 times as much.
VALUES = 1e-3
# Logits are a copy if, for each label and sex, the mean rank of the images, as a share of all N images, differs by at most
# RANKS + FEW / sqrt(N). Both trainings and noise move the ranks of few images by more.
RANKS, FEW = 1e-3, 0.03
LEAST_GROUPS = 5  # groups of images that a comparison of ranks needs: two unrelated runs agree on one group by chance
LEAST_IMAGES = 5  # images that a group needs, and images that must be outside of it


@dataclass(frozen=True, slots=True)
class HospitalTable:
    """The table of a hospital without ids: hashes of its N rows and of the rows of each of its P patients, both sorted.

    settings: role, layout and headline split, which decide which rows are scored.
    """

    origin: str
    settings: tuple[str, ...]
    columns: tuple[str, ...]
    rows_N: NDArray[np.uint64]
    patients_P: NDArray[np.str_]

    def difference(self, other: "HospitalTable") -> str:
        """Return how two tables of one hospital differ; "" if they are equal."""
        if self.origin != other.origin:
            return f"it was made from the table {self.origin}, not from {other.origin}"
        if self.settings != other.settings:
            return f"it is scored as {', '.join(self.settings)}, not as {', '.join(other.settings)}"
        if self.columns != other.columns:
            return "it has other columns"
        num = max(_without(self.rows_N, other.rows_N), _without(other.rows_N, self.rows_N))
        if num:
            return f"{num} images have other labels, or are left out"
        return "" if np.array_equal(self.patients_P, other.patients_P) else "its images belong to other patients"


@dataclass(frozen=True, slots=True)
class Logits:
    """The logits of one run for one finding at one hospital, without ids: number of images, quantiles [Q], and mean rank of each group [G]."""

    num: int
    values_Q: NDArray[np.float64]
    ranks_G: NDArray[np.float64]

    def is_copy_of(self, other: "Logits") -> bool:
        """Return whether values or ranks are nearly the same."""
        spread = min(_iqr(self.values_Q), _iqr(other.values_Q))
        if np.abs(self.values_Q - other.values_Q).mean() <= VALUES * spread:
            return True
        if self.num != other.num or len(self.ranks_G) != len(other.ranks_G) or len(self.ranks_G) < LEAST_GROUPS:
            return False
        return bool(np.abs(self.ranks_G - other.ranks_G).max() <= RANKS + FEW / self.num**0.5)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What identifies the content of a bundle, whatever the numbers of its images and the order of its rows.

    tables: name of a hospital -> its table. logits: run id -> (hospital, finding) -> logits. A finding for which a run has the
    same logit everywhere is left out.
    """

    tables: Mapping[str, HospitalTable]
    logits: Mapping[str, Mapping[tuple[str, str], Logits]]

    @classmethod
    def of(cls, manifest: Manifest) -> "Fingerprint":
        """Return the fingerprint of an opened bundle."""
        tables: dict[str, HospitalTable] = {}
        logits: dict[str, dict[tuple[str, str], Logits]] = {run_id: {} for run_id in manifest.run_of}
        for cohort in manifest.cohorts:
            name, table = cohort.name, manifest.table(cohort)
            tables[name] = _table(table, cohort)
            for run_id, own in logits.items():
                frame = CheckedFolder(manifest.store.run_dir(run_id)).table(f"predictions/{name}.parquet")
                own |= {(name, finding): found for finding, found in _logits(frame, table)}
        return cls(tables, logits)

    def repeated(self, manifest: Manifest) -> list[str]:
        """Return a sentence for each pair of runs of the bundle with the same logits, and for each hospital that is given twice."""
        own = [run.id for run in (*manifest.runs, *manifest.imported)]
        out = [
            f"the runs {one} and {two} have the same logits: they are one run"
            for one, two in combinations(own, 2)
            if _is_copy(self.logits[one], self.logits[two])
        ]
        for one, two in combinations(self.tables, 2):
            same = any(
                self._at(run_id, one) and _is_copy(self._at(run_id, one), self._at(run_id, two)) for run_id in own
            )
            if same or np.array_equal(self.tables[one].patients_P, self.tables[two].patients_P):
                out.append(f"{one} and {two} are the same hospital: they have the same labels or logits")
        return out

    def _at(self, run_id: str, hospital: str) -> dict[str, Logits]:
        return {finding: found for (name, finding), found in self.logits[run_id].items() if name == hospital}


@dataclass(slots=True)
class Earlier:
    """The submissions that stand on a board before another one.

    names: id of a bundle -> name of its submission. contents: name -> fingerprint. first: name of the first accepted submission,
    whose tables all others must have; "" if there is none.
    """

    names: dict[str, str] = field(default_factory=dict)
    contents: dict[str, Fingerprint] = field(default_factory=dict)
    first: str = ""

    def add(self, name: str, bundle: str, content: Fingerprint, accepted: bool) -> None:
        """Add a submission. bundle: id of its bundle."""
        self.names[bundle], self.contents[name] = name, content
        if accepted and not self.first:
            self.first = name

    def repeats(self, bundle: str) -> str:
        """Return a sentence if a bundle is that of an earlier submission, else ""."""
        name = self.names.get(bundle)
        return f"the bundle is a copy of the submission {name} under another name" if name else ""

    def problems(self, bundle: str, content: Fingerprint) -> dict[str, list[str]]:
        """Return {"tables", "copies": sentences}: why a bundle cannot stand beside the earlier ones; empty lists if it can."""
        tables, copies = [], []
        if self.first:
            for name, table in self.contents[self.first].tables.items():
                own_table = content.tables.get(name)
                if own_table is not None and (what := own_table.difference(table)):
                    tables.append(f"the table of {name} is not that of the submission {self.first}: {what}")
        if what := self.repeats(bundle):
            copies.append(what)
        for name, other in self.contents.items():
            copied = sorted(
                run_id
                for run_id, own in content.logits.items()
                if any(_is_copy(own, theirs) for theirs in other.logits.values())
            )
            if copied:
                copies.append(f"the logits of run {', '.join(copied)} are those of the submission {name}: it is a copy")
        return {"tables": tables, "copies": copies}


def _is_copy(ours: Mapping[Key, Logits], theirs: Mapping[Key, Logits]) -> bool:
    """Return whether the logits for at least one finding are a copy: a run may mix those of several runs."""
    return any(ours[key].is_copy_of(theirs[key]) for key in ours.keys() & theirs.keys())


def _table(table: pd.DataFrame, cohort: PlannedCohort) -> HospitalTable:
    content = table.drop(columns=["image_id", "patient_id"])
    columns = tuple(sorted(map(str, content.columns)))
    hashes = pd.util.hash_pandas_object(content[list(columns)].astype(str), index=False).to_numpy(np.uint64)
    code = pd.factorize(table["patient_id"])[0]
    order = np.lexsort((hashes, code))
    parts = np.split(hashes[order], np.flatnonzero(np.diff(code[order])) + 1)
    patients = sorted(bytes_sha256(part.tobytes()) for part in parts)
    settings = (cohort.role, cohort.layout, cohort.headline_split)
    return HospitalTable(cohort.origin, settings, columns, np.sort(hashes), np.array(patients))


def _logits(frame: pd.DataFrame, table: pd.DataFrame) -> Iterator[tuple[str, Logits]]:
    """Yield each finding with its logits, if they are not constant."""
    rows = table.set_index("image_id").reindex(frame["image_id"])
    states = rows.drop(columns=["patient_id", "split", "view", "sex", "device", "age"])
    groups = [(states[name] == PRESENT).fillna(value=False).to_numpy(bool) for name in sorted(states.columns)]
    groups += [(rows["sex"] == "F").to_numpy(bool)]
    large = [group for group in groups if LEAST_IMAGES <= group.sum() <= len(group) - LEAST_IMAGES]
    for finding in frame.columns.drop("image_id"):
        logit = frame[finding].to_numpy(np.float64)
        if logit.min() < logit.max():
            rank = average_ranks(logit) / len(logit)
            ranks = np.array([rank[group].mean() for group in large])
            yield str(finding), Logits(len(logit), np.quantile(logit, QUANTILES), ranks)


def _iqr(values_Q: NDArray[np.float64]) -> float:
    """Return the distance of the quartiles."""
    return float(values_Q[75] - values_Q[25])


def _without(first_N: NDArray[np.uint64], second_N: NDArray[np.uint64]) -> int:
    """Return how many elements of the first array remain if each element of the second removes one equal element."""
    return (Counter(first_N.tolist()) - Counter(second_N.tolist())).total()
