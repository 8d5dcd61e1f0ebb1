"""model.yaml: the description of an imported model (a model that was trained elsewhere).

model.yaml states the model's files, input, outputs and training data. A file of weights does not contain all of these
facts, so the owner of the model declares them. `bench.extensions.imported.networks` checks the declared input and outputs.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from bench.config.preprocessing_ops import TABLE_OPS, geometry, parse
from bench.config.seen import OTHERS, SeenData
from harmonize.errors import ConfigError
from harmonize.labels.findings import labels_yaml
from harmonize.yaml_file import read_yaml

SOURCES = ("timm", "onnx", "function", "predictions")  # keys of `model:`; exactly one is required
_KEYS = ("name", "model", "preprocessing", "outputs", "trained_on", "stated")
STATED = ("date", "paper", "code", "contact")  # keys of `stated`
_SEE = "docs/extensions/your-own-model.md shows a model.yaml for each kind"


@dataclass(frozen=True, slots=True)
class Input:
    """The preprocessing of the network's input. The operations `ops` produce an image x with values in [0, 1]; the network gets (x - mean) / std."""

    size: int
    fit: str = "squash"
    channels: int = 3
    input: int = 0  # side in pixels of the center crop; 0: no crop
    ops: tuple[Any, ...] = ()
    interpolation: str = ""  # a name in `pixels.INTERPOLATIONS`; "": the default
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)

    @property
    def facts(self) -> dict[str, Any]:
        """Return the declared preprocessing in the form of a preprocessing entry of the registry."""
        entry: dict[str, Any] = {"size": self.size, "fit": self.fit, "ops": [*self.ops, "imagenet"]}
        optional = {"input": self.input, "interpolation": self.interpolation}
        return entry | {key: value for key, value in optional.items() if value}


@dataclass(frozen=True, slots=True)
class Outputs:
    """The meaning of the network's outputs, in their order. In a file of predictions, the columns may have any order."""

    kind: Literal["logit", "probability"]
    names: tuple[str | None, ...] = ()  # finding of each output; "" for a dropped output
    rename: Mapping[str, str] = field(default_factory=dict)
    drop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DataExposure:
    """The data exposure of the model, as the owner of the model declares it. The declaration cannot be checked."""

    cohorts: tuple[str, ...] = ()  # cohorts whose data it had seen, by the names that this project uses
    others: tuple[str, ...] = ()  # other training data, described in words
    pretraining: str = "unknown"
    licence: str = "not stated"
    source: str = ""
    # the block `seen`; {} if `cohorts` lists the training data
    seen: Any = field(default_factory=dict)


