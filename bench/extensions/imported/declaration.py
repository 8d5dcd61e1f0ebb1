"""model.yaml: the description of an imported model (a model that was trained elsewhere).

model.yaml states the model's files, input, outputs and training data. A file of weights does not contain all of these
facts, so the owner of the model declares them. `bench.extensions.imported.networks` checks the declared input and outputs.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from bench.config.preprocessing_ops import TABLE_OPS, geometry, parse
from bench.config.run_config import from_dict
from bench.config.seen import OTHERS, SeenData
from harmonize.errors import ConfigError
from harmonize.labels.findings import labels_yaml
from harmonize.yaml_file import read_yaml

SOURCES = ("timm", "onnx", "export", "function", "predictions")  # keys of `model:`; exactly one is required
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
    interpolation: str = ""  # of `pixels.INTERPOLATIONS`; "": the default
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

    kind: str  # logit or probability
    names: tuple[str, ...] = ()  # finding of each output; "" for a dropped output
    rename: Mapping[str, str] = field(default_factory=dict)
    drop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DataExposure:
    """The data exposure of the model, as the owner of the model declares it. The declaration cannot be checked."""

    cohorts: tuple[str, ...]  # cohorts whose data it had seen, by the names that this project uses
    others: tuple[str, ...] = ()  # other training data, described in words
    pretraining: str = "unknown"
    licence: str = "not stated"
    source: str = ""
    # the block `seen`; {} if `cohorts` lists the training data
    seen: Mapping[str, SeenData] = field(default_factory=dict)


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
        raw, where = _block(read_yaml(path), str(path)), str(path)
        ConfigError.known_keys(raw, _KEYS, where)
        name = str(raw.get("name", "")).strip()
        if not name or len(name) > 60 or not name.isprintable():
            what = "name must be a text of 1 to 60 characters"
            raise ConfigError(what, f"{where}: name", "add `name: My network`")
        kind, target, options, files = _model(
            _block(raw.get("model"), f"{where}: model"), path.parent, f"{where}: model"
        )
        model_input = None if kind == "predictions" else _input(raw.get("preprocessing"), f"{where}: preprocessing")
        if model_input is None and "preprocessing" in raw:
            raise ConfigError("predictions cannot have preprocessing", f"{where}: preprocessing", "remove the block")
        outputs = _outputs(raw.get("outputs"), kind != "predictions", f"{where}: outputs")
        exposure = _exposure(raw.get("trained_on"), where)
        facts = _block(raw.get("stated") or {}, f"{where}: stated")
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


def _block(raw: Any, where: str) -> Mapping[str, Any]:
    """Return `raw`, a block of keys. Raises ConfigError if the block is missing, or if `raw` is not a block."""
    if not isinstance(raw, Mapping):
        what = "the block is missing" if raw is None else f"expected a block of keys (got {raw!r})"
        raise ConfigError(what, where, _SEE)
    return raw


def _model(raw: Mapping[str, Any], folder: Path, where: str) -> tuple[str, str, Mapping[str, Any], Mapping[str, Path]]:
    """Return kind, target, options and files of the block `model:`. Paths are relative to model.yaml."""
    ConfigError.known_keys(raw, (*SOURCES, "weights", "with"), where)
    kinds = [key for key in SOURCES if key in raw]
    if len(kinds) != 1:
        what = f"`model:` names {' and '.join(kinds) if kinds else 'no source'}"
        raise ConfigError(what, where, f"name exactly one of {', '.join(SOURCES)}; {_SEE}")
    (kind,) = kinds
    if kind == "predictions":
        files = _predictions(raw[kind], folder, f"{where}.predictions")
    elif kind in ("onnx", "export"):
        files = {"file": _file(raw[kind], folder, f"{where}.{kind}")}
    else:
        files = {"weights": _file(raw["weights"], folder, f"{where}.weights")} if "weights" in raw else {}
    if kind == "timm" and not files:
        raise ConfigError("a timm model needs weights", where, "add `weights: FILE.safetensors`")
    if files and kind not in ("timm", "function") and {"weights", "with"} & raw.keys():
        raise ConfigError(f"`weights` and `with` are not valid with `{kind}`", where, "remove them")
    target = str(raw[kind]) if kind in ("timm", "function") else ""
    if kind == "function" and not all(target.partition(":")):
        raise ConfigError(f"{target!r} is not a function", f"{where}.function", 'write "package.module:function"')
    return kind, target, _block(raw.get("with") or {}, f"{where}.with"), files


def _predictions(raw: Any, base: Path, where: str) -> dict[str, Path]:
    """Return {cohort: prediction file}.

    `raw` is a block with one file for each cohort, or a folder with files COHORT.csv or COHORT.parquet.
    """
    if isinstance(raw, Mapping):
        return {str(name): _file(file, base, f"{where}.{name}") for name, file in raw.items()}
    folder = base / str(raw)
    files = {p.stem: p for p in sorted(folder.glob("*")) if p.suffix in (".csv", ".parquet")} if folder.is_dir() else {}
    if not files:
        raise ConfigError(
            f"{str(raw)!r} has no .csv or .parquet file",
            where,
            "name a folder with a file for each cohort, COHORT.csv or COHORT.parquet",
        )
    return files


def _file(raw: Any, folder: Path, where: str) -> Path:
    path = folder / str(raw)
    if not path.is_file():
        raise ConfigError(f"the file {path} does not exist", where, "give its path relative to model.yaml")
    return path


def _input(raw: Any, where: str) -> Input:
    """Return the checked block `preprocessing:` of model.yaml.

    The block has `mean` and `std`, or `range: [low, high]` for a network whose input lies between these two numbers. A range
    is converted to mean and std.
    """
    block = dict(_block(raw, where))
    ConfigError.known_keys(
        block, ("size", "fit", "channels", "input", "ops", "interpolation", "mean", "std", "range"), where
    )
    scaled = {"mean", "std"} & block.keys()
    if ("range" in block) == bool(scaled) or len(scaled) == 1:
        fix = "add either `mean:` and `std:` for images in [0, 1], or `range: [low, high]`"
        raise ConfigError("the scale of the gray values is missing or given twice", where, fix)
    if "range" in block:
        low, high = _numbers(block.pop("range"), 2, f"{where}.range")
        if high <= low:
            what = f"the first number of range must be below the second (got {[low, high]})"
            raise ConfigError(what, f"{where}.range", "write [low, high], e.g. [-1024, 1024]")
        mean, std = (-low / (high - low),) * 3, (1 / (high - low),) * 3
    else:
        mean, std = (_triple(block.pop(key), f"{where}.{key}") for key in ("mean", "std"))
        if not 0 <= min(mean) <= max(mean) <= 1:
            fix = "divide mean and std by 255 if they are for values from 0 to 255, or write `range: [low, high]`"
            raise ConfigError(
                f"mean must be from 0 to 1, as the images (got {max(mean, key=abs):g})", f"{where}.mean", fix
            )
        if min(std) <= 0:
            raise ConfigError("std must be above 0", f"{where}.std", "write the std that the model was trained with")
    ops = block.pop("ops", None) or ()
    names = [name for name, _ in parse(ops)] if isinstance(ops, list | tuple) else None
    if names is None or set(names) & {*TABLE_OPS, "imagenet"}:
        fix = "choose from roi, adaptive_roi, clahe, minmax, zscore; mean and std are applied last"
        raise ConfigError(f"invalid ops {ops!r}", f"{where}.ops", fix)
    if block.get("channels", 3) not in (1, 3):
        raise ConfigError(f"channels must be 1 or 3 (got {block['channels']!r})", f"{where}.channels", "write 1 or 3")
    model_input = replace(from_dict(Input, block, where), ops=tuple(ops), mean=mean, std=std)
    geometry(model_input.facts)  # raises ConfigError for an invalid size or fit
    return model_input


def _numbers(raw: Any, num: int, where: str) -> tuple[float, ...]:
    if not isinstance(raw, list) or len(raw) != num or not all(type(v) in (int, float) for v in raw):
        raise ConfigError(f"expected {num} numbers (got {raw!r})", where, f"write [{', '.join(['0.5'] * num)}]")
    return tuple(map(float, raw))


def _triple(raw: Any, where: str) -> tuple[float, float, float]:
    red, green, blue = _numbers([raw] * 3 if type(raw) in (int, float) else raw, 3, where)
    return red, green, blue


def _outputs(raw: Any, names_required: bool, where: str) -> Outputs:
    """Return the meaning of the outputs. With `names_required`, the block must list the finding of each output."""
    block = _block(raw, where)
    ConfigError.known_keys(block, ("kind", "names", "rename", "drop"), where)
    if block.get("kind") not in ("logit", "probability"):
        fix = "add `kind: logit` (before the sigmoid) or `kind: probability` (after it)"
        raise ConfigError(f"kind must be logit or probability (got {block.get('kind')!r})", f"{where}.kind", fix)
    rename = {str(k): str(v) for k, v in _block(block.get("rename") or {}, f"{where}.rename").items()}
    drop = block.get("drop") or []
    if not isinstance(drop, list):
        raise ConfigError(f"drop must be a list (got {drop!r})", f"{where}.drop", "write `drop: [NAME]`")
    drop = tuple(map(str, drop))
    names = block.get("names")
    if names_required and not isinstance(names, list):
        raise ConfigError(
            "the names of the outputs are missing", f"{where}.names", "list them in the order of the network"
        )
    if not names_required and names is not None:
        raise ConfigError(
            "names is not valid with predictions", f"{where}.names", "remove `names`: the column names are used"
        )
    output_names = ["" if name is None else str(name) for name in names or ()]
    return Outputs(block["kind"], _findings(output_names, rename, drop, where) if names_required else (), rename, drop)


def _findings(output_names: list[str], rename: Mapping[str, str], drop: Sequence[str], where: str) -> tuple[str, ...]:
    """Return the findings of the outputs, "" for an output that is dropped or has no name."""
    findings = {finding for names in labels_yaml()["spaces"].values() for finding in names}
    if absent := [name for name in (*rename, *drop) if name not in output_names]:
        raise ConfigError(
            f"the model has no output {absent[0]!r}", where, f"choose from: {', '.join(filter(None, output_names))}"
        )
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
    block = dict(_block(raw, location))
    ConfigError.known_keys(block, ("cohorts", "seen", "others", "pretraining", "licence", "source"), location)
    if "seen" in block and "cohorts" in block:
        fix = "remove `cohorts`: `seen` states the same for each hospital"
        raise ConfigError("cohorts and seen are both given", location, fix)
    seen = SeenData.parse(block.pop("seen"), Path(where).parent, f"{location}.seen") if "seen" in block else {}
    if seen:
        block["cohorts"] = [name for name, entry in seen.items() if entry.had_seen and name != OTHERS]
    if not isinstance(block.get("cohorts"), list):
        fix = "list its datasets, e.g. `cohorts: [nih, padchest]`, or `cohorts: []` if none is a dataset of this project; or write `seen`"
        raise ConfigError("the training data of the model are missing", f"{location}.cohorts", fix)
    if not isinstance(block.get("others") or [], list):
        raise ConfigError(
            f"others must be a list (got {block['others']!r})", f"{location}.others", "write a list of texts"
        )
    cohorts, others = (tuple(map(str, block.pop(key, None) or ())) for key in ("cohorts", "others"))
    texts = {key: str(value) for key, value in block.items()}
    _check_texts((*cohorts, *others, *texts.values()), location)
    return DataExposure(cohorts, others, **texts, seen=seen)


def _check_texts(texts: Iterable[str], where: str) -> None:
    """Raise ConfigError for a text that does not fit on the page."""
    if any(len(text) > 500 or not text.isprintable() for text in texts):
        what = "a text has more than 500 characters, or has control characters"
        raise ConfigError(what, where, "shorten the text to one line")
