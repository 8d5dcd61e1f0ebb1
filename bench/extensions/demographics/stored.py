"""The attributes of patients in a store: people/<hash>.parquet with patient_id, race, ethnicity and insurance, one file for each cohort.

They lie beside the cohort tables and not in them, so they change no run id and get into no bundle.
"""

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from bench.extensions.demographics.files import NAMES, attributes_of
from bench.planning.plan import Plan
from bench.store.file_integrity import bytes_sha256
from bench.store.store import Store, write_table
from harmonize.errors import StoreError

FOLDER = KEY = "people"


def read_people(plan: Plan) -> dict[str, tuple[pd.DataFrame, list[Path]]]:
    """Return for each cohort with a file: the attributes by patient_id, and the paths of the files."""
    out = {}
    for ref in plan.refs:
        patient = plan.cohorts[ref.name].table["patient_id"].astype(str).drop_duplicates()
        tables, paths = [], []
        for place in ref.places:
            of_place = patient[patient.str.startswith(place.prefix)].str.removeprefix(place.prefix)
            if (found := attributes_of(place.layout, place.root, of_place)) is not None:
                tables.append(found[0].set_axis(place.prefix + found[0].index))
                paths.append(found[1])
        if tables:
            out[ref.name] = pd.concat(tables).sort_index(), paths
    return out


def write_people(store: Store, table: pd.DataFrame) -> str:
    """Write the attributes of a cohort, readable by the owner only; return the hash that names the file."""
    table = table.rename_axis("patient_id").reset_index()
    name = bytes_sha256(table.to_csv(index=False).encode())[:24]
    write_table(store.root / FOLDER / f"{name}.parquet", table, mode=0o600)
    return name


def people(store: Store, name: str) -> pd.DataFrame:
    """Return the attributes by patient_id. Raises StoreError if the file is missing, damaged or changed."""
    path = store.root / FOLDER / f"{name}.parquet"
    try:
        table: pd.DataFrame = pq.read_table(path).to_pandas()[["patient_id", *NAMES]]
    except (OSError, ValueError, KeyError) as error:
        raise StoreError.unreadable(path, error) from error
    if bytes_sha256(table.to_csv(index=False).encode())[:24] != name:
        raise StoreError("the attributes of the patients changed", str(path), "run the grid again with its data")
    return table.set_index("patient_id")
