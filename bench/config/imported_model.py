"""model.yaml: what a model from elsewhere is, what it is given, what its outputs mean, and what it had seen.

Nothing of that can be read off a network, so its owner says it, and what can be checked is checked (`bench.runs.imported_network`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

from bench.config.preprocessing_ops import TABLE_OPS, geometry, parse
from bench.config.run_config import from_dict
from harmonize.errors import ConfigError
from harmonize.labels.findings import labels_yaml
from harmonize.yaml_file import read_yaml

SOURCES = (
    "timm",
    "onnx",
    "export",
    "function",
    "predictions",
)  # keys of `model:`, one of which says where it comes from
_BLOCKS = ("name", "model", "preprocessing", "outputs", "trained_on")
_SEE = "docs/your-own-model.md shows a model.yaml of each kind"


@dataclass(frozen=True, slots=True)
class Input:
    """What the network is given: the image in [0, 1] after `ops`, then (x - mean) / std."""

    size: int
    fit: str = "squash"
    channels: int = 3
    input: int = 0  # the side of the centre that the network sees; 0 = all
    ops: tuple[Any, ...] = ()
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)

    @property
    def facts(self) -> dict[str, Any]:
        """Return the same as the facts of a preprocessing entry."""
        own: dict[str, Any] = {"size": self.size, "fit": self.fit, "ops": [*self.ops, "imagenet"]}
        return own | ({"input": self.input} if self.input else {})


@dataclass(frozen=True, slots=True)
class Outputs:
    """What the outputs mean, in the order of the network; of predictions, the columns in any order."""

    kind: str  # logit or probability
    names: tuple[str, ...] = ()  # as the findings are called here; "" where an output is dropped
    rename: Mapping[str, str] = field(default_factory=dict)
    drop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Seen:
    """What taught the model, as its owner says; nobody can check it."""

    cohorts: tuple[str, ...]  # names of cohorts or of the datasets that this project knows
    others: tuple[str, ...] = ()  # in words
    pretraining: str = "unknown"
    licence: str = "not stated"
    source: str = ""


@dataclass(frozen=True)  # no slots: the findings are looked up once
class Declared:
    """A model from elsewhere, as its model.yaml says. `options` are those of the function or of timm."""

    name: str
    kind: str  # one of SOURCES
    target: str  # timm's name, "module:function", "" where files say all
    options: Mapping[str, Any]
    files: Mapping[str, Path]  # "weights" or "file"; of predictions one per cohort
    input: Input | None  # None of predictions
    outputs: Outputs
    seen: Seen
    where: str

    @classmethod
    def read(cls, path: Path) -> "Declared":
        """Read model.yaml.

        Raises ConfigError with file and place for whatever is absent, unknown or cannot be.
        """
        raw, where = _block(read_yaml(path), str(path)), str(path)
        _known(raw, _BLOCKS, where)
        name = str(raw.get("name", "")).strip()
        if not name or len(name) > 60 or not name.isprintable():
            raise ConfigError("the model has no name of 1 to 60 characters", f"{where}: name", "add `name: My network`")
        kind, target, options, files = _model(
            _block(raw.get("model"), f"{where}: model"), path.parent, f"{where}: model"
        )
        given = None if kind == "predictions" else _input(raw.get("preprocessing"), f"{where}: preprocessing")
        if given is None and "preprocessing" in raw:
            raise ConfigError("predictions need no preprocessing", f"{where}: preprocessing", "leave the block out")
        outputs = _outputs(raw.get("outputs"), kind != "predictions", f"{where}: outputs")
        return cls(name, kind, target, options, files, given, outputs, _seen(raw.get("trained_on"), where), where)

    @cached_property
    def places(self) -> dict[str, int]:
        """Return by finding which output is its."""
        return {finding: k for k, finding in enumerate(self.outputs.names) if finding}

    def learnt(self, findings: Sequence[str]) -> list[str]:
        """Return which of a grid's findings the model gives.

        Raises ConfigError when it gives none of them.
        """
        found = [finding for finding in findings if finding in self.places]
        if not found:
            fix = f"the grid's findings are {', '.join(findings)}; map native names with outputs.rename"
            raise ConfigError("the model gives no finding of the grid", f"{self.where}: outputs.names", fix)
        return found

    def with_names(self, columns: Sequence[str]) -> "Declared":
        """Return the declaration of predictions whose file has these columns beside image_id."""
        outputs = self.outputs
        own = _findings(list(columns), outputs.rename, outputs.drop, f"{self.where}: outputs")
        return replace(self, outputs=replace(outputs, names=own))

    @property
    def document(self) -> dict[str, Any]:
        """Return what decides the numbers, without the files' places and without what the owner says of its past."""
        own = self.input
        return {
            "source": self.kind,
            "target": self.target,
            "options": dict(self.options),
            "preprocessing": own.facts | {"channels": own.channels, "mean": own.mean, "std": own.std} if own else {},
            "outputs": {"names": list(self.outputs.names), "kind": self.outputs.kind},
        }


