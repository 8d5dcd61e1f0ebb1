"""Read the list of cohorts: from a folder with a subfolder per layout, or from a YAML file with an entry per cohort."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from harmonize.cohorts.cohort_choice import CohortChoice
from harmonize.datasets import LAYOUTS, PUBLISHED, SPLITS, TABLE, adapter
from harmonize.errors import ConfigError, DatasetError
from harmonize.labels.findings import check_source, labels_yaml
from harmonize.yaml_file import read_yaml

GOLD = "-gold"  # X-gold is the gold subset of cohort X: the images that physicians or radiologists labeled
_TEXTS = ("layout", "root", "table", "mapping", "population")
_CHOICES = {f.name: type(f.default) for f in fields(CohortChoice)}
_KEYS = (*_TEXTS, "label_source", "exclude", "split", *_CHOICES)
# a cohort's name has at most 80 characters: it becomes part of file names, which have at most 255 bytes
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


@dataclass(frozen=True, slots=True)
class CohortSpec:
    """The description of a cohort that can be loaded. Only the layout `table` uses the files `table` and `mapping`.

    label_source  `default`, or a label source that labels.yaml lists for the layout
    hybrid        pairs (finding, label source) of the findings whose labels do not come from `label_source`
    training      additional training labels, for grids that compare label sources: pairs (label source, H). If the
                  label source is `hybrid`, H has the same form as the field hybrid; otherwise H is not used
    choice        settings that select images
    exclude       CSV files that list images or patients to remove
    split         pairs (split, CSV file that lists its images or patients) or (split, share of the patients), in place of the
                  dataset's own splits
    population    name of the population; cohorts with the same name use the same patient ids; "" = not stated
    """

    name: str
    layout: str
    root: Path
    # path or pattern relative to root, or pairs (split, path or pattern)
    table: str | tuple[tuple[str, str], ...] = ""
    mapping: str = ""  # path of the mapping file
    label_source: str = "default"
    hybrid: tuple[tuple[str, str], ...] = ()
    choice: CohortChoice = field(default_factory=CohortChoice)
    exclude: tuple[Path, ...] = ()
    split: tuple[tuple[str, Path | float], ...] = ()
    population: str = ""
    training: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = ()


def read_data(path: Path) -> dict[str, CohortSpec]:
    """Return the cohorts in the folder or file of `--data`, by name.

    Cohorts of a folder are in the order of PUBLISHED; cohorts of a file are in the order of the file.

    Raises DatasetError for a folder without cohorts, and ConfigError for an error in the YAML file.
    """
    if path.is_dir():
        specs = {name: CohortSpec(name, name, path / name) for name in PUBLISHED if (path / name).is_dir()}
        if not specs:
            layout = _layout_of(path)
            fix = f"use a folder that contains at least one of {'/ '.join(PUBLISHED)}/, or a YAML file"
            if layout:
                fix = f"this is the {layout} folder: use a YAML file with `{layout}: {{layout: {layout}, root: ...}}`"
                if path.resolve().name == layout:
                    fix = f"this is the {layout} folder: use its parent folder"
            raise DatasetError("no cohort in this folder", str(path), fix)
        return specs
    if not path.exists():
        raise DatasetError("no such file or folder", str(path), "correct --data")
    content = read_yaml(path)
    if not isinstance(content, Mapping) or not content:
        raise ConfigError("no cohorts in the file", str(path), "write e.g. nih: {layout: nih, root: /data/nih}")
    return {str(name): _spec(str(name), entry, path) for name, entry in content.items()}


def _layout_of(path: Path) -> str:
    """Return the published layout whose files are directly in the folder, or ""."""
    for layout in PUBLISHED:
        signature: tuple[str, ...] = adapter(layout).SIGNATURE
        if any(any(path.glob(pattern)) for pattern in signature):
            return layout
    return ""


def with_gold(specs: Mapping[str, CohortSpec], names: Sequence[str]) -> dict[str, CohortSpec]:
    """Return `specs` and, for each name "X-gold" that is no cohort yet, the gold subset of cohort X.

    Other names are ignored. If the adapter defines GOLD_LABEL_SOURCE, the labels of the gold subset come from this
    label source.
    """
    extended = dict(specs)
    for name in names:
        base = specs.get(name.removesuffix(GOLD))
        if name not in specs and base is not None:
            source = getattr(adapter(base.layout), "GOLD_LABEL_SOURCE", "")
            labels: dict[str, Any] = {"label_source": source, "hybrid": ()} if source else {}
            gold = replace(base.choice, gold=True)
            extended[name] = replace(base, name=name, choice=gold, **labels)
    return extended


def _spec(name: str, entry: Any, path: Path) -> CohortSpec:
    """Check one entry of the YAML file and return its CohortSpec."""
    where = f"{path}: {name}"
    if not _NAME.fullmatch(name):
        fix = "begin with a letter or digit; use letters, digits, dots, dashes and underscores, at most 80 characters"
        raise ConfigError(f"invalid cohort name {name!r}", where, fix)
    if not isinstance(entry, Mapping):
        raise ConfigError("the entry is not a block of keys", where, f"write {name}: {{layout: nih, root: /data/nih}}")
    _check_keys(entry, where)
    layout = entry["layout"]
    if layout not in LAYOUTS:
        raise ConfigError(f"no layout {layout!r}", f"{where}.layout", ConfigError.suggestion(layout, LAYOUTS))
    table_keys = [key for key in ("table", "mapping") if key in entry]
    if layout == TABLE and len(table_keys) < 2:
        fix = "add `table: metadata.csv, mapping: mapping.yaml`"
        raise ConfigError("the layout `table` needs the keys table and mapping", where, fix)
    if layout != TABLE and table_keys:
        raise ConfigError(
            f"the key {table_keys[0]} is only valid with the layout `table`",
            f"{where}.{table_keys[0]}",
            "remove it, or write `layout: table`",
        )
    root = path.parent / Path(entry["root"]).expanduser()  # if the root is absolute, pathlib ignores path.parent
    mapping = str(_mapping_file(Path(entry["mapping"]), path, root, where)) if table_keys else ""
    source, hybrid = _label_source(entry.get("label_source", "default"), layout, f"{where}.label_source")
    choice = _choice(entry, where)
    exclude = _exclude(entry.get("exclude", []), path, f"{where}.exclude")
    population = entry.get("population", "")
    if population and not _NAME.fullmatch(population):
        fix = "write a short name of letters, digits, dots, dashes and underscores"
        raise ConfigError(f"invalid population {population!r}", f"{where}.population", fix)
    table = entry.get("table", "")
    if isinstance(table, Mapping):
        table = tuple((str(split), file) for split, file in table.items())
    split = _split(entry.get("split", {}), path, f"{where}.split")
    return CohortSpec(name, layout, root, table, mapping, source, hybrid, choice, exclude, split, population)


def _exclude(value: Any, path: Path, where: str) -> tuple[Path, ...]:
    """Return the paths of the lists of excluded images; relative paths are relative to the folder of the YAML file."""
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        fix = "write the path of a CSV file, or [one.csv, two.csv]"
        raise ConfigError(f"exclude is {value!r}, not a file", where, fix)
    files = tuple(path.parent / Path(name).expanduser() for name in names)
    for file in files:
        if not file.is_file():
            raise ConfigError(f"no file {str(file)!r}", where, "correct the path; it is relative to the data file")
    return files


def _split(value: Any, path: Path, where: str) -> tuple[tuple[str, Path | float], ...]:
    """Return the splits that the key `split` names, with their lists or their shares of the patients."""
    shares = isinstance(value, Mapping) and all(isinstance(share, float) for share in value.values())
    if not isinstance(value, Mapping) or not (shares or all(isinstance(name, str) for name in value.values())):
        fix = "write {train: train.csv, val: valid.csv}, or shares such as {train: 0.8, val: 0.1, test: 0.1}"
        raise ConfigError(f"split is {value!r}, neither files nor shares", where, fix)
    ConfigError.known_keys(value, ("train", "val", "test"), where)
    if not shares:
        return tuple((str(name), file) for name, listed in value.items() for file in _exclude(listed, path, where))
    if value and (min(value.values()) <= 0 or abs(sum(value.values()) - 1) > 1e-9):
        fix = "write positive shares that sum to 1"
        raise ConfigError(f"the shares of split sum to {sum(value.values()):g}", where, fix)
    return tuple((str(name), share) for name, share in value.items())


def _label_source(value: Any, layout: str, where: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Return the label source of the cohort, and pairs (finding, label source) for findings with another source."""
    by_finding = {"default": value} if isinstance(value, str) else value
    if not isinstance(by_finding, Mapping) or not all(isinstance(v, str) for v in by_finding.values()):
        fix = "write a name, or {default: chexbert, Edema: visualchexbert}"
        raise ConfigError(f"{value!r} is not a label source", where, fix)
    for source in by_finding.values():
        check_source(layout, source, where)
    for finding in by_finding:
        if finding != "default":
            _check_finding(finding, where)
    default_source = by_finding.get("default", "default")
    return default_source, tuple(
        (str(finding), source)
        for finding, source in by_finding.items()
        if finding != "default" and source != default_source
    )


