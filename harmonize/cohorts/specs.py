"""Locate cohorts: a folder with one subfolder per layout (chexpert/, nih/, ...), or a YAML file with one entry per cohort."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from harmonize.cohorts.cohort_choice import CohortChoice
from harmonize.datasets import LAYOUTS, PUBLISHED, TABLE, adapter
from harmonize.errors import ConfigError, DatasetError
from harmonize.labels.findings import check_source, labels_yaml
from harmonize.yaml_file import read_yaml

GOLD = "-gold"  # suffix of the name of a cohort's gold subset
_TEXTS = ("layout", "root", "table", "mapping")
_CHOICES = {f.name: type(f.default) for f in fields(CohortChoice)}
_KEYS = (*_TEXTS, "label_source", *_CHOICES)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # names become parts of file names


@dataclass(frozen=True, slots=True)
class CohortSpec:
    """One cohort to read. `table` and `mapping` (both files) belong to the layout `table` alone.

    label_source  `default`, or a label source that labels.yaml lists for the layout
    hybrid        (finding, label source) pairs: these findings come from another label source of the same images
    choice        settings that select images
    """

    name: str
    layout: str
    root: Path
    table: str = ""  # relative to root
    mapping: str = ""  # a path that exists as given
    label_source: str = "default"
    hybrid: tuple[tuple[str, str], ...] = ()
    choice: CohortChoice = field(default_factory=CohortChoice)


def read_data(path: Path) -> dict[str, CohortSpec]:
    """Return the cohorts of `--data`, by name, in the order of the folder's layouts or of the file.

    Raises DatasetError for a folder without cohorts, ConfigError with file and key for a faulty YAML file.
    """
    if path.is_dir():
        specs = {name: CohortSpec(name, name, path / name) for name in PUBLISHED if (path / name).is_dir()}
        if not specs:
            layout = _layout_of(path)
            fix = f"the folder should contain at least one of {'/ '.join(PUBLISHED)}/, or give a YAML file"
            if layout:
                fix = f"this looks like {layout} itself: give a YAML file with `{layout}: {{layout: {layout}, root: ...}}`"
                if path.resolve().name == layout:
                    fix = f"this looks like {layout} itself: give the folder above it"
            raise DatasetError("no cohort in this folder", str(path), fix)
        return specs
    if not path.exists():
        raise DatasetError("no such file or folder", str(path), "correct --data")
    content = read_yaml(path)
    if not isinstance(content, Mapping) or not content:
        raise ConfigError("no cohorts in the file", str(path), "write e.g. nih: {layout: nih, root: /data/nih}")
    return {str(name): _spec(str(name), entry, path) for name, entry in content.items()}


def _layout_of(path: Path) -> str:
    """Return the published layout whose files are in the folder itself, "" if there is none."""
    for layout in PUBLISHED:
        signature: tuple[str, ...] = adapter(layout).SIGNATURE
        if any(any(path.glob(pattern)) for pattern in signature):
            return layout
    return ""


def with_gold(specs: Mapping[str, CohortSpec], names: Sequence[str]) -> dict[str, CohortSpec]:
    """Return the cohorts, and the gold subset of cohort X for each name "X-gold" that is not a cohort itself.

    The gold subset has its own label source where the adapter defines GOLD_LABEL_SOURCE. Other names are ignored.
    """
    extended = dict(specs)
    for name in names:
        base = specs.get(name.removesuffix(GOLD))
        if name not in specs and base is not None:
            source = getattr(adapter(base.layout), "GOLD_LABEL_SOURCE", "")
            labels: dict[str, Any] = {"label_source": source, "hybrid": ()} if source else {}
            extended[name] = replace(base, name=name, choice=replace(base.choice, gold=True), **labels)
    return extended


def _spec(name: str, entry: Any, path: Path) -> CohortSpec:
    """Return one checked entry of the YAML file."""
    where = f"{path}: {name}"
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} cannot be a cohort's name", where, "use letters, digits, dots, dashes and underscores"
        )
    if not isinstance(entry, Mapping):
        raise ConfigError("not a cohort", where, f"write {name}: {{layout: nih, root: /data/nih}}")
    _check_keys(entry, where)
    layout = entry["layout"]
    if layout not in LAYOUTS:
        raise ConfigError(f"no layout {layout!r}", f"{where}.layout", _nearest(layout, LAYOUTS))
    own = [key for key in ("table", "mapping") if key in entry]
    if layout == TABLE and len(own) < 2:
        raise ConfigError(
            "the layout `table` needs a table and a mapping", where, "add `table: metadata.csv, mapping: mapping.yaml`"
        )
    if layout != TABLE and own:
        raise ConfigError(
            f"{own[0]} belongs to the layout `table`", f"{where}.{own[0]}", "remove it, or write `layout: table`"
        )
    root = path.parent / Path(entry["root"]).expanduser()  # an absolute root stays as it is
    mapping = str(_mapping_file(Path(entry["mapping"]), path, root, where)) if own else ""
    source, hybrid = _label_source(entry.get("label_source", "default"), layout, f"{where}.label_source")
    choice = _choice(entry, where)
    return CohortSpec(name, layout, root, entry.get("table", ""), mapping, source, hybrid, choice)


def _label_source(value: Any, layout: str, where: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Return the label source, and (finding, label source) for the findings with another source."""
    by_finding = {"default": value} if isinstance(value, str) else value
    if not isinstance(by_finding, Mapping) or not all(isinstance(v, str) for v in by_finding.values()):
        fix = "write a name, or {default: chexbert, Edema: visualchexbert}"
        raise ConfigError(f"{value!r} is no label source", where, fix)
    for source in by_finding.values():
        check_source(layout, source, where)
    known = {finding for names in labels_yaml()["spaces"].values() for finding in names}
    for finding in by_finding:
        if finding not in known | {"default"}:
            raise ConfigError(f"no finding {finding!r}", where, _nearest(str(finding), tuple(sorted(known))))
    usual = by_finding.get("default", "default")
    return usual, tuple((str(f), s) for f, s in by_finding.items() if f != "default" and s != usual)