@dataclass(frozen=True)  # without slots, because `output_index` is cached
class ModelDeclaration:
    """An imported model, as its model.yaml declares it.

    `options` are keyword arguments of the function that builds the network, or of timm.create_model.
    """

    name: str
    kind: str  # one of SOURCES
    target: str  # name of a timm model, "module:function", or "" if `files` define the model
    options: Mapping[str, Any]
    files: Mapping[str, Path]  # {"weights": path} or {"file": path}; for predictions, cohort -> path
    input: Input | None  # None for predictions
    outputs: Outputs
    exposure: DataExposure
    where: str  # path of model.yaml, for errors
    stated: Mapping[str, str] = field(default_factory=dict)  # key of STATED -> text of the owner

    @classmethod
    def read(cls, path: Path) -> "ModelDeclaration":
        """Read model.yaml.

        Raises ConfigError with file and key for anything missing, unknown or invalid.
        """
        raw, where = read_yaml(path), str(path)
        if not isinstance(raw, Mapping):
            raise ConfigError(f"expected a block of keys (got {raw!r})", where, _SEE)
        ConfigError.known_keys(raw, _KEYS, where)
        name = str(raw.get("name", "")).strip()
        if not name or len(name) > 60 or not name.isprintable():
            what = "name must be a text of 1 to 60 characters"
            raise ConfigError(what, f"{where}: name", "add `name: My network`")
        kind, target, options, files = _model(raw.get("model"), path.parent, f"{where}: model")
        model_input = None if kind == "predictions" else _input(raw.get("preprocessing"), f"{where}: preprocessing")
        if model_input is None and "preprocessing" in raw:
            raise ConfigError("predictions cannot have preprocessing", f"{where}: preprocessing", "remove the block")
        outputs = _outputs(raw.get("outputs"), f"{where}: outputs", names_required=kind != "predictions")
        exposure = _exposure(raw.get("trained_on"), where)
        facts = raw.get("stated") or {}
        ConfigError.known_keys(facts, STATED, f"{where}: stated")
        stated = {key: str(facts[key]) for key in STATED if key in facts}
        _check_texts(stated.values(), f"{where}: stated")
        return cls(name, kind, target, options, files, model_input, outputs, exposure, where, stated)

    @cached_property
    def output_index(self) -> dict[str, int]:
        """Return {finding: index of its output}."""
        return {finding: k for k, finding in enumerate(self.outputs.names) if finding}

    def predicted(self, findings: Sequence[str]) -> list[str]:
        """Return the findings of a grid that the model predicts.

        Raises ConfigError if the model predicts no finding of the grid.
        """
        outputs = [finding for finding in findings if finding in self.output_index]
        if not outputs:
            fix = f"map its outputs with outputs.rename to the findings {', '.join(findings)}"
            raise ConfigError("the model predicts no finding of the grid", f"{self.where}: outputs.names", fix)
        return outputs

    def with_names(self, columns: Sequence[str]) -> "ModelDeclaration":
        """Return the declaration with the findings of the columns of a prediction file.

        `columns`: all columns except image_id. The `rename` and `drop` of the declaration apply to these columns. Raises
        ConfigError for a column that is not a finding.
        """
        outputs = self.outputs
        names = _findings(list(columns), outputs.rename, outputs.drop, f"{self.where}: outputs")
        return replace(self, outputs=replace(outputs, names=names))

    @property
    def document(self) -> dict[str, Any]:
        """Return the declared fields that affect results; the run id is a hash of them. Paths and data exposure are left out."""
        model_input = self.input
        preprocessing: dict[str, Any] = {}
        if model_input:
            scale = {"channels": model_input.channels, "mean": model_input.mean, "std": model_input.std}
            preprocessing = model_input.facts | scale
        return {
            "source": self.kind,
            "target": self.target,
            "options": dict(self.options),
            "preprocessing": preprocessing,
            "outputs": {"names": list(self.outputs.names), "kind": self.outputs.kind},
        }


class _Model(msgspec.Struct, rename={"options": "with"}):
    """The block `model:`."""

    timm: str = ""
    onnx: str = ""
    function: str = ""
    predictions: str | dict[str, str] = ""  # a folder, or cohort -> file
    weights: str = ""
    options: dict[str, Any] = {}


class _Preprocessing(msgspec.Struct):
    """The block `preprocessing:`, with `mean` and `std`, or with `range` for a network whose input lies between two numbers."""

    size: int
    fit: str = "squash"
    channels: Literal[1, 3] = 3
    input: int = 0
    ops: list[Any] = []
    interpolation: str = ""
    mean: float | tuple[float, float, float] | None = None
    std: float | tuple[float, float, float] | None = None
    range: tuple[float, float] | None = None


T = TypeVar("T")


def _typed(raw: Any, kind: type[T], where: str) -> T:
    """Return a block of model.yaml. Raises ConfigError for a missing block, an unknown key and a value of another type."""
    if raw is None:
        raise ConfigError("the block is missing", where, _SEE)
    if isinstance(raw, Mapping):
        known = [each.encode_name for each in msgspec.inspect.type_info(kind).fields]  # type: ignore[attr-defined]
        ConfigError.known_keys(raw, known, where)
        raw = {key: value for key, value in raw.items() if value is not None}
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(str(error), where, _SEE) from error


