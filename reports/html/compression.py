"""Compress text for the page with gzip, as base64; a script of the page unpacks the text when a reader needs it."""

import base64
import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Packed:
    """HTML fragments that the page contains in compressed form. fragments: id -> HTML; a script finds them by id."""

    fragments: Mapping[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """Return all fragments as one compressed text (base64); "" if there are no fragments."""
        return packed(json.dumps(self.fragments, ensure_ascii=True, separators=(",", ":"))) if self.fragments else ""


def packed(source: str, level: int = 6) -> str:
    """Return a text compressed with gzip, as base64 text; "" for "". Equal texts give equal results.

    The result has about a third of the size of the text. `level`: compression level of gzip, 1 to 9. Level 9 takes four
    times as long as level 6, and saves 1 % on a page of 500 runs.
    """
    return base64.b64encode(gzip.compress(source.encode(), level, mtime=0)).decode() if source else ""
