"""What the report states about registrations."""

from typing import Any

from bench.extensions.registration.grid_registrations import page_facts
from bench.planning.manifest import Manifest
from bench.results.run_table import RunRecords


def meta(manifest: Manifest, records: RunRecords) -> dict[str, Any]:
    """Return {"registrations": see `page_facts`}."""
    return {"registrations": page_facts(manifest, records)}
