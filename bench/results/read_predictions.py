"""From the store to scores and to the tables of the report: no image, no GPU, no torch.

Everything here is a function of a grid's manifest, cohort tables, prediction files and run records.
"""

import io
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bench.config.run_config import RunConfig
from bench.planning.manifest import Manifest
from bench.planning.plan import states
from bench.planning.protocol import CohortRole
from bench.scoring.patient_groups import PatientGroups
from bench.scoring.scored_split import ScoredSplit
from bench.store.checksums import damaged_files
from bench.store.store import Store
from harmonize.cohorts import label_mapping as labelmap
from harmonize.errors import StoreError

DETAIL = ("decomposition", "references", "subgroups", "curves")
SCORING_VERSION = 12  # raise it when the same predictions may give other numbers
FRAMES = (
    "scores", "gaps", "reliability", "confusion", "delong", "operating_points", "sources", "source_confusion", "diagnostics",
    "histograms", "mappings", *DETAIL,
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Shared:
    """What every run shares that predicted the same images in the same order: all of a part but its logits, and its rows [n]."""

    rows: NDArray[np.intp]
    part: ScoredSplit


@dataclass(frozen=True, slots=True)
class Labels:
    """One cohort's labels, aligned with its table."""

    table: pd.DataFrame
    state_NK: NDArray[np.int8]
    split: NDArray[np.str_]
    mapped: Mapping[str, NDArray[np.int8]] = field(default_factory=dict)  # states [N, K] under other mappings, if asked
    latest: list[tuple[pa.ChunkedArray, list[Shared]]] = field(default_factory=list)  # of the images asked for last

    def parts(
        self, manifest: Manifest, cohort: Mapping[str, Any], path: Path, image_id: pa.ChunkedArray
    ) -> list[Shared]:
        """Return the scored parts of the images of the predictions at `path`; runs with the same images share them.

        Raises StoreError, naming the predictions, for an image that the table lacks.
        """
        if not self.latest or not self.latest[0][0].equals(image_id):
            self.latest[:] = [(image_id, self._shared(manifest, cohort, pd.Index(image_id.to_pandas()), path))]
        return self.latest[0][1]

    def _shared(self, manifest: Manifest, cohort: Mapping[str, Any], ids: "pd.Index[str]", path: Path) -> list[Shared]:
        at = pd.Index(self.table["image_id"]).get_indexer(ids)
        if (at < 0).any():
            raise StoreError(
                f"{int((at < 0).sum())} predictions on {cohort['name']} are of images that its table lacks",
                str(path),
                "run the grid again with `bench run --grid`",
            )
        found = []
        for name, mask in CohortRole.of(cohort).scored_splits(self.split[at]):
            if mask.any():
                by = reference(manifest, cohort, name)
                chosen = at[mask]
                table = self.table.iloc[chosen]
                images, patients = (table[c].to_numpy(str) for c in ("image_id", "patient_id"))
                patients.flags.writeable = False
                who = PatientGroups.of(table, {key: state[chosen] for key, state in self.mapped.items()})
                state_NK = self.state_NK[chosen]
                none = np.zeros(state_NK.shape, np.float32)
                part = ScoredSplit(cohort["name"], name, by, images, patients, none, state_NK, patient_groups=who)
                found.append(Shared(np.flatnonzero(mask), part))
        return found


def labels_of(
    manifest: Manifest, cohort: Mapping[str, Any], config: RunConfig, findings: Sequence[str] | None = None
) -> Labels:
    """Return states [N, K] and the split of each image: assigned at the internal hospital, the dataset's own externally.

    K counts `findings`, by default those that the run learns.
    """
    table = manifest.table(cohort)
    split = CohortRole.of(cohort).split_of(table, config)
    return Labels(table, states(table, findings or config.findings), split.to_numpy(str))


def mapped_states(
    table: pd.DataFrame, layout: str, mapping: str, findings: tuple[str, ...]
) -> dict[str, NDArray[np.int8]]:
    """Return the label states of a published layout by mapping, for each other mapping that changes any state.

    A finding keeps its states if the grid's mapping does not reproduce them: its labels are from another source.
    """
    if layout == "table":
        return {}
    stored = states(table, findings)
    own = states(labelmap.apply(table, layout, mapping, findings), findings)
    differs = {found["mapping"] for found in labelmap.differences(layout, findings)}
    out = {}
    for other in (name for name in labelmap.MAPPINGS if name != mapping and name in {*differs, "default"}):
        again = states(labelmap.apply(table, layout, other, findings), findings)
        state_NK = np.where((own == stored).all(0), again, stored)
        if (state_NK != stored).any():
            out[other] = state_NK
    return out


def _stated(table: pd.DataFrame, findings: tuple[str, ...]) -> dict[str, NDArray[np.int8]]:
    """Return the same from a bundle's table, which has no native labels: a column "mapping:finding" for each that changes."""
    out = {}
    for other in labelmap.MAPPINGS:
        columns = [name if (name := f"{other}:{finding}") in table else finding for finding in findings]
        if columns != list(findings):
            out[other] = states(table, columns)
    return out


def reference(manifest: Manifest, cohort: Mapping[str, Any], split: str = "") -> str:
    """Return who labelled a split of a cohort: report, radiologist, stated, or phantom."""
    if manifest.content["phantom"]:
        return "phantom"
    return "radiologist" if split.startswith("expert_") else str(cohort["facts"].get("reference", "stated"))


def unfinished(manifest: Manifest, run: Mapping[str, Any]) -> str:
    """Return why a run cannot be scored, "" when it can: it is done, whole, and has predictions on every cohort of the grid."""
    state, folder = manifest.store.state(run["id"]), manifest.store.run_dir(run["id"])
    if "kind" in run and (reason := manifest.store.first_unfinished(run["sources"])):
        return reason
    if state == "failed":
        return manifest.store.reason(run["id"])
    if state == "done" and (flawed := damaged_files(folder)):
        return " ".join(next(iter(flawed.items())))
    kept = {"predictions": "parquet"} | ({} if "kind" in run or manifest.of_bundles else {"features": "npz"})
    for cohort in manifest.cohorts if state == "done" else ():
        for what, ending in kept.items():
            if not (folder / what / f"{cohort['name']}.{ending}").is_file():
                return f"no {what} on {cohort['name']}"
    return "" if state == "done" else "not finished"


def parts_of(
    manifest: Manifest,
    run: Mapping[str, Any],
    config: RunConfig,
    known: dict[tuple[str, str, str], Labels],
    content_of: Callable[[Path], bytes] = Path.read_bytes,
) -> list[ScoredSplit]:
    """Return what is scored of a run: the internal hospital's evaluated splits, each external cohort. `known` keeps labels between runs.

    `content_of` reads a file of predictions. Raises StoreError when one is missing or damaged.
    """
    parts: list[ScoredSplit] = []
    findings = config.findings
    for cohort in manifest.cohorts:
        place = (cohort["name"], "/".join(findings), repr(config.cohort) if cohort["role"] == "internal" else "")
        if place not in known:
            found = labels_of(manifest, cohort, config)
            read = {config.mapping: found.state_NK}
            if manifest.of_bundles:
                read |= _stated(found.table, findings)
            else:
                read |= mapped_states(found.table, str(cohort["layout"]), config.mapping, findings)
            own = read.get(manifest.settings.mapping, found.state_NK)
            mapped = {name: state for name, state in read.items() if (state != own).any()}
            known[place] = replace(found, state_NK=own, mapped=mapped)
        path = manifest.store.run_dir(run["id"]) / "predictions" / f"{cohort['name']}.parquet"
        try:
            content = content_of(path)
        except OSError as error:
            raise StoreError.unreadable(path, error) from error
        table = _stored(path, ["image_id", *findings], content)
        logit_KN = np.stack([table[finding].to_numpy() for finding in findings]).astype(np.float32, copy=False)
        shared = known[place].parts(manifest, cohort, path, table["image_id"])
        parts += [each.part.of_run(logit_KN.take(each.rows, 1).T) for each in shared]
    return parts


def scored_ids(manifest: Manifest, runs: Sequence[Mapping[str, Any]] | None = None) -> list[str]:
    """Return the ids of the finished runs that have scores, in the order of the grid; by default of those that train."""
    return [
        r["id"]
        for r in (manifest.runs if runs is None else runs)
        if not unfinished(manifest, r) and (manifest.scores / r["id"] / "KEY").is_file()
    ]


def _stored(path: Path, columns: Sequence[str] | None = None, content: bytes | None = None) -> pa.Table:
    """Return the same as it lies there, or some of its columns."""
    with _opened(path, content) as file:
        return file.read(columns, use_threads=False).select(columns or file.schema_arrow.names)


@contextmanager
def _opened(path: Path, content: bytes | None = None) -> Iterator[pq.ParquetFile]:
    """Open a file, or what was in it: as one file, not as a data set of files, which takes twice as long."""
    try:
        with pq.ParquetFile(path if content is None else pa.BufferReader(content)) as file:
            yield file
    except (OSError, KeyError, ValueError) as error:
        raise StoreError.unreadable(path, error) from error


def load_scores(manifest: Manifest, run_ids: Sequence[str], name: str) -> pd.DataFrame:
    """Return one derived table of several runs, stacked before it becomes a data frame: half as long as after."""
    tables = [_stored(manifest.scores / run_id / f"{name}.parquet") for run_id in run_ids]
    if not tables:
        return pd.DataFrame()
    filled = [table for table in tables if table.num_rows] or tables[:1]
    stacked = pa.concat_tables(filled, promote_options="permissive").combine_chunks()  # rows are chosen from one piece
    frame: pd.DataFrame = stacked.to_pandas()
    frame.attrs = frame.attrs if len(filled) == 1 else {}  # of one run: not what all have
    return frame


def load_replicates(manifest: Manifest, run_id: str) -> dict[str, NDArray[np.float64]]:
    """Return the bootstrap replicates of a run, by name.

    Raises StoreError when they are missing or damaged.
    """
    path = manifest.scores / run_id / "replicates.npz"
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:  # read at once, not array by array
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        fix = "delete this folder and score again: `bench score`"
        raise StoreError(f"cannot read the replicates: {error}", str(path), fix) from error


def run_facts(store: Store, run_id: str) -> dict[str, Any]:
    """Return env, cost, seal and trained.json of a run as one mapping, {} where they are absent or damaged (`unfinished` says so)."""
    folder, out = store.run_dir(run_id), dict[str, Any]()
    flawed = damaged_files(folder)
    for name in ("env", "cost", "seal", "trained"):
        path = folder / f"{name}.json"
        out[name] = json.loads(path.read_text()) if path.is_file() and path.name not in flawed else {}
    return out
