"""Read predictions, labels and scores of runs from the store.

The inputs are a grid's manifest, cohort tables, prediction files and records of runs. No image, GPU or torch is needed.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bench.config.run_config import RunConfig
from bench.config.settings import STUDY
from bench.planning.manifest import Manifest
from bench.planning.planned_grid import PlannedCohort, PlannedRun
from bench.planning.protocol import LEFT_OUT, CohortRole
from bench.scoring.across_runs.covariances import StoredEstimates
from bench.scoring.patient_groups import PatientGroups
from bench.scoring.scored_split import ScoredSplit, without
from bench.scoring.studies import Studies
from bench.store.checked_folders import CheckedFolder, ScoresFolder
from harmonize.cohorts import label_mapping
from harmonize.cohorts.label_mapping import REPORT
from harmonize.cohorts.pooled import HOSPITAL, hospital_of
from harmonize.datasets import native
from harmonize.errors import StoreError
from harmonize.labels.findings import UNMAPPED_CODE
from harmonize.labels.states import states
from reports import extensions, hooks

SCORING_VERSION = 15  # increase this number if a change of the code may change the scores of the same predictions
FRAMES = (
    "scores",
    "gaps",
    "reliability",
    "confusion",
    "delong",
    "operating_points",
    "sources",
    "source_confusion",
    "diagnostics",
    "mappings",
    *("decomposition", "references", "subgroups", "curves"),
    *(name for module in extensions.modules(hooks.Schemas) for name in (*module.SHOWN, *module.DETAILS)),
)
STORED = (
    *FRAMES,
    *(name for module in extensions.modules(hooks.Schemas) for name in module.SCORE_TABLES),
)  # of each run
INFLUENCES = "influences.safetensors"


@dataclass(frozen=True, slots=True, eq=False)
class SharedSplit:
    """Labels and patients of a scored split, without logits.

    All runs that predicted the same images share this object. `rows`: for each image of the split, the index of its row
    in the prediction file. `start`: for a split of studies, the first row of each study.
    """

    rows: NDArray[np.intp]
    start: NDArray[np.intp] | None
    scored_split: ScoredSplit

    def of_run(self, logit_KN: NDArray[np.float32]) -> ScoredSplit:
        """Return the split with the logits [K, N] of a prediction file; a study has the highest logit of its images."""
        logit = logit_KN.take(self.rows, 1)
        return self.scored_split.of_run((logit if self.start is None else np.maximum.reduceat(logit, self.start, 1)).T)


@dataclass(frozen=True, slots=True)
class CohortLabels:
    """The labels of a cohort's N images and K findings, in the order of the cohort table."""

    table: pd.DataFrame
    state_NK: NDArray[np.int8]
    split: NDArray[np.str_]
    mapped: Mapping[str, NDArray[np.int8]] = field(default_factory=dict)  # other mapping -> label states [N, K]
    # image ids and result of the last call of `parts`
    latest: list[tuple[pa.ChunkedArray, list[SharedSplit]]] = field(default_factory=list)

    def of_hospitals(self, names: Sequence[str]) -> Self:
        """Return the labels of the images of some hospitals of a pool."""
        rows = self.table[HOSPITAL].isin(names).to_numpy()
        if rows.all():
            return self
        table = self.table[rows].reset_index(drop=True)
        mapped = {name: state[rows] for name, state in self.mapped.items()}
        return replace(
            self, table=table, state_NK=self.state_NK[rows], split=self.split[rows], mapped=mapped, latest=[]
        )

    def parts(
        self, manifest: Manifest, cohort: PlannedCohort, path: Path, image_id: pa.ChunkedArray
    ) -> list[SharedSplit]:
        """Return the scored splits of a prediction file, from the image ids in this file.

        If the last call had the same image ids, its result is returned, so runs with the same images share the objects.
        `path`: the prediction file, for the error message. Raises StoreError for an image that the cohort table does not
        have.
        """
        if not self.latest or not self.latest[0][0].equals(image_id):
            self.latest[:] = [(image_id, self._shared(manifest, cohort, pd.Index(image_id.to_pandas()), path))]
        return self.latest[0][1]

    def _shared(self, manifest: Manifest, cohort: PlannedCohort, ids: "pd.Index[str]", path: Path) -> list[SharedSplit]:
        index = pd.Index(self.table["image_id"]).get_indexer(ids)
        if (index < 0).any():
            raise StoreError(
                f"{int((index < 0).sum())} predicted images of {cohort.name} are missing in its table",
                str(path),
                "run the grid again with `bench run --grid`",
            )
        shared = []
        for name, mask in CohortRole.of(cohort).scored_splits(self.split[index]):
            if mask.any():
                predicted = np.flatnonzero(mask)
                rows = index[predicted]
                table, state_NK = self.table.iloc[rows], self.state_NK[rows]
                mapped = {name: state[rows] for name, state in self.mapped.items()}
                studies = Studies.of(table) if manifest.settings.unit == STUDY else None
                if studies:
                    predicted = predicted[studies.order]
                    table = studies.attributes(table)
                    state_NK = studies.states(state_NK)
                    mapped = {name: studies.states(state) for name, state in mapped.items()}
                images, patients = (table[c].to_numpy(str) for c in ("image_id", "patient_id"))
                patients.flags.writeable = False
                groups = PatientGroups.of(
                    table,
                    mapped,
                    {
                        name: values
                        for module in extensions.modules(hooks.Cohorts)
                        for name, values in module.attributes(manifest, cohort, table).items()
                    },
                )
                no_logits = np.zeros(state_NK.shape, np.float32)
                hospital, split = (cohort, name) if name != LEFT_OUT else _left_out(manifest, str(images[0]))
                scored_split = ScoredSplit(
                    hospital.name,
                    split,
                    reference(manifest, hospital, split),
                    images,
                    patients,
                    no_logits,
                    state_NK,
                    patient_groups=groups,
                    of_children=hospital.of_children,
                    reading=manifest.settings.reading,
                )
                shared.append(SharedSplit(predicted, studies.start if studies else None, scored_split))
        return shared


