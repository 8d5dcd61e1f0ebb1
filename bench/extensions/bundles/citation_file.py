"""Read a CITATION.cff: what people state about a study and no store knows, such as its authors and its license.

CITATION.cff is the Citation File Format, version 1.2. GitHub and Zenodo read it, too.
"""

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harmonize.errors import ConfigError
from harmonize.yaml_file import read_yaml

TEXTS = ("title", "abstract", "version")  # keys with any text
ADDRESSES = ("url", "repository", "license-url")  # keys with a web address
# of an author, without mail
NAMES = ("given-names", "name-particle", "family-names", "name-suffix", "name", "affiliation")
MOST_TEXT = 2000  # characters of a text
_FIX = "correct the file; https://citation-file-format.github.io describes its format"
_PATTERNS = {
    "doi": r"10\.\d{4,9}/\S+",
    "orcid": r"https://orcid\.org/\d{4}-\d{4}-\d{4}-\d{3}[\dX]",
    "license": r"[A-Za-z0-9.+-]+",
    "date-released": r"\d{4}-\d{2}-\d{2}",
    **dict.fromkeys(ADDRESSES, r"https?://[^\s<>\"{}|\\^`]+"),
}


def read_citation(path: Path) -> dict[str, Any]:
    """Return the keys of a CITATION.cff that describe a bundle, in the form of `normalized`.

    Raises ConfigError if the file is missing or is no CITATION.cff, and for a key that `normalized` refuses.
    """
    content = read_yaml(path)
    if not isinstance(content, Mapping) or "cff-version" not in content:
        raise ConfigError("the file is no CITATION.cff: it has no cff-version", str(path), _FIX)
    return normalized(content, str(path))


def normalized(content: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the keys of `content` that describe a bundle, as JSON values; other keys, such as mail addresses, are left out.

    Texts have no line breaks. `license` and `keywords` are lists of texts, and `authors` is a list of mappings to texts. A
    result is its own normal form. Raises ConfigError for a value of another type or form, and for an author without a name.
    """
    out: dict[str, Any] = {}
    for key in (*TEXTS, *ADDRESSES, "doi", "date-released"):
        if key in content:
            out[key] = _text(key, content[key], where)
    if "date-released" in out:
        try:
            dt.date.fromisoformat(out["date-released"])
        except ValueError as error:
            raise ConfigError(f"date-released: {error}", where, _FIX) from error
    for key in ("license", "keywords"):
        if key in content:
            values = [content[key]] if isinstance(content[key], str) and key == "license" else content[key]
            out[key] = [_text(key, value, where) for value in _list(key, values, where)]
    if "authors" in content:
        out["authors"] = [_author(value, where) for value in _list("authors", content["authors"], where)]
    return out


def author_name(author: Mapping[str, str]) -> str:
    """Return the full name of an author.

    >>> author_name({"given-names": "Ada", "name-particle": "van", "family-names": "Dyk"})
    'Ada van Dyk'
    """
    return author.get("name") or " ".join(author[key] for key in NAMES[:4] if key in author)


def _author(value: Any, where: str) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise ConfigError("an author is not a mapping", where, _FIX)
    author = {key: _text(key, value[key], where) for key in (*NAMES, "orcid") if key in value}
    if not author_name(author):
        raise ConfigError("an author has no name", where, _FIX)
    return author


def _list(key: str, values: Any, where: str) -> Sequence[Any]:
    if not isinstance(values, list) or len(values) > MOST_TEXT:
        raise ConfigError(f"{key} is not a list", where, _FIX)
    return values


def _text(key: str, value: Any, where: str) -> str:
    """Return a value as a text in one line. Raises ConfigError for a value that is no text, date or number, and for a wrong form."""
    is_text = isinstance(value, (str, dt.date)) or (key == "version" and type(value) in (int, float))
    text = " ".join(str(value).split()) if is_text else ""
    if not text or len(text) > MOST_TEXT or not text.isprintable() or not re.fullmatch(_PATTERNS.get(key, ".*"), text):
        raise ConfigError(f"{key} has no valid value: {str(value)[:80]!r}", where, _FIX)
    return text
