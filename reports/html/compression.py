"""Compress text for the page: gzip as base64, unpacked by a script on demand."""

import base64
import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Packed:
    """HTML fragments by the id under which a script finds them."""

    fragments: Mapping[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """Return all fragments as one compressed block, "" for none."""
        return packed(json.dumps(self.fragments, ensure_ascii=True, separators=(",", ":"))) if self.fragments else ""


def packed(source: str, level: int = 6) -> str:
    """Return a text as base64 of gzip: a third of the size, identical bytes each time, and parsed only on demand.

    Level 9 takes four times as long as 6 and saves 1 % on a page of 500 runs.
    """
    return base64.b64encode(gzip.compress(source.encode(), level, mtime=0)).decode() if source else ""