def _left_out(manifest: Manifest, image_id: str) -> tuple[PlannedCohort, str]:
    """Return the hospital of an image that a run leaves out, an external hospital of the run, and its headline split."""
    [name] = hospital_of(manifest.source, [image_id])
    hospital = next(hospital for hospital in manifest.left_out if hospital.name == name)
    return hospital, hospital.headline_split


def labels_of(
    manifest: Manifest, cohort: PlannedCohort, config: RunConfig, findings: Sequence[str] | None = None
) -> CohortLabels:
    """Return the label states [N, K] of a cohort's N images for K findings, and the split of each image.

    This project assigns the splits of an internal cohort. An external cohort has the splits of its dataset. By default,
    the K findings are the findings of the configuration `config`.
    """
    table = manifest.table(cohort)
    split = CohortRole.of(cohort).split_of(table, config)
    return CohortLabels(table, states(table, findings or config.findings), split.to_numpy(str))


def mapped_states(
    table: pd.DataFrame, layout: str, mapping: str, findings: tuple[str, ...]
) -> dict[str, NDArray[np.int8]]:
    """Return {mapping: label states [N, K]} for each label mapping that changes a state of the grid's `mapping`.

    The result is empty for a cohort that was given as a table, because such a cohort has no native labels. If the
    stored states of a finding are not from the grid's mapping, the labels of this finding come from another source.
    Then the finding keeps its stored states. If the layout's own labels are from reports, the entry REPORT has them for these
    findings and the images with a label; columns "report:<label>" have them if the layout's own columns do not.
    """
    if layout == "table":
        return {}
    stored = states(table, findings)
    own = states(label_mapping.apply(table, layout, mapping, findings), findings)
    differs = {difference["mapping"] for difference in label_mapping.differences(layout, findings)}
    out = {}
    for other in (name for name in label_mapping.MAPPINGS if name != mapping and name in {*differs, "default"}):
        remapped = states(label_mapping.apply(table, layout, other, findings), findings)
        state_NK = np.where((own == stored).all(0), remapped, stored)
        if (state_NK != stored).any():
            out[other] = state_NK
    prefix = f"{REPORT}:"
    if reports := [name for name in map(str, table) if name.startswith(prefix)]:
        of_reports = table[reports].rename(columns=lambda name: native(name.removeprefix(prefix)))
        own = states(label_mapping.apply(of_reports, layout, mapping, findings), findings)
    if label_mapping.block(layout)["reference"] == REPORT and (own != stored).any():
        out[REPORT] = np.where(stored == UNMAPPED_CODE, stored, own)
    return out


def _bundled_states(table: pd.DataFrame, findings: tuple[str, ...]) -> dict[str, NDArray[np.int8]]:
    """Return {mapping: label states [N, K]} from a cohort table of a bundle.

    The column "mapping:finding" has the states of a finding under a mapping; without this column, the states in the
    column "finding" are used. A mapping without any column "mapping:finding" is left out.
    """
    out = {}
    for other in (*label_mapping.MAPPINGS, REPORT):
        columns = [name if (name := f"{other}:{finding}") in table else finding for finding in findings]
        if columns != list(findings):
            out[other] = states(table, columns)
    return out


