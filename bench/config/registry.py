"""registry.yaml: the networks, losses, metrics and other entries that a grid can name. An entry refers to its code as "module:attribute".

The code is imported only when the entry is used.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from importlib import import_module
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, Self

from bench.config.seen import SeenData
from harmonize.errors import ConfigError, CxrError, RegistryError
from harmonize.yaml_file import read_yaml
from reports import extensions, hooks

WILDCARDS = "*?["  # characters of a pattern of names
SECTIONS = (
    "architectures",
    "weights",
    "encoders",
    "optimizers",
    "losses",
    "algorithms",
    "uncertainty",
    "preprocessing",
    "augmentation",
    "metrics",
    "datasets",
)
_COMMON = {"use", "with", "paper", "code", "version", "title", "about", "licence"}
_FACTS = {  # section -> facts: keys that only entries of this section may have
    "architectures": {"timm", "family", "imagenet", "corpus", "min_px", "params", "gmacs", "seen", "preprocessing"},
    "weights": {"file", "keys", "corpus", "sha256", "mean", "std", "seen", "preprocessing"},
    "encoders": {
        "timm",
        "family",
        "file",
        "keys",
        "corpus",
        "sha256",
        "mean",
        "std",
        "seen",
        "preprocessing",
        "source",
    },
    "optimizers": {"schedule", "closure"},
    "algorithms": {"groups", "features", "pretraining"},
    "uncertainty": {"states", "blank"},
    "preprocessing": {"size", "fit", "input", "ops", "interpolation"},
    "metrics": {"better", "headline", "given"},
    "datasets": {"headline_split"},
}
# facts whose values are part of the run id
_HASHED_FACTS = {
    "size",
    "fit",
    "input",
    "ops",
    "interpolation",
    "states",
    "keys",
    "mean",
    "std",
    "groups",
    "features",
}
_VALUES: Mapping[str, tuple[Any, ...]] = {  # fact -> its allowed values
    "schedule": ("cosine", "constant", "plateau"),
    "states": (1, 3),
    "closure": (True, False),
    "groups": (True, False),
    "features": (True, False),
    "pretraining": (True, False),
    "blank": ("zero", "ignore"),
    "better": ("higher", "lower"),
}
# facts of an encoder that belong to the network, and to its starting weights
_OF_NETWORK = {"family", "corpus", "seen", "preprocessing", "code"}
_OF_WEIGHTS = {"file", "keys", "corpus", "sha256", "mean", "std", "seen", "preprocessing"}
BUILT_IN_WEIGHTS = ("none", "imagenet")  # names in the section `weights` that do not stand for a file
_WITHOUT_CODE = {"weights", "preprocessing", "augmentation"}  # sections whose entries need no `use`


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the registry.

    `use` is "module:attribute", imported only when the entry is used. `options` are the keyword arguments under `with`.
    `facts` are the keys that only entries of this section have, such as `size`.
    """

    section: str
    name: str
    use: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    title: str = ""
    paper: str = ""
    version: int = 1  # part of the run id; increase this number if a change of the code may change results
    about: str = ""  # details
    licence: str = ""  # license of pretrained weights, data, or external code
    extension: str = ""  # the package of the extension that adds the entry; "" for the registry file

    def load(self) -> Any:
        """Import and return the object that `use` names.

        Raises RegistryError if the object cannot be imported.
        """
        module, _, attribute = self.use.partition(":")
        try:
            return getattr(import_module(module), attribute)
        except (ImportError, AttributeError, ValueError) as error:
            fix = "correct `use`, or install the package it needs"
            raise RegistryError(f"cannot load {self.use!r}: {error}", f"{self.section}.{self.name}", fix) from error

    @property
    def given_features(self) -> hooks.Features | None:
        """Return the features that an extension has for this architecture; None for a network."""
        given = (module.FEATURES for module in extensions.modules(hooks.Architectures))
        return next((features for features in given if features and self.use == features.USE), None)

    def check(self) -> None:
        """Raise RegistryError if `use` cannot be imported, or does not accept the options under `with`."""
        parameters = signature(self.load()).parameters if self.use else {}
        if any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters.values()):
            return
        for option in self.options if self.use else ():
            if option not in parameters:
                where = f"{self.section}.{self.name}: with"
                raise RegistryError(
                    f"{self.use} has no option {option!r}", where, ConfigError.suggestion(option, sorted(parameters))
                )

    @property
    def weights_licence(self) -> str:
        """Return the license of the pretrained weights. For a timm model without its own entry, it is the license that timm states."""
        if self.licence or not self.name.startswith("timm:"):
            return self.licence
        timm = import_module("timm")  # takes seconds, and imports torch
        stated = timm.get_pretrained_cfg(self.name.removeprefix("timm:"))
        return str(getattr(stated, "license", None) or "")

    @property
    def identity(self) -> dict[str, Any]:
        """Return the fields of the entry that affect results; the run id is a hash of them."""
        facts = {k: v for k, v in self.facts.items() if k in _HASHED_FACTS}
        return {"use": self.use, "with": dict(self.options), "version": self.version, **facts}