def _block(raw: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(raw, Mapping):
        raise ConfigError("a block of keys is missing" if raw is None else f"{raw!r} is no block of keys", where, _SEE)
    return raw


def _known(raw: Mapping[str, Any], keys: Sequence[str], where: str) -> None:
    for key in raw:
        if key not in keys:
            close = get_close_matches(str(key), keys, n=1)
            fix = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(keys)}"
            raise ConfigError(f"unknown key {key!r}", f"{where}: {key}", fix)


def _model(raw: Mapping[str, Any], beside: Path, where: str) -> tuple[str, str, Mapping[str, Any], Mapping[str, Path]]:
    """Return kind, target, options and files of the block `model:`; files lie relative to model.yaml."""
    _known(raw, (*SOURCES, "weights", "with"), where)
    kinds = [key for key in SOURCES if key in raw]
    if len(kinds) != 1:
        said = " and ".join(kinds) if kinds else "no source"
        raise ConfigError(f"{said} under `model:`", where, f"name one of {', '.join(SOURCES)}; {_SEE}")
    (kind,) = kinds
    if kind == "predictions":
        files = _predictions(raw[kind], beside, f"{where}.predictions")
    elif kind in ("onnx", "export"):
        files = {"file": _file(raw[kind], beside, f"{where}.{kind}")}
    else:
        files = {"weights": _file(raw["weights"], beside, f"{where}.weights")} if "weights" in raw else {}
    if kind == "timm" and not files:
        raise ConfigError("a timm model without weights is random", where, "add `weights: FILE.safetensors`")
    if files and kind not in ("timm", "function") and {"weights", "with"} & raw.keys():
        raise ConfigError(f"`weights` and `with` mean nothing beside `{kind}`", where, "leave them out")
    target = str(raw[kind]) if kind in ("timm", "function") else ""
    if kind == "function" and not all(target.partition(":")):
        raise ConfigError(f"{target!r} names no function", f"{where}.function", 'write "package.module:function"')
    return kind, target, _block(raw.get("with") or {}, f"{where}.with"), files


def _predictions(raw: Any, beside: Path, where: str) -> dict[str, Path]:
    """Return the file of each cohort: named one by one, or found in a folder by the cohort's name."""
    if isinstance(raw, Mapping):
        return {str(name): _file(file, beside, f"{where}.{name}") for name, file in raw.items()}
    folder = beside / str(raw)
    files = {p.stem: p for p in sorted(folder.glob("*")) if p.suffix in (".csv", ".parquet")} if folder.is_dir() else {}
    if not files:
        raise ConfigError(
            f"no COHORT.csv or COHORT.parquet in {str(raw)!r}", where, "name a folder with one per cohort"
        )
    return files


def _file(raw: Any, beside: Path, where: str) -> Path:
    path = beside / str(raw)
    if not path.is_file():
        raise ConfigError(f"no such file: {path}", where, "name it relative to the folder of model.yaml")
    return path


def _input(raw: Any, where: str) -> Input:
    """Return what the network is given; a range [low, high] is what [0, 1] becomes."""
    block = dict(_block(raw, where))
    _known(block, ("size", "fit", "channels", "input", "ops", "mean", "std", "range"), where)
    scaled = {"mean", "std"} & block.keys()
    if ("range" in block) == bool(scaled) or len(scaled) == 1:
        fix = "add `mean:` and `std:` of images in [0, 1], or `range: [low, high]`"
        raise ConfigError("say how gray values are scaled, in one way", where, fix)
    if "range" in block:
        low, high = _numbers(block.pop("range"), 2, f"{where}.range")
        if high <= low:
            raise ConfigError(f"range is {[low, high]}", f"{where}.range", "give [low, high], e.g. [-1024, 1024]")
        mean, std = (-low / (high - low),) * 3, (1 / (high - low),) * 3
    else:
        mean, std = (_triple(block.pop(key), f"{where}.{key}") for key in ("mean", "std"))
        if min(std) <= 0:
            raise ConfigError("std is not above 0", f"{where}.std", "give the std that the model was trained with")
    ops = block.pop("ops", None) or ()
    names = [name for name, _ in parse(ops)] if isinstance(ops, list | tuple) else None
    if names is None or set(names) & {*TABLE_OPS, "imagenet"}:
        fix = "list some of roi, adaptive_roi, clahe, minmax, zscore; mean and std come last by themselves"
        raise ConfigError(f"ops is {ops!r}", f"{where}.ops", fix)
    if block.get("channels", 3) not in (1, 3):
        raise ConfigError(f"channels is {block['channels']!r}", f"{where}.channels", "choose 1 or 3")
    found = from_dict(Input, block, where)
    found = replace(found, ops=tuple(ops), mean=mean, std=std)
    geometry(found.facts)  # raises for a size or a fit that cannot be
    return found