LABEL_SOURCES = {  # label source -> the words for readers
    "report": "a program that reads reports",
    "radiologist": "radiologists",
    "phantom": "the program that drew the images",
    "stated": "stated by the owner of the data",
}


def reference(manifest: Manifest, cohort: PlannedCohort, split: str = "") -> str:
    """Return the label source of a split: report, radiologist, phantom, or stated (by the owner of the data)."""
    if manifest.phantom:
        return "phantom"
    return "radiologist" if split.startswith("expert_") else str(cohort.facts.get("reference", "stated"))


def unfinished(manifest: Manifest, run: PlannedRun) -> str:
    """Return the reason why a run cannot be scored, "" if the run can be scored.

    A run can be scored if it is done and intact, and has predictions for every cohort. A trained run must also have
    features, except in a store made from bundles. The runs that a derived run combines must be finished.
    """
    state, folder = manifest.store.state(run.id), manifest.store.run_dir(run.id)
    if run.kind and (reason := manifest.store.first_unfinished(run.sources, manifest.names)):
        return reason
    if state == "failed":
        return manifest.store.reason(run.id)
    if state == "done" and (problems := CheckedFolder(folder).problems()):
        return " ".join(next(iter(problems.items())))
    required = {"predictions": "parquet"} | ({} if run.kind or manifest.of_bundles else {"features": "npz"})
    stored = {kind: _names_in(folder / kind) for kind in required} if state == "done" else {}
    for cohort in manifest.cohorts if state == "done" else ():
        for kind, ending in required.items():
            if f"{cohort.name}.{ending}" not in stored[kind]:
                return f"no {kind} on {cohort.name}"
    return "" if state == "done" else "not finished"


def _names_in(folder: Path) -> set[str]:
    """Return the names in a folder; no names if it is missing. One listing is faster than a question for each file."""
    try:
        return {path.name for path in folder.iterdir()}
    except FileNotFoundError:
        return set()


def load_scored_splits(
    manifest: Manifest, run: PlannedRun, config: RunConfig, labels_cache: dict[tuple[str, str, str], CohortLabels]
) -> list[ScoredSplit]:
    """Load the logits and labels of a run: the scored internal splits and each external cohort.

    The columns are the findings of the run; those that the grid does not score have no labels.
    `labels_cache` has the labels of the cohorts that earlier runs needed; labels that are not in the cache are added.
    Raises StoreError if a file is missing or damaged, or differs from its checksum.
    """
    splits: list[ScoredSplit] = []
    findings = config.findings
    for cohort in manifest.cohorts:
        key = (
            cohort.name,
            "/".join(findings),
            f"{config.cohort!r}/{config.leave_out}/{config.drawn_by}" if cohort.role == "internal" else "",
        )
        if key not in labels_cache:
            labels = labels_of(manifest, cohort, config)
            by_mapping = {config.mapping: labels.state_NK}
            if manifest.of_bundles:
                by_mapping |= _bundled_states(labels.table, findings)
            else:
                by_mapping |= mapped_states(labels.table, cohort.layout, config.mapping, findings)
            own = by_mapping.get(manifest.settings.mapping, labels.state_NK)
            mapped = {name: state for name, state in by_mapping.items() if (state != own).any()}
            labels_cache[key] = replace(labels, state_NK=own, mapped=mapped)
        folder = manifest.store.run_dir(run.id)
        name = f"predictions/{cohort.name}.parquet"
        path = folder / name
        table = _stored(path, CheckedFolder(folder).read(name), ["image_id", *findings])
        logit_KN = np.stack([table[finding].to_numpy() for finding in findings]).astype(np.float32, copy=False)
        shared = labels_cache[key].parts(manifest, cohort, path, table["image_id"])
        uncounted = manifest.uncounted(findings)
        splits += [without(entry.of_run(logit_KN), uncounted, findings) for entry in shared]
    return splits


def scored_ids(manifest: Manifest, runs: Sequence[PlannedRun] | None = None) -> list[str]:
    """Return the ids of the finished and scored runs among `runs`, in the order of `runs`.

    By default, `runs` are the trained runs of the grid.
    """
    return [
        r.id
        for r in (manifest.runs if runs is None else runs)
        if not unfinished(manifest, r) and has_scores(manifest, r.id)
    ]


def has_scores(manifest: Manifest, run_id: str) -> bool:
    """Return whether the scores of a run are complete; they may be outdated."""
    return (manifest.scores / run_id / "KEY").is_file()