def _choice(entry: Mapping[Any, Any], where: str) -> CohortChoice:
    """Return the settings that select images, from the keys of the entry."""
    settings: dict[str, Any] = {}
    for key, kind in _CHOICES.items():
        if key in entry:
            value = entry[key]
            if type(value) is not kind and not (kind is float and type(value) is int):
                raise ConfigError(f"{key} is {value!r}, not of type {kind.__name__}", f"{where}.{key}", "correct it")
            settings[key] = kind(value)
    try:
        return CohortChoice(**settings)
    except ValueError as error:
        raise ConfigError(
            str(error), where, "correct the value; docs/data-file.md lists what each key takes"
        ) from error


def _check_keys(entry: Mapping[Any, Any], where: str) -> None:
    """Raise ConfigError for a key that is unknown, missing or not text."""
    for key, value in entry.items():
        if key not in _KEYS:
            raise ConfigError(f"unknown key {key!r}", f"{where}.{key}", _nearest(str(key), _KEYS))
        if key in _TEXTS and (not isinstance(value, str) or not value):
            raise ConfigError(f"{key} is {value!r}, not text", f"{where}.{key}", "quote it")
    for key in ("layout", "root"):
        if key not in entry:
            raise ConfigError(f"no {key}", where, f"add `{key}:`")


def _mapping_file(mapping: Path, path: Path, root: Path, where: str) -> Path:
    """Return the path of the mapping file: in the folder of the YAML file, else below the root."""
    for folder in (path.parent, root):
        if (folder / mapping).is_file():
            return folder / mapping
    raise ConfigError(
        f"no mapping file {str(mapping)!r}", f"{where}.mapping", f"put it beside {path.name} or into {root}"
    )


def _nearest(word: str, known: tuple[str, ...]) -> str:
    """Return a hint with the closest valid word, or with all valid words."""
    close = get_close_matches(word, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"one of {', '.join(known)}"