@dataclass(frozen=True, slots=True)
class Registry:
    """All entries by section and name: entries of the file in its order, then entries of extensions."""

    path: Path
    sections: Mapping[str, Mapping[str, Entry]]

    @classmethod
    def read(cls, path: Path | None = None) -> Self:
        """Read registry.yaml (`path`, else ./registry.yaml, else the installed copy), and the file registry.yaml of each extension.

        An extension with an invalid file is refused as a whole. Raises ConfigError or RegistryError with file and key if the file
        at `path` is invalid.
        """
        path = path or shipped("registry.yaml")
        sections = _read(path)
        for package, file in extensions.files("registry.yaml").items():
            try:
                sections = _joined(sections, _sections(read_yaml(file), str(file), package), str(file))
            except CxrError as error:
                extensions.refused[package] = RegistryError(error.what, error.where, error.fix)
        return cls(path, sections)

    def find(self, section: str, name: str, where: str) -> Entry:
        """Return the entry of a name.

        Raises ConfigError with a suggestion for an unknown name.
        """
        entries = self.sections[section]
        if name in entries:
            return entries[name]
        if section in ("architectures", "weights") and name in self.sections["encoders"]:
            return self._part_of_encoder(section, name, where)
        if section == "preprocessing" and (sized := self._of_size(name)):
            return sized
        if section == "architectures" and name.startswith("timm:"):
            return _entry(section, name, {"timm": name.removeprefix("timm:"), "family": "other"}, where)
        fix = f"{ConfigError.hint(name, entries)}`bench list {section}` shows all {len(entries)}"
        if section == "preprocessing":
            fix += "; for another size, 8 pixels or more, add it to the name of an entry: imagenet_512"
        raise ConfigError(f"unknown name {name!r} in {section}", where, fix)

    def _of_size(self, name: str) -> Entry | None:
        """Return the preprocessing entry NAME for the name NAME_SIZE, with images of SIZE pixels; None for another name.

        An entry with the key `input` has only its own sizes.
        """
        base, _, size = name.rpartition("_")
        entry = self.sections["preprocessing"].get(base)
        if entry is None or "input" in entry.facts or not size.isdecimal() or int(size) < 8:
            return None
        return replace(entry, name=name, facts={**entry.facts, "size": int(size)}, title=f"{entry.title}, {size} px")

    def _part_of_encoder(self, section: str, name: str, where: str) -> Entry:
        """Return the network of an encoder, or its starting weights, as an entry of this section."""
        encoder = self.sections["encoders"][name]
        if section == "architectures":
            return replace(encoder, section=section, facts={k: v for k, v in encoder.facts.items() if k in _OF_NETWORK})
        if "file" not in encoder.facts:
            fix = "write `weights: imagenet`, which stands for the pinned tag of timm, or `encoder:` alone"
            raise ConfigError(f"the weights of {name} are those of timm", where, fix)
        facts = {k: v for k, v in encoder.facts.items() if k in _OF_WEIGHTS}
        return replace(encoder, section=section, use="", options={}, facts=facts)

    def of_encoder(self, name: str, where: str) -> dict[str, str]:
        """Return the keys of a run for which `encoder: NAME` stands: architecture, weights and preprocessing."""
        encoder = self.find("encoders", name, where)
        return {
            "architecture": name,
            "weights": name if "file" in encoder.facts else "imagenet",
            "preprocessing": "own",
        }

    @property
    def custom_metrics(self) -> tuple[Entry, ...]:
        """Return the metrics that a registry file or an extension adds, each with its own Python function (entries with the key `given`)."""
        return tuple(entry for entry in self.sections["metrics"].values() if "given" in entry.facts)

    def match(self, section: str, pattern: str, where: str) -> list[str]:
        """Return the names of a section that match a pattern with wildcards, in the order of the registry. A name without wildcards matches only itself."""
        if not any(c in pattern for c in WILDCARDS):
            return [self.find(section, pattern, where).name]
        names = [name for name in self.sections[section] if fnmatchcase(name, pattern)]
        if not names:
            raise ConfigError(f"{pattern!r} matches no name in {section}", where, f"`bench list {section}` shows all")
        return names

    def __iter__(self) -> Iterator[Entry]:
        return (entry for entries in self.sections.values() for entry in entries.values())