def _stored(
    path: Path, content: bytes, columns: Sequence[str] | None = None, dictionaries: Sequence[str] = ()
) -> pa.Table:
    """Return the given columns of a Parquet file, by default all, from the bytes of the file.

    `dictionaries`: text columns that are returned as Arrow dictionaries. This function takes half as long as opening the
    file as a pyarrow data set. Raises StoreError, with `path` in the message, for a damaged file or a missing column.
    """
    try:
        with pq.ParquetFile(pa.BufferReader(content), read_dictionary=list(dictionaries)) as file:
            table = file.read(columns, use_threads=False)
            return table.select(columns) if columns else table
    except (OSError, KeyError, ValueError) as error:
        raise StoreError.unreadable(path, error) from error


def load_scores(manifest: Manifest, run_ids: Sequence[str], name: str) -> pd.DataFrame:
    """Return the stored score table `name` of several runs as one table.

    Raises StoreError for a file that is missing or damaged, or differs from its checksum.
    """
    return as_frame([stacked_scores(manifest, run_ids, name)]) if run_ids else pd.DataFrame()


def stacked_scores(manifest: Manifest, run_ids: Sequence[str], name: str, dictionaries: Sequence[str] = ()) -> pa.Table:
    """Return the stored score table `name` of one or several runs as one Arrow table; errors as in `load_scores`.

    `dictionaries`: text columns that are returned as Arrow dictionaries, which are read up to seven times as fast.
    """
    folders = [manifest.scores / run_id for run_id in run_ids]
    file = f"{name}.parquet"
    return _stacked([_stored(folder / file, ScoresFolder(folder).read(file), None, dictionaries) for folder in folders])


def as_frame(tables: Sequence[pa.Table]) -> pd.DataFrame:
    """Return the rows of Arrow tables as one data frame.

    Arrow concatenates the tables twice as fast as pandas.
    """
    # Text columns of the data frame stay Arrow arrays, and selecting rows is faster if each array has one chunk.
    frame: pd.DataFrame = _stacked(tables).combine_chunks().to_pandas()
    return frame


def _stacked(tables: Sequence[pa.Table]) -> pa.Table:
    """Concatenate Arrow tables.

    Empty tables are left out, because the columns of an empty table may have no type.
    """
    filled = [table for table in tables if table.num_rows] or tables[:1]
    if len(filled) == 1:
        return filled[0]
    stacked = pa.concat_tables(filled, promote_options="permissive")
    # the attributes of a data frame describe one run, so a table of several runs has none
    metadata = stacked.schema.metadata or {}
    if b"pandas" in metadata:
        metadata = {**metadata, b"pandas": json.dumps({**json.loads(metadata[b"pandas"]), "attributes": {}}).encode()}
    return stacked.replace_schema_metadata(metadata)


@dataclass(frozen=True, slots=True)
class StoredInfluences:
    """The influences of patients on the scores of one run, in a file.

    value: name of a score, such as "auroc/external" -> its value. places: name -> key of a sample -> offset of its float32
    numbers in the file, and their number.
    """

    path: Path
    value: Mapping[str, float]
    places: Mapping[str, Mapping[str, tuple[int, int]]]

    @classmethod
    def of(cls, manifest: Manifest, run_id: str) -> Self:
        """Read the values; raises StoreError if the file is missing or damaged, or differs from its checksum."""
        folder = manifest.scores / run_id
        content = ScoresFolder(folder).read(INFLUENCES)
        try:
            # the format safetensors: the length of the header, the header, numbers
            start = 8 + int.from_bytes(content[:8], "little")
            header = json.loads(content[8:start])
            values = json.loads(header.pop("__metadata__")["values"])
            places: dict[str, dict[str, tuple[int, int]]] = {name: {} for name in values}
            for key in sorted(header):
                name, _, sample = key.rpartition("|")
                first, last = header[key]["data_offsets"]
                places[name][sample] = start + first, (last - first) // np.dtype(np.float32).itemsize
        except (KeyError, ValueError, TypeError) as error:
            raise StoreError.unreadable(folder / INFLUENCES, error) from error
        return cls(folder / INFLUENCES, values, places)

    def read(self, name: str) -> dict[str, NDArray[np.float32]]:
        """Return the influences of patients on a score: key of a sample -> [P]."""
        return {
            sample: np.fromfile(self.path, "<f4", num, offset=offset)
            for sample, (offset, num) in self.places[name].items()
        }


def load_estimates(manifest: Manifest, run_ids: Sequence[str]) -> StoredEstimates:
    """Return the estimates of several runs; influences are read when they are needed. Errors as in `StoredInfluences.of`."""
    stored = {run_id: StoredInfluences.of(manifest, run_id) for run_id in run_ids}
    values = {
        run_id: {name: value for name, value in of.value.items() if np.isfinite(value)} for run_id, of in stored.items()
    }
    return StoredEstimates(values, lambda run_id, name: stored[run_id].read(name))
