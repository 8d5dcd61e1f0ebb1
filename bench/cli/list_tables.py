"""What `bench list` shows of the registry: tables of text, made without torch."""

import json
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

from bench.config.preprocessing_ops import parse
from bench.config.registry import SECTIONS, Entry, Registry
from harmonize.errors import ConfigError
from harmonize.labels.findings import labels_yaml

Table = list[list[str]]


def overview(registry: Registry) -> Table:
    """Return one row per section: its name and how many entries it has."""
    return [[name, str(len(registry.sections[name]))] for name in SECTIONS]


def entries(registry: Registry, section: str, glob: str) -> list[Entry]:
    """Return the entries of a section whose names match.

    Raises ConfigError when none does: an empty list would read as if all were well.
    """
    found = [entry for entry in registry.sections[section].values() if fnmatchcase(entry.name, glob)]
    if not found and glob != "*":
        registry.match(section, glob, "bench list")
        raise ConfigError(f"{glob!r} is no entry of {section}", "bench list", f"`bench list {section}` shows all")
    return found


def described(section: str, chosen: Sequence[Entry]) -> Table:
    """Return a header and one row per entry; columns that no entry fills are left out."""
    columns = [("name", [e.name for e in chosen]), ("title", [e.title if e.title != e.name else "" for e in chosen])]
    columns.append(("points at", [_target(e) for e in chosen]))
    if section == "architectures":
        columns += [(word, [str(e.facts.get(word, "")) for e in chosen]) for word in ("family", "corpus")]
        columns += [
            ("million params", [_number(e, "params") for e in chosen]),
            ("GMACs at 224", [_number(e, "gmacs") for e in chosen]),
            ("min px", [str(e.facts.get("min_px", "")) for e in chosen]),
        ]
    columns += [
        ("licence", [_licence(section, e) for e in chosen]),
        ("source", [_source(e) for e in chosen]),
        ("plug-in", [e.plugin for e in chosen]),
        ("about", [e.about for e in chosen]),
    ]
    filled = [(word, cells) for word, cells in columns if any(cells)]
    return [[word for word, _ in filled], *([cells[i] for _, cells in filled] for i in range(len(chosen)))]


def aligned(table: Table) -> list[str]:
    """Return one line per row, columns two spaces apart; columns of numbers end at one edge."""
    if not table:
        return []
    lines = [""] * len(table)
    for column in zip(*table, strict=True):
        width, numbers = max(map(len, column)), all(_is_number(cell) for cell in column[1:] if cell)
        for i, cell in enumerate(column):
            lines[i] += (cell.rjust(width) if numbers and len(column) > 1 else cell.ljust(width)) + "  "
    return [line.rstrip() for line in lines]


def stored_run(folder: Path) -> list[str]:
    """Return six words for what a run is: architecture, optimizer, loss, policy, preprocessing, seed; of others the kind.

    All are empty where run.json is damaged, which `bench check --store` is about.
    """
    try:
        document: dict[str, Any] = dict(json.loads((folder / "run.json").read_text()))
        config: dict[str, Any] = dict(document.get("config", {}))
    except (OSError, ValueError, TypeError):
        return [""] * 6
    if "kind" in document:
        words = [str(document["kind"]), str(config.get("architecture", ""))]
    else:
        words = [
            str(config.get(key, "")) for key in ("architecture", "optimizer", "loss", "uncertainty", "preprocessing")
        ]
        words.append(f"seed {config.get('seed', 0)}")
    return words + [""] * (6 - len(words))


def _target(entry: Entry) -> str:
    """Return what an entry stands for: the timm model and tag, the code and its options, or the preprocessing."""
    if entry.use.endswith(":timm_model"):
        return str(entry.options["name"])
    if entry.section == "preprocessing":
        ops = ", ".join(
            f"{name} ({_plain(options)})" if options else name for name, options in parse(entry.facts.get("ops", ()))
        )
        return f"{entry.facts.get('size')} px, {entry.facts.get('fit', 'squash')}: {ops}"
    return f"{entry.use} ({_plain(entry.options)})" if entry.options else entry.use


def _plain(options: Mapping[str, object]) -> str:
    """Return options as they are read aloud.

    >>> _plain({"lr": 0.1, "nesterov": True})
    'lr 0.1, nesterov True'
    """
    return ", ".join(f"{key} {value}" for key, value in options.items())


def _number(entry: Entry, fact: str) -> str:
    return f"{entry.facts[fact]:.3f}" if fact in entry.facts else ""


def _is_number(cell: str) -> bool:
    return cell.replace(".", "", 1).isdigit()


def _source(entry: Entry) -> str:
    """Return where an entry is published; what is published nowhere and is of this project's making says so."""
    ours = not entry.plugin and (not entry.use or entry.use.startswith(("bench.", "harmonize.")))
    return entry.paper or ("this project" if ours else "")


def _licence(section: str, entry: Entry) -> str:
    """Return the licence of an entry: stated, or of the dataset, or of the package that its code comes from."""
    if section == "datasets":
        return str(labels_yaml()["datasets"].get(entry.name, {}).get("licence", entry.licence))
    if entry.licence or not (entry.use or entry.facts):
        return entry.licence
    package = entry.use.split(".")[0].partition(":")[0] or "bench"  # ops that an entry only names are the project's
    if package == "bench":
        return "apache-2.0"
    try:
        facts = metadata(package)
    except PackageNotFoundError:
        return ""
    classes = [each.rpartition(" :: ")[2] for each in facts.get_all("Classifier", []) if each.startswith("License :: ")]
    said = str(next((facts[key] for key in ("License-Expression", "License") if key in facts), "".join(classes[:1])))
    return said.lower() if 0 < len(said) < 25 else f"as {package}"  # torch names eight, some packages print the text
