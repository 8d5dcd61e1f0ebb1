"""The tables of `bench list`, made without torch."""

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
    """Return one row per registry section: its name and its number of entries."""
    return [[name, str(len(registry.sections[name]))] for name in SECTIONS]


def entries(registry: Registry, section: str, glob: str) -> list[Entry]:
    """Return the entries of a section whose names match the pattern `glob`.

    Raises ConfigError if no name matches: an empty list would hide a typing error.
    """
    matching = [entry for entry in registry.sections[section].values() if fnmatchcase(entry.name, glob)]
    if not matching and glob != "*":
        registry.match(section, glob, "bench list")
        raise ConfigError(f"unknown entry {glob!r} of {section}", "bench list", f"`bench list {section}` shows all")
    return matching


def described(section: str, chosen: Sequence[Entry]) -> Table:
    """Return a header and one row per entry, without empty columns."""
    columns = [("name", [e.name for e in chosen]), ("title", [e.title if e.title != e.name else "" for e in chosen])]
    columns.append(("refers to", [_target(e) for e in chosen]))
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


def stored_run(folder: Path) -> list[str]:
    """Return six words that describe a run: architecture, optimizer, loss, uncertainty policy, preprocessing and seed.

    A derived run or an imported model has its kind and architecture instead. All words are empty if run.json is damaged;
    `bench check --store` reports that.
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
    """Return what an entry refers to, as text: timm model with tag, code with options, or preprocessing steps."""
    if entry.use.endswith(":timm_model"):
        return str(entry.options["name"])
    if entry.section == "preprocessing":
        ops = ", ".join(
            f"{name} ({_plain(options)})" if options else name for name, options in parse(entry.facts.get("ops", ()))
        )
        return f"{entry.facts.get('size')} px, {entry.facts.get('fit', 'squash')}: {ops}"
    return f"{entry.use} ({_plain(entry.options)})" if entry.options else entry.use


def _plain(options: Mapping[str, object]) -> str:
    """Return options as text.

    >>> _plain({"lr": 0.1, "nesterov": True})
    'lr 0.1, nesterov True'
    """
    return ", ".join(f"{key} {value}" for key, value in options.items())


def _number(entry: Entry, fact: str) -> str:
    return f"{entry.facts[fact]:.3f}" if fact in entry.facts else ""


def _source(entry: Entry) -> str:
    """Return the publication of an entry, or "this project" for the project's own code."""
    ours = not entry.plugin and (not entry.use or entry.use.startswith(("bench.", "harmonize.")))
    return entry.paper or ("this project" if ours else "")


def _licence(section: str, entry: Entry) -> str:
    """Return the license that an entry states; if it states none, the license of its dataset or of its package."""
    if section == "datasets":
        return str(labels_yaml()["datasets"].get(entry.name, {}).get("licence", entry.licence))
    if entry.licence or not (entry.use or entry.facts):
        return entry.licence
    package = entry.use.split(".")[0].partition(":")[0] or "bench"  # an entry without code uses code of the project
    if package == "bench":
        return "apache-2.0"
    try:
        facts = metadata(package)
    except PackageNotFoundError:
        return ""
    classifiers = [name for name in facts.get_all("Classifier", []) if name.startswith("License :: ")]
    first = "".join(name.rpartition(" :: ")[2] for name in classifiers[:1])
    licence = str(next((facts[key] for key in ("License-Expression", "License") if key in facts), first))
    return licence.lower() if 0 < len(licence) < 25 else f"as {package}"  # some packages state a full license text
