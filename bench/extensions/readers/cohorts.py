"""The answers of readers: read a CSV table, and store it for a cohort with numbers in place of the readers' names.

The table has the columns image_id, reader, and one for each finding with the cells 1, 0, -1 (uncertain) or blank.
"""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from bench.planning.manifest import Manifest
from bench.planning.planned_grid import PlannedCohort
from bench.store.checked_files import cohort_problem, read_cohort, write_cohort
from bench.store.store import Store
from harmonize.datasets import FAULT
from harmonize.datasets.csvfile import header, read_text, require_whole
from harmonize.datasets.ids import difference, examples, occurs_in
from harmonize.errors import DatasetError
from harmonize.labels.findings import ALL_FINDINGS

IMAGE, READER = "image_id", "reader"
FOLDER = "readers"
FOLDERS = (FOLDER,)


def save(manifest: Manifest, cohort: PlannedCohort, path: Path) -> str:
    """Store the answers of a table that are about images of a cohort; return a sentence on what was stored."""
    answers = read_answers(path)
    rows = matched(answers, manifest.table(cohort), cohort.name, path)
    findings = list(dict.fromkeys(name for run in manifest.ranked for name in run.config.findings))
    table = (
        rows.reindex(columns=[IMAGE, READER, *findings]).reset_index(drop=True).astype(dict.fromkeys(findings, "Int8"))
    )
    names = sorted(table[READER].unique())
    table[READER] = table[READER].map({name: number for number, name in enumerate(names, 1)}).astype("int32")
    write_cohort(_path(manifest, cohort), table, cohort.id)
    num_other = len(answers) - len(rows)
    left_out = f"; {num_other:,} answers about other images are left out" if num_other else ""
    return f"{cohort.name}: {len(names)} readers, {len(table):,} answers from {path}{left_out}"


def stored(manifest: Manifest, cohort: PlannedCohort) -> pd.DataFrame | None:
    """Return the stored answers about a cohort, None without any. Raises StoreError for a damaged table."""
    path = _path(manifest, cohort)
    return read_cohort(path) if path.is_file() else None


def _path(manifest: Manifest, cohort: PlannedCohort) -> Path:
    return manifest.store.root / FOLDER / f"{cohort.name}-{cohort.id}.parquet"


def problems(store: Store) -> Iterator[tuple[str, str, str]]:
    """Yield name, problem and fix of each damaged table."""
    for path in sorted((store.root / FOLDER).glob("*.parquet")):
        if problem := cohort_problem(path):
            yield f"readers {path.stem}", problem, "make it again with `bench readers`"


def read_answers(path: Path) -> pd.DataFrame:
    """Return the answers of a table, without repeated rows. Raises DatasetError for an unknown column or a wrong row."""
    columns = [name for name in header(path) if name not in (IMAGE, READER)]
    for name in columns:
        if name not in ALL_FINDINGS:
            fix = f"{DatasetError.hint(name, ALL_FINDINGS)}use names of findings, or remove the column"
            raise DatasetError(f"the column {name!r} is no finding", str(path), fix)
    rows = read_text(path, [IMAGE, READER], columns)
    require_whole(rows, path)
    rows = rows.drop(columns=FAULT)
    rows[READER] = rows[READER].str.strip()
    blank = (rows[READER] == "") | (rows[IMAGE] == "")
    if blank.any():
        where = f"{path}, row {rows.index[blank.to_numpy()][0]}"
        raise DatasetError(f"no {IMAGE} or no reader", where, "complete the row, or remove it")
    rows = rows[~rows.duplicated()]
    twice = rows[rows.duplicated([IMAGE, READER], keep=False)].sort_values([IMAGE, READER], kind="stable")
    if len(twice):
        what = f"reader {twice[READER].iloc[0]} gave two different answers about {twice[IMAGE].iloc[0]}"
        raise DatasetError(what, f"{path}, rows {' and '.join(map(str, twice.index[:2]))}", "keep one of the rows")
    return rows


def matched(answers: pd.DataFrame, cohort: pd.DataFrame, name: str, path: Path) -> pd.DataFrame:
    """Return the answers about images of a cohort table.

    Raises DatasetError without any, and for an id of another form than in the cohort, such as another case.
    """
    ids, known = answers[IMAGE], cohort[IMAGE].astype(str)
    is_known = occurs_in(ids, known)
    strange = ids[~is_known]
    if len(strange) and (changed := difference(strange, known)):
        what = f"an id of a reader's answer is written in another way than in {name}: {changed}"
    elif not is_known.any():
        what = f"no answer of a reader is of an image of {name}: {examples(ids, known)}"
    else:
        return answers[is_known]
    raise DatasetError(what, f"{path}, row {strange.index[0]}", f"write {IMAGE} as in the cohort, or remove the file")
