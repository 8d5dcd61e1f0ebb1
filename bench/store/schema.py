"""store.json: the schema of a store. Commands that read grids or write runs need the present schema; `bench migrate` updates older stores."""

import json
from pathlib import Path

from harmonize.errors import StoreError

SCHEMA = 3  # 1: the first; 2: finished runs have checksums.json; 3: cohorts are "internal" or "external" (before: "home", "away")
CHECKSUMS_SINCE = 2
FILE = "store.json"


def schema_of(root: Path) -> int:
    """Return the schema of a store.

    Raises StoreError where store.json is damaged, or of a schema that this version does not know.
    """
    marker = root / FILE
    try:
        schema = json.loads(marker.read_text()).get("schema")
    except (OSError, ValueError, AttributeError) as error:
        fix = f'it should hold {{"schema": {SCHEMA}}}'
        raise StoreError(f"{FILE} is unreadable: {error}", str(marker), fix) from error
    if type(schema) is not int or not 1 <= schema <= SCHEMA:
        what = f"the store has schema {schema}, this version reads 1 to {SCHEMA}"
        raise StoreError(what, str(marker), "use the version that wrote it, or another --store")
    return schema


def require_present(root: Path) -> None:
    """Raise StoreError for a store of an older schema: grids are read and runs are written in the present one alone."""
    if (schema := schema_of(root)) < SCHEMA:
        what = f"the store has schema {schema}, this version uses schema {SCHEMA}"
        fix = f"`bench migrate --store {root}` brings it up to date: no run is trained again, no number changes"
        raise StoreError(what, str(root / FILE), fix)