def _check_finding(finding: Any, where: str) -> None:
    """Raise ConfigError if no label space has the finding."""
    findings = {name for names in labels_yaml()["spaces"].values() for name in names}
    if finding not in findings:
        raise ConfigError(f"no finding {finding!r}", where, ConfigError.suggestion(finding, sorted(findings)))


def _choice(entry: Mapping[Any, Any], where: str) -> CohortChoice:
    """Return the settings that select images, read from the keys of an entry."""
    settings: dict[str, Any] = {}
    for key, value_type in _CHOICES.items():
        if key in entry:
            value = entry[key]
            if type(value) is not value_type and not (value_type is float and type(value) is int):
                fix = f"write a {value_type.__name__}"
                raise ConfigError(f"{key} is {value!r}, not of type {value_type.__name__}", f"{where}.{key}", fix)
            settings[key] = value_type(value)
    try:
        return CohortChoice(**settings)
    except ValueError as error:
        fix = "correct the value; docs/real-data.md lists the valid values of each key"
        raise ConfigError(str(error), where, fix) from error


def _check_keys(entry: Mapping[Any, Any], where: str) -> None:
    """Raise ConfigError for a key that is unknown, missing or not text."""
    ConfigError.known_keys(entry, _KEYS, where)
    for key, value in entry.items():
        files = value if key == "table" and isinstance(value, Mapping) else {"": value}
        if unknown := sorted(map(str, {*files} - {"", *SPLITS})):
            raise ConfigError(f"no split {unknown[0]!r}", f"{where}.table", f"choose from: {', '.join(SPLITS)}")
        if key in _TEXTS and not (files and all(isinstance(text, str) and text for text in files.values())):
            raise ConfigError(f"{key} is {value!r}, not text", f"{where}.{key}", "put the value in quotes")
    for key in ("layout", "root"):
        if key not in entry:
            raise ConfigError(f"the key {key} is missing", where, f"add `{key}:`")


def _mapping_file(mapping: Path, path: Path, root: Path, where: str) -> Path:
    """Return the path of the mapping file, which is in the folder of the YAML file or in the root."""
    found = [folder / mapping for folder in (path.parent, root) if (folder / mapping).is_file()]
    if len({file.read_bytes() for file in found}) > 1:
        what = f"{found[0]} and {found[1]} are two different mapping files"
        raise ConfigError(what, f"{where}.mapping", "write the whole path of the right one")
    if found:
        return found[0]
    if not root.is_dir():
        hint = ConfigError.hint(root.name, [folder.name for folder in root.parent.glob("*/")])
        fix = f"{hint}correct `root:`, which has table and images; it is relative to the folder of {path.name}"
        raise ConfigError(f"no folder {str(root)!r}", f"{where.removesuffix('.mapping')}.root", fix)
    fix = f"put the file into the folder of {path.name} or into {root}"
    raise ConfigError(f"no mapping file {str(mapping)!r}", f"{where}.mapping", fix)
