"""Retired words do not come back in documents, page, messages and docstrings."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ALLOWED = {"bench/planning/planned_grid.py": {"doubles"}}  # file: the retired words that it may write, as keys of files
RETIRED = {  # the word to write by retired word
    "home": "internal hospital, internal",
    "at home": "internal hospital, internal",
    "hospital away": "external hospital, external",
    "hospitals away": "external hospital, external",
    "away from home": "external hospital, external",
    "lost away": "gap",
    "judged rows": "scored rows",
    "doubles": "duplicate images",
    "handful": "bin, chunk, a few",
    "sick called healthy": "underdiagnosis",
}


def prose() -> Iterator[tuple[str, str]]:
    """Yield file and text of all documents, page templates, and strings of the packages that hold more than one word."""
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        yield path.relative_to(ROOT).as_posix(), path.read_text()
    for path in (ROOT / "reports" / "templates").glob("*.j2"):
        yield (
            path.relative_to(ROOT).as_posix(),
            re.sub(r"\{[{%#].*?[}%#]\}|<[^>]*>", " ", path.read_text(), flags=re.DOTALL),
        )
    for package in ("bench", "reports", "harmonize"):
        for path in (ROOT / package).rglob("*.py"):
            strings = (node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant))
            yield (
                path.relative_to(ROOT).as_posix(),
                "\n".join(s for s in strings if isinstance(s, str) and " " in s.strip()),
            )


@pytest.fixture(scope="module")
def texts() -> list[tuple[str, str]]:
    return list(prose())


@pytest.mark.parametrize("word", RETIRED)
def test_a_retired_word_does_not_come_back(word: str, texts: list[tuple[str, str]]) -> None:
    pattern = re.compile(rf"\b{re.escape(word)}\b".replace(r"\ ", r"\s+"), re.IGNORECASE)
    places = [
        f"{path}: {match[0]}"
        for path, text in texts
        if word not in ALLOWED.get(path, ())
        for match in pattern.finditer(text)
    ]
    assert not places, f"write {RETIRED[word]!r}"
