"""Write the metadata of a bundle for catalogs of data: a Croissant document and an RO-Crate document.

Both documents follow from the other files of the bundle. So `bench verify` makes them again and compares every byte.
"""

import json
from collections.abc import Mapping
from typing import Any

from bench.sharing.bundle.croissant import croissant
from bench.sharing.bundle.described import CROISSANT, RO_CRATE, Described
from bench.sharing.bundle.ro_crate import ro_crate

VERSION = 1  # raise this version if the same files give other documents


def documents(described: Described) -> dict[str, bytes]:
    """Return {file name: content} of the two documents. The folder of the bundle must be checked or written by this program."""
    first = _bytes(croissant(described))
    return {CROISSANT: first, RO_CRATE: _bytes(ro_crate(described, first))}


def _bytes(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=1, allow_nan=False) + "\n").encode()
