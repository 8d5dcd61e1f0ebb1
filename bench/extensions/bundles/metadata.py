"""Write the metadata of a bundle for catalogs of data: a Croissant document and an RO-Crate document.

Both documents follow from the other files of the bundle. So `bench verify` makes them again and compares every byte.
"""

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from bench.extensions.bundles.archive import refused
from bench.extensions.bundles.citation_file import normalized
from bench.extensions.bundles.croissant import croissant
from bench.extensions.bundles.described import CROISSANT, RO_CRATE, Described
from bench.extensions.bundles.ro_crate import ro_crate
from harmonize.errors import ConfigError

VERSION = 1  # raise this version if the same files give other documents


def documents(described: Described) -> dict[str, bytes]:
    """Return {file name: content} of the two documents. The folder of the bundle must be checked or written by this program."""
    first = _bytes(croissant(described))
    return {CROISSANT: first, RO_CRATE: _bytes(ro_crate(described, first))}


def statement(citation: Mapping[str, Any]) -> dict[str, Any]:
    """Return what bundle.json states about metadata: version, citation and, without a date of release, today's date (UTC)."""
    written = {} if "date-released" in citation else {"written": datetime.now(UTC).date().isoformat()}
    return {"version": VERSION, "citation": citation, **written}


def check_metadata(folder: Path, stated: Any, where: str) -> tuple[str, ...]:
    """Make the metadata of a bundle again from its other members in `folder`; raise StoreError if a byte differs.

    `stated`: as `statement` returns it, from bundle.json. `where`: path of the bundle. Return the facts that nobody can check.
    """
    if (
        not isinstance(stated, dict)
        or set(stated) - {"written"} != {"version", "citation"}
        or stated["version"] != VERSION
    ):
        raise refused("its metadata have another version", where, "use the version that wrote the bundle")
    citation = stated["citation"]
    try:
        valid = isinstance(citation, dict) and normalized(citation, where) == citation
    except ConfigError as error:
        raise refused(f"bundle.json states an invalid citation ({error.what})", where) from error
    if not valid:
        raise refused("bundle.json states a citation that `bench export` does not write", where)
    written = stated.get("written", "")
    if bool(written) == ("date-released" in citation) or ("written" in stated and not _is_date(written)):
        raise refused("bundle.json states a date that `bench export` does not write", where)
    for name, content in documents(Described(folder, citation)).items():
        if (folder / name).read_bytes() != content:
            raise refused(f"{name} does not follow from the other files", where)
    return (f"metadata ({', '.join(citation)})",) if citation else ()


def _is_date(text: Any) -> bool:
    """Return whether a text is a date, as YYYY-MM-DD."""
    try:
        return bool(date.fromisoformat(text).isoformat() == text)
    except (TypeError, ValueError):
        return False


def _bytes(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=1, allow_nan=False) + "\n").encode()