def _model(raw: Any, folder: Path, where: str) -> tuple[str, str, Mapping[str, Any], Mapping[str, Path]]:
    """Return kind, target, options and files of the block `model:`. Paths are relative to model.yaml."""
    block = _typed(raw, _Model, where)
    kinds = [key for key in SOURCES if getattr(block, key)]
    if len(kinds) != 1:
        what = f"`model:` names {' and '.join(kinds) if kinds else 'no source'}"
        raise ConfigError(what, where, f"name exactly one of {', '.join(SOURCES)}; {_SEE}")
    (kind,) = kinds
    if kind == "predictions":
        files = _predictions(block.predictions, folder, f"{where}.predictions")
    elif kind == "onnx":
        files = {"file": _file(block.onnx, folder, f"{where}.onnx")}
    else:
        files = {"weights": _file(block.weights, folder, f"{where}.weights")} if block.weights else {}
    if kind == "timm" and not files:
        raise ConfigError("a timm model needs weights", where, "add `weights: FILE.safetensors`")
    if (block.weights or block.options) and kind not in ("timm", "function"):
        raise ConfigError(f"`weights` and `with` are not valid with `{kind}`", where, "remove them")
    target = getattr(block, kind) if kind in ("timm", "function") else ""
    if kind == "function" and not all(target.partition(":")):
        raise ConfigError(f"{target!r} is not a function", f"{where}.function", 'write "package.module:function"')
    return kind, target, block.options, files


def _predictions(raw: str | dict[str, str], base: Path, where: str) -> dict[str, Path]:
    """Return {cohort: prediction file}.

    `raw` is a block with one file for each cohort, or a folder with files COHORT.csv or COHORT.parquet.
    """
    if isinstance(raw, dict):
        return {name: _file(file, base, f"{where}.{name}") for name, file in raw.items()}
    files = {path.stem: path for path in sorted((base / raw).glob("*")) if path.suffix in (".csv", ".parquet")}
    if not files:
        fix = "name a folder with a file for each cohort, COHORT.csv or COHORT.parquet"
        raise ConfigError(f"{raw!r} has no .csv or .parquet file", where, fix)
    return files


def _file(raw: str, folder: Path, where: str) -> Path:
    path = folder / raw
    if not path.is_file():
        raise ConfigError(f"the file {path} does not exist", where, "give its path relative to model.yaml")
    return path


def _input(raw: Any, where: str) -> Input:
    """Return the checked block `preprocessing:` of model.yaml. A range is converted to mean and std."""
    block = _typed(raw, _Preprocessing, where)
    given = [value is not None for value in (block.range, block.mean, block.std)]
    if given not in ([True, False, False], [False, True, True]):
        fix = "add either `mean:` and `std:` for images in [0, 1], or `range: [low, high]`"
        raise ConfigError("the scale of the gray values is missing or given twice", where, fix)
    if block.range is not None:
        low, high = block.range
        if high <= low:
            what = f"the first number of range must be below the second (got {[low, high]})"
            raise ConfigError(what, f"{where}.range", "write [low, high], e.g. [-1024, 1024]")
        # so that (x - mean) / std = low + (high - low) x for gray values x from 0 to 1, in each of the three channels
        mean = (-low / (high - low),) * 3
        std = (1 / (high - low),) * 3
    else:
        mean, std = (each if isinstance(each, tuple) else (each or 0.0,) * 3 for each in (block.mean, block.std))
        if not 0 <= min(mean) <= max(mean) <= 1:
            what = f"mean must be from 0 to 1, as the images (got {max(mean, key=abs):g})"
            fix = "divide mean and std by 255 if they are for values from 0 to 255, or write `range: [low, high]`"
            raise ConfigError(what, f"{where}.mean", fix)
        if min(std) <= 0:
            raise ConfigError("std must be above 0", f"{where}.std", "write the std that the model was trained with")
    if {name for name, _ in parse(block.ops)} & {*TABLE_OPS, "imagenet"}:
        fix = "choose from roi, adaptive_roi, clahe, minmax, zscore; mean and std are applied last"
        raise ConfigError(f"invalid ops {block.ops!r}", f"{where}.ops", fix)
    sizes = block.size, block.fit, block.channels, block.input
    model_input = Input(*sizes, tuple(block.ops), block.interpolation, mean, std)
    geometry(model_input.facts)  # raises ConfigError for an invalid size or fit
    return model_input