def _read(path: Path) -> dict[str, dict[str, Entry]]:
    """Return the entries of a registry file: section -> name -> entry.

    A file with `include: shipped` adds its entries to the shipped entries. Raises RegistryError for a file that is no
    registry, and for a name that a shipped entry has.
    """
    raw = read_yaml(path)
    if not isinstance(raw, Mapping) or raw.get("schema") != 1:
        raise RegistryError("the file is not a registry of schema 1", str(path), "start the file with `schema: 1`")
    entries_of = _sections({k: v for k, v in raw.items() if k != "include"}, str(path))
    if "include" not in raw:
        return entries_of
    base = installed("registry.yaml")
    if raw["include"] != "shipped" or base.resolve() == path.resolve():
        fix = "write `include: shipped` in a registry file of your own"
        raise RegistryError(f"cannot include {raw['include']!r}", f"{path}: include", fix)
    return _joined(_read(base), entries_of, str(path))


def _joined(
    sections: Mapping[str, Mapping[str, Entry]], added: Mapping[str, Mapping[str, Entry]], where: str
) -> dict[str, dict[str, Entry]]:
    """Return the entries with more entries. Raises RegistryError for a name that is in use already."""
    clashes = [
        f"{section}.{name}" for section, entries in added.items() for name in entries if name in sections[section]
    ]
    if clashes:
        fix = "choose other names: a name must have one meaning in every report"
        raise RegistryError(f"names already in use: {', '.join(clashes)}", where, fix)
    return {section: {**entries, **added[section]} for section, entries in sections.items()}


def _sections(raw: object, where: str, extension: str = "") -> dict[str, dict[str, Entry]]:
    """Return the checked entries (section -> name -> entry) of a mapping section -> name -> block.

    Sections that `raw` does not have are empty. `extension`: package of the extension that has the entries, "" for a file.
    """
    if not isinstance(raw, Mapping):
        fix = "write `section: {name: {use: ...}}`"
        raise RegistryError(f"a registry must be a mapping of sections (got {raw!r})", where, fix)
    sections: dict[str, dict[str, Entry]] = {name: {} for name in SECTIONS}
    for section, entries in raw.items():
        if section == "schema":
            continue
        if section not in sections:
            raise RegistryError(
                f"unknown section {section!r}", where, ConfigError.suggestion(section, sorted(SECTIONS))
            )
        if not isinstance(entries or {}, Mapping):
            what = f"a section must be a block of names (got {entries!r})"
            raise RegistryError(what, f"{where}: {section}", "write `name: {...}`")
        for name, block in (entries or {}).items():
            sections[section][str(name)] = _entry(
                section, str(name), block or {}, f"{where}: {section}.{name}", extension
            )
    return sections


def _entry(section: str, name: str, block: Mapping[str, Any], where: str, extension: str = "") -> Entry:
    """Return the checked entry of one block."""
    if not isinstance(block, Mapping):
        raise RegistryError(
            f"an entry must be a block of keys (got {block!r})", where, "write `{use: ..., with: {...}}`"
        )
    known = _FACTS.get(section, set())
    if section == "architectures":
        known = known | {module.KEY for module in extensions.modules(hooks.Architectures)}
    RegistryError.known_keys(block, sorted(_COMMON | known), where)
    given_options = block.get("with") or {}
    if not isinstance(given_options, Mapping):
        fix = "write `with: {option: value}`"
        raise RegistryError(f"with must be a block of options (got {given_options!r})", where, fix)
    use, options = str(block.get("use", "")), dict(given_options)
    if "timm" in block:
        use = "bench.models.network:timm_model"
        options = {"name": str(block["timm"]), **options}
    for module in extensions.modules(hooks.Architectures) if section == "architectures" else ():
        if module.FEATURES and module.KEY in block:
            module.FEATURES.check_entry(block, where)
            use = module.FEATURES.USE
    facts = {k: v for k, v in block.items() if k in (known | {"code"}) - {"timm"}}
    _check_facts(facts, where)
    if (section == "weights" and name not in BUILT_IN_WEIGHTS) or (section == "encoders" and "file" in facts):
        _check_weights(facts, where)
    _check_given(section, facts, use, where)
    version = block.get("version", 1)
    if type(version) is not int:
        raise RegistryError(f"version must be a whole number (got {version!r})", where, "write 1, 2, 3 ...")
    if not use and section not in _WITHOUT_CODE:
        raise RegistryError("the entry names no code", where, 'add `use: "module:attribute"`')
    texts = {key: str(block.get(key, "")) for key in ("paper", "about", "licence")}
    return Entry(
        section, name, use, options, facts, str(block.get("title", name)), version=version, extension=extension, **texts
    )


