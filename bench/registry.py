"""registry.yaml: every named thing a user can choose. Data first; code is found by a lazy "module:attribute"."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path
from typing import Any, Self

from harmonize.errors import ConfigError, RegistryError
from harmonize.yamlfile import read_yaml

SECTIONS = (
    "architectures",
    "weights",
    "optimizers",
    "losses",
    "uncertainty",
    "preprocessing",
    "augmentation",
    "metrics",
    "datasets",
)
_COMMON = {"use", "with", "paper", "version", "title", "timm"}
_FACTS = {  # further keys an entry of that section may have
    "architectures": {"family", "imagenet", "corpus", "licence", "pretrained"},
    "weights": set(),
    "uncertainty": {"states", "blank"},
    "optimizers": {"schedule"},
    "preprocessing": {"size", "fit", "input", "ops"},
    "metrics": {"better", "headline"},
    "datasets": {"headline_split"},
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One named choice. `use` is "module:attribute", imported only when needed."""

    section: str
    name: str
    use: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    title: str = ""
    paper: str = ""
    version: int = 1  # part of the run id: raise it when the entry's numbers may change

    def load(self) -> Any:
        """Import what `use` points at.

        Raises RegistryError when it cannot be imported.
        """
        module, _, attribute = self.use.partition(":")
        try:
            return getattr(import_module(module), attribute)
        except (ImportError, AttributeError, ValueError) as error:
            fix = "correct `use`, or install the package it needs"
            raise RegistryError(f"cannot load {self.use!r}: {error}", f"{self.section}.{self.name}", fix) from error

    @property
    def identity(self) -> dict[str, Any]:
        """What of the entry decides numbers: it is hashed into the run id."""
        facts = {k: v for k, v in self.facts.items() if k in {"size", "fit", "input", "ops"}}
        return {"use": self.use, "with": dict(self.options), "version": self.version, **facts}


@dataclass(frozen=True, slots=True)
class Registry:
    """All entries, by section and name, in the order of the file."""

    path: Path
    sections: Mapping[str, Mapping[str, Entry]]

    @classmethod
    def read(cls, path: Path | None = None) -> Self:
        """Read registry.yaml: the path given, else ./registry.yaml, else the copy that is installed.

        Raises ConfigError or RegistryError with file and place.
        """
        path = path or shipped("registry.yaml")
        raw = read_yaml(path)
        if not isinstance(raw, Mapping) or raw.get("schema") != 1:
            raise RegistryError("not a registry of schema 1", str(path), "begin the file with `schema: 1`")
        sections: dict[str, dict[str, Entry]] = {name: {} for name in SECTIONS}
        for section, entries in raw.items():
            if section == "schema":
                continue
            if section not in sections:
                raise RegistryError(f"unknown section {section!r}", str(path), _hint(section, SECTIONS))
            for name, block in (entries or {}).items():
                sections[section][str(name)] = _entry(section, str(name), block or {}, f"{path}: {section}.{name}")
        return cls(path, sections)

    def find(self, section: str, name: str, where: str) -> Entry:
        """Look a name up; on a typing error, suggest the nearest name."""
        entries = self.sections[section]
        if name in entries:
            return entries[name]
        if section == "architectures" and name.startswith("timm:"):
            return _entry(section, name, {"timm": name.removeprefix("timm:"), "family": "other"}, where)
        close = get_close_matches(name, entries, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ConfigError(f"no {name!r} in {section}", where, f"{hint}`bench list {section}` shows all {len(entries)}")

    def match(self, section: str, pattern: str, where: str) -> list[str]:
        """Return the names that a glob matches, in the order of the file; a plain name matches itself only."""
        if not any(c in pattern for c in "*?["):
            return [self.find(section, pattern, where).name]
        names = [name for name in self.sections[section] if fnmatchcase(name, pattern)]
        if not names:
            raise ConfigError(f"{pattern!r} matches nothing in {section}", where, f"`bench list {section}` shows all")
        return names

    def __iter__(self) -> Iterator[Entry]:
        return (entry for entries in self.sections.values() for entry in entries.values())


def _hint(name: object, known: Any) -> str:
    close = get_close_matches(str(name), list(known), n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(known))}"


def _entry(section: str, name: str, block: Mapping[str, Any], where: str) -> Entry:
    if not isinstance(block, Mapping):
        raise RegistryError(f"{block!r} is not a block of keys", where, "write `{use: ..., with: {...}}`")
    allowed = _COMMON | _FACTS.get(section, set())
    for key in block:
        if key not in allowed:
            raise RegistryError(f"unknown key {key!r}", where, _hint(key, allowed))
    use, options = str(block.get("use", "")), dict(block.get("with") or {})
    if "timm" in block:
        use, options = "bench.models:timm_model", {"name": str(block["timm"]), **options}
    facts = {k: v for k, v in block.items() if k in _FACTS.get(section, set())}
    version = block.get("version", 1)
    if type(version) is not int:
        raise RegistryError(f"version is {version!r}, not a whole number", where, "give 1, 2, 3 ...")
    return Entry(
        section, name, use, options, facts, str(block.get("title", name)), str(block.get("paper", "")), version
    )


def shipped(name: str) -> Path:
    """Return a data file of the project: in the working directory, else as installed, else beside the sources.

    Raises ConfigError when it is nowhere.
    """
    packed = Path(__file__).parent / "data" / name
    for path in (Path(name), packed, Path(__file__).parent.parent / name):
        if path.is_file():
            return path
    raise ConfigError(f"no {name}", str(Path.cwd()), "give its path, or install the package again")
