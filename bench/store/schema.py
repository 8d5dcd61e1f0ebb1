"""Read the schema of a store from its file store.json, and require the current schema.

Commands that read grids or write runs require the current schema. `bench migrate` updates older stores.
"""

from pathlib import Path

from bench.store.file_integrity import json_object
from harmonize.errors import StoreError

# current schema. Since schema 2, finished runs have checksums.json. Since schema 3, cohorts have the roles "internal" and
# "external", which were "home" and "away" before.
SCHEMA = 3
CHECKSUMS_SINCE = 2
FILE = "store.json"


def schema_of(root: Path) -> int:
    """Return the schema of the store in the folder `root`, an integer from 1 to SCHEMA.

    Raises StoreError if store.json is missing or damaged, or if this version does not support the schema.
    """
    marker = root / FILE
    try:
        schema = json_object(marker).get("schema")
    except (OSError, ValueError) as error:
        fix = f'write {{"schema": {SCHEMA}}} into it'
        raise StoreError(f"{FILE} is unreadable: {error}", str(marker), fix) from error
    if type(schema) is not int or not 1 <= schema <= SCHEMA:
        what = f"the store has schema {schema}, this version reads 1 to {SCHEMA}"
        raise StoreError(what, str(marker), "use the version that wrote it, or another --store")
    return schema


def require_present(root: Path) -> None:
    """Raise StoreError if the store has an older schema, because this program reads grids and runs only in the current schema."""
    if (schema := schema_of(root)) < SCHEMA:
        what = f"the store has schema {schema}, this version uses schema {SCHEMA}"
        fix = f"run `bench migrate --store {root}`: it trains no run again and changes no number"
        raise StoreError(what, str(root / FILE), fix)