def _check_given(section: str, facts: Mapping[str, Any], use: str, where: str) -> None:
    """Raise RegistryError if the entry of a custom metric does not state the input of its function."""
    custom = section == "metrics" and ("given" in facts or not use.startswith("bench.scoring."))
    if custom and facts.get("given") not in ("logit", "probability"):
        fix = "add `given: logit` or `given: probability`, the second argument of the function"
        raise RegistryError("the metric does not state its input", where, fix)


def _check_facts(facts: Mapping[str, Any], where: str) -> None:
    """Raise RegistryError for a key of an entry whose value has the wrong type or is not allowed."""
    for key in ("min_px", "params", "gmacs", "size", "input"):
        integer = key in {"size", "input"}
        if key in facts and type(facts[key]) not in ((int,) if integer else (int, float)):
            kind = "a whole number" if integer else "a number"
            raise RegistryError(f"{key} must be {kind} (got {facts[key]!r})", where, f"write a number: `{key}: 8`")
    if "seen" in facts:
        SeenData.parse(facts["seen"], Path(), f"{where}: seen")
    for key, allowed_values in _VALUES.items():
        if key in facts and facts[key] not in allowed_values:
            choice = ", ".join(map(str, allowed_values))
            raise RegistryError(f"unknown value {facts[key]!r} of {key}", where, f"choose from: {choice}")


def _check_weights(facts: Mapping[str, Any], where: str) -> None:
    """Raise RegistryError for an invalid entry of starting weights.

    An entry must state its file (.safetensors) and its pretraining corpus. `keys`, the map of parameter names, and the
    input scale (`mean`, `std`) are checked if the entry has them.
    """
    for key, example in (("file", "mine.safetensors"), ("corpus", "the images on which it was trained")):
        if not isinstance(facts.get(key), str) or not facts[key].strip():
            raise RegistryError(f"{key} of these starting weights is missing", where, f"add `{key}: {example}`")
    if not facts["file"].endswith(".safetensors"):
        fix = "convert the file to .safetensors, because loading a pickle runs its code"
        raise RegistryError(f"starting weights must be a .safetensors file, not {facts['file']!r}", where, fix)
    keys = facts.get("keys", {})
    if not isinstance(keys, Mapping) or not all(
        isinstance(old, str) and isinstance(new, str | None) for old, new in keys.items()
    ):
        fix = 'write {"encoder.": "", "decoder.": null}: the start of a name in the file -> its start in the network'
        raise RegistryError(f"keys must map starts of names to text or null (got {keys!r})", where, fix)
    _check_input_scale(facts, where)


def _check_input_scale(facts: Mapping[str, Any], where: str) -> None:
    """Raise RegistryError for invalid `mean` and `std` of the images.

    An entry has both keys or neither. Each key has three numbers in [0, 1], and the numbers of std are above 0.
    """
    stated = {"mean", "std"} & facts.keys()
    if not stated:
        return
    fix = "write the values of the images in [0, 1], e.g. mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]"
    if len(stated) == 1:
        raise RegistryError(f"{stated.pop()} needs both `mean:` and `std:`", where, fix)
    for key, lowest_is_valid in (("mean", True), ("std", False)):
        values = facts[key]
        if (
            not isinstance(values, list)
            or len(values) != 3
            or not all(
                type(value) in (int, float) and (0 < value <= 1 or (lowest_is_valid and value == 0)) for value in values
            )
        ):
            raise RegistryError(f"{key} must be three numbers from 0 to 1 (got {values!r})", where, fix)


def shipped(name: str) -> Path:
    """Return the path of a data file: in the working directory if it exists there, else the shipped file.

    Raises ConfigError if neither exists.
    """
    return Path(name) if Path(name).is_file() else installed(name)


def installed(name: str) -> Path:
    """Return the path of a shipped data file: in the installed package, or next to the sources.

    Raises ConfigError if neither exists.
    """
    packed = Path(__file__).parents[1] / "data" / name
    for path in (packed, Path(__file__).parents[2] / name):
        if path.is_file():
            return path
    raise ConfigError(f"{name} does not exist", str(Path.cwd()), "give its path, or reinstall the package")
