"""Write filled checklists as Markdown, or as values for JSON."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bench.extensions.cards.checklist_facts import Fact
from bench.extensions.cards.checklists import NOT_APPLICABLE, FilledChecklist, FilledItem
from bench.extensions.cards.markdown import escaped, markdown_table
from bench.planning.manifest import Manifest
from bench.store.store import write_bytes
from harmonize.cohorts.hospital_names import SYNTHETIC_NOTICE

FILE = "checklists.md"
_INTRODUCTION = (
    "This program filled each item that a stored value answers; the links lead to these values. Authors and data owners"
    " write the rest, and check what is filled."
)


def write_checklists(manifest: Manifest, checklists: Sequence[FilledChecklist], output: Path | None = None) -> Path:
    """Write filled checklists as Markdown; return the path, by default checklists.md in the folder of the grid's report."""
    path = output or manifest.store.root / "report" / manifest.name / FILE
    write_bytes(path, markdown(manifest, checklists, path.parent).encode())
    return path


def markdown(manifest: Manifest, checklists: Sequence[FilledChecklist], folder: Path) -> str:
    """Return filled checklists as a Markdown text with a table for each; links are relative to `folder`."""
    root = manifest.store.root
    blocks = [
        f"# Reporting checklists of {escaped(manifest.title)}",
        *[SYNTHETIC_NOTICE] * manifest.phantom,
        _INTRODUCTION,
    ]
    for checklist in checklists:
        first: dict[Fact, str] = {}  # fact -> the first item that it answers; the others refer to this item
        for item in checklist.items:
            first = dict.fromkeys(item.facts, item.id) | first
        rows = [
            (
                item.id,
                escaped(item.section),
                escaped(item.asks),
                item.state,
                _answer(item, first, root, folder),
                _rest(item),
            )
            for item in checklist.items
        ]
        blocks += [
            f"## {escaped(checklist.title)}",
            f"Source: {escaped(checklist.source)}. The items are in our own words.",
            f"{escaped(checklist.summary)}.",
            markdown_table(("Item", "Section", "What is asked", "State", "From the store", "To write"), rows),
        ]
    return "\n\n".join(blocks) + "\n"


def json_document(manifest: Manifest, checklists: Sequence[FilledChecklist]) -> dict[str, Any]:
    """Return filled checklists as values for JSON: paths of places are inside the store."""
    return {
        "grid": manifest.name,
        "synthetic": manifest.phantom,
        "checklists": [asdict(checklist) for checklist in checklists],
    }


def _answer(item: FilledItem, first: Mapping[Fact, str], root: Path, folder: Path) -> str:
    """Return the facts of an item, each with links to its places. `first`: fact -> the item that states it in full."""
    texts = []
    for fact in item.facts:
        if first[fact] != item.id:
            texts.append(f"see item {first[fact]}")
            continue
        files: dict[str, list[str]] = {}
        for place in fact.places:
            files.setdefault(place.file, []).append(place.key)
        links = []
        for file, keys in files.items():
            path = Path(os.path.relpath(root / file, folder)).as_posix()
            links.append(f"[{escaped(Path(file).name)}: {escaped(', '.join(keys))}]({quote(path)})")
        texts.append(f"{escaped(fact.text)} ({', '.join(links)})")
    return "<br>".join(dict.fromkeys(texts))


def _rest(item: FilledItem) -> str:
    if item.state == NOT_APPLICABLE:
        return f"– ({escaped(item.rest)})"
    return f"**{item.by}**: {escaped(item.rest)}" if item.by else ""