def _numbers(raw: Any, num: int, where: str) -> tuple[float, ...]:
    if not isinstance(raw, list) or len(raw) != num or not all(type(v) in (int, float) for v in raw):
        raise ConfigError(f"{raw!r} is not {num} numbers", where, f"write [{', '.join(['0.5'] * num)}]")
    return tuple(map(float, raw))


def _triple(raw: Any, where: str) -> tuple[float, float, float]:
    red, green, blue = _numbers([raw] * 3 if type(raw) in (int, float) else raw, 3, where)
    return red, green, blue


def _outputs(raw: Any, named: bool, where: str) -> Outputs:
    """Return what the outputs mean; with `named` their names must be listed, in the order of the network."""
    block = _block(raw, where)
    _known(block, ("kind", "names", "rename", "drop"), where)
    if block.get("kind") not in ("logit", "probability"):
        fix = "add `kind: logit` or `kind: probability`: before or after the sigmoid"
        raise ConfigError(f"kind is {block.get('kind')!r}", f"{where}.kind", fix)
    rename = {str(k): str(v) for k, v in _block(block.get("rename") or {}, f"{where}.rename").items()}
    drop = tuple(map(str, block.get("drop") or ()))
    names = block.get("names")
    if named and not isinstance(names, list):
        raise ConfigError("the names of the outputs are missing", f"{where}.names", "list them in the network's order")
    if not named and names is not None:
        raise ConfigError("the columns of predictions name themselves", f"{where}.names", "leave `names` out")
    own = ["" if name is None else str(name) for name in names or ()]
    return Outputs(block["kind"], _findings(own, rename, drop, where) if named else (), rename, drop)


def _findings(own: list[str], rename: Mapping[str, str], drop: Sequence[str], where: str) -> tuple[str, ...]:
    """Return the findings of the outputs, "" for those that are dropped: by name, or because they have none."""
    known = {finding for names in labels_yaml()["spaces"].values() for finding in names}
    if absent := [name for name in (*rename, *drop) if name not in own]:
        raise ConfigError(
            f"no output is called {absent[0]!r}", where, f"the outputs are {', '.join(filter(None, own))}"
        )
    found = ["" if name in drop else rename.get(name, name) for name in own]
    if unknown := [name for name in found if name and name not in known]:
        close = get_close_matches(unknown[0], known, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        fix = f"{hint}map it with `rename: {{{unknown[0]}: FINDING}}`, or leave it out with `drop: [{unknown[0]}]`"
        raise ConfigError(f"no finding is called {', '.join(map(repr, unknown))}", f"{where}.names", fix)
    if twice := [name for name in found if name and found.count(name) > 1]:
        raise ConfigError(f"two outputs are {twice[0]!r}", where, "drop one of them")
    return tuple(found)


def _seen(raw: Any, where: str) -> Seen:
    """Return what taught the model; a cohort that nobody here knows belongs under `others`, lest a typing error hide overlap."""
    place = f"{where}: trained_on"
    block = dict(_block(raw, place))
    _known(block, ("cohorts", "others", "pretraining", "licence", "source"), place)
    if not isinstance(block.get("cohorts"), list):
        fix = "list datasets known here, e.g. `cohorts: [nih, padchest]`; `cohorts: []` when it saw none of them"
        raise ConfigError("what the model was trained on is missing", f"{place}.cohorts", fix)
    if not isinstance(block.get("others") or [], list):
        raise ConfigError(f"others is {block['others']!r}", f"{place}.others", "write a list of words")
    cohorts, others = (tuple(map(str, block.pop(key, None) or ())) for key in ("cohorts", "others"))
    said = {key: str(value) for key, value in block.items()}
    for text in (*cohorts, *others, *said.values()):
        if len(text) > 500 or not text.isprintable():
            raise ConfigError("a text is too long or has control characters", place, "shorten it to one line")
    return Seen(cohorts, others, **said)