def _outputs(raw: Any, where: str, names_required: bool) -> Outputs:
    """Return the meaning of the outputs. With `names_required`, the block must list the finding of each output."""
    outputs = _typed(raw, Outputs, where)
    if names_required != ("names" in raw):
        what = "the names of the outputs are missing" if names_required else "names is not valid with predictions"
        fix = "list them in the order of the network" if names_required else "remove it: the column names are used"
        raise ConfigError(what, f"{where}.names", fix)
    names = [name or "" for name in outputs.names]
    return replace(outputs, names=_findings(names, outputs.rename, outputs.drop, where)) if names_required else outputs


def _findings(output_names: list[str], rename: Mapping[str, str], drop: Sequence[str], where: str) -> tuple[str, ...]:
    """Return the findings of the outputs, "" for an output that is dropped or has no name."""
    findings = {finding for names in labels_yaml()["spaces"].values() for finding in names}
    if absent := [name for name in (*rename, *drop) if name not in output_names]:
        fix = f"choose from: {', '.join(filter(None, output_names))}"
        raise ConfigError(f"the model has no output {absent[0]!r}", where, fix)
    renamed = ["" if name in drop else rename.get(name, name) for name in output_names]
    if unknown := [name for name in renamed if name and name not in findings]:
        fix = f"map it with `rename: {{{unknown[0]}: FINDING}}`, or drop it with `drop: [{unknown[0]}]`"
        fix = ConfigError.hint(unknown[0], findings) + fix
        raise ConfigError(f"unknown findings {', '.join(map(repr, unknown))}", f"{where}.names", fix)
    if repeated := [name for name in renamed if name and renamed.count(name) > 1]:
        raise ConfigError(f"two outputs have the name {repeated[0]!r}", where, "drop one of them")
    return tuple(renamed)


def _exposure(raw: Any, where: str) -> DataExposure:
    """Return the declared data exposure: the data on which the model was trained.

    Names of cohorts are not checked here: `bench.extensions.imported.rows.planned_model` refuses unknown names, which may be typing
    errors. Training data that are not a cohort of this project belong under `others`.
    """
    location = f"{where}: trained_on"
    exposure = _typed(raw, DataExposure, location)
    if "seen" in raw and "cohorts" in raw:
        fix = "remove `cohorts`: `seen` states the same for each hospital"
        raise ConfigError("cohorts and seen are both given", location, fix)
    if "seen" in raw:
        seen = SeenData.parse(raw["seen"], Path(where).parent, f"{location}.seen")
        cohorts = tuple(name for name, entry in seen.items() if entry.had_seen and name != OTHERS)
        exposure = replace(exposure, cohorts=cohorts, seen=seen)
    elif "cohorts" not in raw:
        fix = "list its datasets, e.g. `cohorts: [nih, padchest]`, or `cohorts: []` if none is a dataset of this project; or write `seen`"
        raise ConfigError("the training data of the model are missing", f"{location}.cohorts", fix)
    texts = exposure.pretraining, exposure.licence, exposure.source
    _check_texts((*exposure.cohorts, *exposure.others, *texts), location)
    return exposure


def _check_texts(texts: Iterable[str], where: str) -> None:
    """Raise ConfigError for a text that does not fit on the page."""
    if any(len(text) > 500 or not text.isprintable() for text in texts):
        what = "a text has more than 500 characters, or has control characters"
        raise ConfigError(what, where, "shorten the text to one line")
