"""registry.yaml: every named thing a user can choose. Data first; code is found by a lazy "module:attribute"."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase
from importlib import import_module
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, Self

from bench.config.plugins import installed_plugins
from bench.config.stable_names import current_name, stable_name
from harmonize.errors import ConfigError, CxrError, RegistryError
from harmonize.yaml_file import read_yaml

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
_COMMON = {"use", "with", "paper", "version", "title", "about", "licence"}
_FACTS = {  # further keys an entry of that section may have
    "architectures": {"timm", "family", "imagenet", "corpus", "min_px", "params", "gmacs"},
    "weights": set(),
    "optimizers": {"schedule", "closure"},
    "uncertainty": {"states", "blank"},
    "preprocessing": {"size", "fit", "input", "ops"},
    "metrics": {"better", "headline", "given"},
    "datasets": {"headline_split"},
}
_VALUES: Mapping[str, tuple[Any, ...]] = {  # facts with few values
    "schedule": ("cosine", "constant", "plateau"),
    "states": (1, 3),
    "closure": (True, False),
    "blank": ("zero", "ignore"),
    "better": ("higher", "lower"),
}
_WITHOUT_CODE = {"weights", "preprocessing", "augmentation"}  # entries that need no `use`


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
    about: str = ""  # what the title does not say
    licence: str = ""  # of pretrained weights, of data, of code from elsewhere
    plugin: str = ""  # the installed package it comes from; "" for the registry file

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

    def check(self) -> None:
        """Raise RegistryError when `use` cannot be imported, or does not take the options under `with`."""
        taken = signature(self.load()).parameters if self.use else {}
        if any(parameter.kind is Parameter.VAR_KEYWORD for parameter in taken.values()):
            return
        for option in self.options if self.use else ():
            if option not in taken:
                where = f"{self.section}.{self.name}: with"
                raise RegistryError(f"{self.use} takes no option {option!r}", where, _hint(option, taken))

    @property
    def identity(self) -> dict[str, Any]:
        """The fields that affect results; hashed into the run id."""
        facts = {k: v for k, v in self.facts.items() if k in {"size", "fit", "input", "ops", "states"}}
        return {"use": stable_name(self.use), "with": dict(self.options), "version": self.version, **facts}


@dataclass(frozen=True, slots=True)
class Registry:
    """All entries, by section and name: those of the file in its order, then those of plug-ins."""

    path: Path
    sections: Mapping[str, Mapping[str, Entry]]
    refused: Mapping[str, RegistryError] = field(default_factory=dict)  # plug-in -> why its entries are not here
    contested: Mapping[tuple[str, str], str] = field(default_factory=dict)  # (section, name) -> refused plug-in

    @classmethod
    def read(cls, path: Path | None = None) -> Self:
        """Read registry.yaml (the path given, else ./registry.yaml, else the installed copy) and the plug-ins.

        A plug-in that cannot be read is left out as a whole and kept in `refused`: what does not need it goes on.
        Raises ConfigError or RegistryError with file and place for a wrong file.
        """
        path = path or shipped("registry.yaml")
        sections = _read(path)
        refused: dict[str, RegistryError] = {}
        contested: dict[tuple[str, str], str] = {}
        for plugin in installed_plugins():
            where = f"plug-in {plugin.name}"
            try:
                theirs = _sections(plugin.entries(), where, plugin.name)
                _check_plugin(theirs, where)
                clashes = [(s, n) for s, entries in theirs.items() for n in entries if n in sections[s]]
                if clashes:
                    contested |= dict.fromkeys(clashes, plugin.name)
                    raise _clash(clashes, where)
            except CxrError as error:
                place = error.where if error.where.startswith(where) else f"{where}: {error.where}"
                refused[plugin.name] = RegistryError(error.what, place, error.fix)
                continue
            for section, entries in theirs.items():
                sections[section] |= entries
        return cls(path, sections, refused, contested)

    def find(self, section: str, name: str, where: str) -> Entry:
        """Look a name up; on a typing error, suggest the nearest name.

        Raises RegistryError for a name that a refused plug-in claims, too: what it means must not be in doubt.
        """
        entries = self.sections[section]
        if (section, name) in self.contested:
            raise self.refused[self.contested[section, name]]
        if name in entries:
            return entries[name]
        if section == "architectures" and name.startswith("timm:"):
            return _entry(section, name, {"timm": name.removeprefix("timm:"), "family": "other"}, where)
        close = get_close_matches(name, entries, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        lost = "".join(f"; plug-in {plugin} was not read: {error.what}" for plugin, error in self.refused.items())
        fix = f"{hint}`bench list {section}` shows all {len(entries)}{lost}"
        raise ConfigError(f"no {name!r} in {section}", where, fix)

    @property
    def custom_metrics(self) -> tuple[Entry, ...]:
        """Return the metrics that say what they are `given`: they have no kernel and are scored by their own function."""
        return tuple(entry for entry in self.sections["metrics"].values() if "given" in entry.facts)

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


def _read(path: Path) -> dict[str, dict[str, Entry]]:
    """Return the entries of a registry file; with `include: shipped`, after those that come with the project."""
    raw = read_yaml(path)
    if not isinstance(raw, Mapping) or raw.get("schema") != 1:
        raise RegistryError("not a registry of schema 1", str(path), "begin the file with `schema: 1`")
    own = _sections({k: v for k, v in raw.items() if k != "include"}, str(path))
    if "include" not in raw:
        return own
    base = installed("registry.yaml")
    if raw["include"] != "shipped" or base.resolve() == path.resolve():
        fix = "write `include: shipped`, in a file of your own"
        raise RegistryError(f"cannot include {raw['include']!r}", f"{path}: include", fix)
    sections = _read(base)
    clashes = [(section, name) for section, entries in own.items() for name in entries if name in sections[section]]
    if clashes:
        raise _clash(clashes, str(path))
    return {section: entries | own[section] for section, entries in sections.items()}


def _sections(raw: object, where: str, plugin: str = "") -> dict[str, dict[str, Entry]]:
    """Return the entries of a mapping section -> name -> block, checked; every section is there."""
    if not isinstance(raw, Mapping):
        raise RegistryError(f"{raw!r} is not a mapping of sections", where, "write `section: {name: {use: ...}}`")
    sections: dict[str, dict[str, Entry]] = {name: {} for name in SECTIONS}
    for section, entries in raw.items():
        if section == "schema":
            continue
        if section not in sections:
            raise RegistryError(f"unknown section {section!r}", where, _hint(section, SECTIONS))
        if not isinstance(entries or {}, Mapping):
            raise RegistryError(f"{entries!r} is not a block of names", f"{where}: {section}", "write `name: {...}`")
        for name, block in (entries or {}).items():
            sections[section][str(name)] = _entry(section, str(name), block or {}, f"{where}: {section}.{name}", plugin)
    return sections


def _check_plugin(theirs: Mapping[str, Mapping[str, Entry]], where: str) -> None:
    """Raise RegistryError for what a plug-in cannot bring."""
    fixes = {"weights": "put files under --weights DIR", "datasets": "describe the tables in the file of --data"}
    for section, fix in fixes.items():
        if theirs[section]:
            raise RegistryError(f"a plug-in cannot add {section}", where, fix)


def _clash(clashes: list[tuple[str, str]], where: str) -> RegistryError:
    names = ", ".join(f"{section}.{name}" for section, name in clashes)
    fix = "give them names of their own: one name means one thing in every report"
    return RegistryError(f"names that are taken: {names}", where, fix)


def _hint(name: object, known: Any) -> str:
    close = get_close_matches(str(name), list(known), n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(known))}"


def _entry(section: str, name: str, block: Mapping[str, Any], where: str, plugin: str = "") -> Entry:
    if not isinstance(block, Mapping):
        raise RegistryError(f"{block!r} is not a block of keys", where, "write `{use: ..., with: {...}}`")
    allowed = _COMMON | _FACTS.get(section, set())
    for key in block:
        if key not in allowed:
            raise RegistryError(f"unknown key {key!r}", where, _hint(key, allowed))
    given_options = block.get("with") or {}
    if not isinstance(given_options, Mapping):
        raise RegistryError(
            f"with is {given_options!r}, not a block of options", where, "write `with: {option: value}`"
        )
    use, options = current_name(str(block.get("use", ""))), dict(given_options)
    if "timm" in block:
        use, options = "bench.models.network:timm_model", {"name": str(block["timm"]), **options}
    facts = {k: v for k, v in block.items() if k in _FACTS.get(section, set()) - {"timm"}}
    _check_facts(facts, where)
    given = facts.get("given", "" if section == "metrics" and not use.startswith("bench.scoring.") else "logit")
    if given not in {"logit", "probability"}:
        fix = "add `given: logit` or `given: probability`: what the function gets beside the labels"
        raise RegistryError("the metric does not say what it is computed on", where, fix)
    version = block.get("version", 1)
    if type(version) is not int:
        raise RegistryError(f"version is {version!r}, not a whole number", where, "give 1, 2, 3 ...")
    if not use and section not in _WITHOUT_CODE:
        raise RegistryError("it points at no code", where, 'add `use: "module:attribute"`')
    said = {key: str(block.get(key, "")) for key in ("paper", "about", "licence")}
    return Entry(
        section, name, use, options, facts, str(block.get("title", name)), version=version, plugin=plugin, **said
    )


def _check_facts(facts: Mapping[str, Any], where: str) -> None:
    """Raise RegistryError for a fact that is no number where one is needed, or none of the few values it may have."""
    for key in ("min_px", "params", "gmacs", "size", "input"):
        whole = key in {"size", "input"}
        if key in facts and type(facts[key]) not in ((int,) if whole else (int, float)):
            kind = "a whole number" if whole else "a number"
            raise RegistryError(f"{key} is {facts[key]!r}, not {kind}", where, f"give a plain number: `{key}: 8`")
    for key, allowed_values in _VALUES.items():
        if key in facts and facts[key] not in allowed_values:
            choice = ", ".join(map(str, allowed_values))
            raise RegistryError(f"{key} is {facts[key]!r}", where, f"choose one of {choice}")


def shipped(name: str) -> Path:
    """Return a data file of the project: in the working directory, else the one that came with it.

    Raises ConfigError when it is nowhere.
    """
    return Path(name) if Path(name).is_file() else installed(name)


def installed(name: str) -> Path:
    """Return a data file as it came with the project: in the installed package, else beside the sources.

    Raises ConfigError when it is nowhere.
    """
    packed = Path(__file__).parents[1] / "data" / name
    for path in (packed, Path(__file__).parents[2] / name):
        if path.is_file():
            return path
    raise ConfigError(f"no {name}", str(Path.cwd()), "give its path, or install the package again")
