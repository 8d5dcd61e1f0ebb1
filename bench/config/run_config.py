"""What a run is: names and numbers only, checked where the user's file enters.

Every field decides the trained weights, so every field is part of the run id. A field that stands at its default is
left out of the id: a field added later does not re-key old runs. A default therefore never changes.
"""

import functools
import math
import typing
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from difflib import get_close_matches
from typing import Any, TypeVar

from harmonize.cohorts.cohort_choice import CohortChoice
from harmonize.errors import ConfigError

T = TypeVar("T")


def one_of(name: str, value: object, allowed: tuple[Any, ...]) -> None:
    """Raise ValueError when a value is not among the allowed ones."""
    if value not in allowed:
        raise ValueError(f"{name} is one of {', '.join(map(str, allowed))}, not {value!r}")


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how to train."""

    epochs: int = 5
    batch_size: int = 64  # images per optimizer step
    micro_batch: int = 0  # images per forward pass; 0 = batch_size. It changes batch norm
    kind: str = "cosine"  # after a linear warm-up. cosine: to zero; constant; plateau: cut when val loss stands still
    warmup: float = 0.05  # share of the steps of a phase
    lr: float = 0.0  # 0 = the optimizer entry's own
    weight_decay: float = -1.0  # below 0 = the optimizer entry's own
    clip: float = 0.0  # largest global gradient norm; 0 = off
    patience: int = 0  # epochs without a better validation AUROC before stopping; 0 = off
    ema: float = 0.0  # decay of the averaged weights; 0 = off
    freeze_epochs: int = 0  # epochs in which only the head learns
    lr_scale: float = 1.0  # factor on the learning rate: 1/3, 1 and 3 are an equal budget for all optimizers
    plateau_factor: float = 0.1  # of kind plateau: what the learning rate is multiplied by
    plateau_patience: int = 2  # of kind plateau: epochs without a lower validation loss that are waited for
    stop_on: str = "val"  # whose AUROC `patience` watches: val, or expert_valid (labelled by radiologists)
    select_on: str = "val"  # whose AUROC chooses the epoch
    audit: bool = (
        False  # note the internal test AUROC of each epoch, so that what choosing by it would flatter can be shown
    )
    sampling: str = "shuffled"  # balanced: every forward pass has both classes of every finding, as AUC losses need
    pretrain_epochs: int = 0  # epochs with cross-entropy before those with the run's own loss; none of them is chosen

    def __post_init__(self) -> None:
        one_of("kind", self.kind, ("cosine", "constant", "plateau"))
        if self.epochs < 1:
            raise ValueError(f"epochs must be at least 1, not {self.epochs}")
        if self.batch_size < 2:
            raise ValueError(f"batch_size must be at least 2 for batch norm, not {self.batch_size}")
        if self.micro_batch and (self.micro_batch < 2 or self.batch_size % self.micro_batch):
            raise ValueError(
                f"micro_batch must divide batch_size {self.batch_size} and be at least 2, not {self.micro_batch}"
            )
        if not 0 <= self.warmup < 1:
            raise ValueError(f"warmup is a share of all steps in [0, 1), not {self.warmup}")
        if self.lr < 0 or self.clip < 0 or self.patience < 0 or self.freeze_epochs < 0:
            raise ValueError("lr, clip, patience and freeze_epochs are not negative")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema is a decay in [0, 1), not {self.ema}")
        self._check_policies()

    def _check_policies(self) -> None:
        one_of("stop_on", self.stop_on, ("val", "expert_valid"))
        one_of("select_on", self.select_on, ("val", "expert_valid"))
        one_of("sampling", self.sampling, ("shuffled", "balanced"))
        if self.freeze_epochs >= self.epochs:
            raise ValueError(f"freeze_epochs must be below epochs {self.epochs}, not {self.freeze_epochs}")
        if not 0 <= self.pretrain_epochs < self.epochs:
            raise ValueError(f"pretrain_epochs is 0 or more and below epochs {self.epochs}, not {self.pretrain_epochs}")
        if self.lr_scale <= 0:
            raise ValueError(f"lr_scale is a positive factor, not {self.lr_scale}")
        if not 0 < self.plateau_factor < 1 or self.plateau_patience < 0:
            raise ValueError("plateau_factor lies between 0 and 1, plateau_patience is not negative")
        if self.kind != "plateau" and (self.plateau_factor, self.plateau_patience) != (0.1, 2):
            raise ValueError("plateau_factor and plateau_patience belong to `kind: plateau`")
        if self.stop_on != "val" and not self.patience:
            raise ValueError("stop_on says what `patience` watches: give patience, or leave stop_on out")

    @property
    def watched(self) -> tuple[str, ...]:
        """Return the parts of the internal cohort that are predicted after each epoch: val always, test only to be noted."""
        return tuple(dict.fromkeys(("val", self.stop_on, self.select_on, *(("test",) if self.audit else ()))))


@dataclass(frozen=True, slots=True)
class Split:
    """Shares of the source's patients, by hash of the patient id."""

    train: float = 0.8
    val: float = 0.1
    test: float = 0.1

    def __post_init__(self) -> None:
        shares = (self.train, self.val, self.test)
        if min(shares) <= 0 or abs(sum(shares) - 1) > 1e-9:
            raise ValueError(f"train, val and test are positive shares that sum to 1, not {shares}")


@dataclass(frozen=True, slots=True)
class Limit:
    """What a run may use up at most.

    It is part of the run id, though what a run reaches by then depends on the machine: a run that was stopped early
    must never stand for one that was trained to its end, nor one with less time for one with more.
    """

    hours: float = 0.0  # of training and validation, wall clock; 0 = no limit

    def __post_init__(self) -> None:
        if self.hours < 0:
            raise ValueError(f"limit.hours is not negative, and 0 is none, not {self.hours}")

    def __str__(self) -> str:
        return f"{self.hours:g} hour{'s' if self.hours != 1 else ''}"


@dataclass(frozen=True, slots=True)
class HeadWeights:
    """What each head's loss counts; 0 leaves a further head out. Used by the heads that the run has, see `heads`."""

    findings: float = 1.0
    abnormal: float = 0.5
    device: float = 0.3
    projection: float = 0.005
    sex: float = 0.01

    def __post_init__(self) -> None:
        if self.findings <= 0 or min(self.abnormal, self.device, self.projection, self.sex) < 0:
            raise ValueError("the weight of the findings is above 0, those of further heads are not negative")


HEADS = {  # choice of heads -> what is learnt beside the findings
    "multilabel": (),
    "dual": ("abnormal",),
    "auxiliary": ("device", "projection", "sex"),
    "dual_auxiliary": ("abnormal", "device", "projection", "sex"),
}


@dataclass(frozen=True, slots=True)
class RunConfig:
    """One trained model, fully named: registry names, numbers and nothing else."""

    architecture: str
    optimizer: str
    loss: str
    uncertainty: str
    preprocessing: str
    train_on: str = "chexpert"
    space: str = "shared-9"  # which findings are learnt
    mapping: str = "default"  # default, strict or broad label mapping, at internal and external
    task: str = "multilabel"  # binary: one finding alone, named by `finding`
    finding: str = ""  # of a binary task
    label_source: str = "default"  # whose labels are learnt: default, or e.g. chexbert, negbio, physician
    cohort: CohortChoice = field(default_factory=CohortChoice)
    split: Split = field(default_factory=Split)
    weights: str = "none"  # where training starts from
    channels: int = 3
    heads: str = "multilabel"  # what the network learns beside the findings, see HEADS
    head_weights: HeadWeights = field(default_factory=HeadWeights)
    schedule: Schedule = field(default_factory=Schedule)
    limit: Limit = field(default_factory=Limit)
    precision: str = "mixed"  # mixed: bf16 on a GPU, fp32 on a CPU
    blank: str = "zero"  # what "not mentioned" teaches: zero (absent) or ignore
    augmentation: str = "none"
    selection: str = "best_val"
    seed: int = 0
    compile: bool = False  # train with torch.compile where it is faster on the machine at hand
    threads: int = 1  # of a CPU run; the same number gives the same weights

    def __post_init__(self) -> None:
        one_of("mapping", self.mapping, ("default", "strict", "broad"))
        one_of("task", self.task, ("multilabel", "binary"))
        if (self.task == "binary") != bool(self.finding):
            raise ValueError("`task: binary` and `finding: NAME` go together")
        if self.label_source != "default":  # which of them a layout has is known when the data is
            from harmonize.labels.findings import labels_yaml

            known = dict.fromkeys(name for sources in labels_yaml()["label_sources"].values() for name in sources)
            one_of("label_source", self.label_source, ("default", *known))
        one_of("channels", self.channels, (1, 3))
        one_of("heads", self.heads, tuple(HEADS))
        for name in differing(self.head_weights):
            if name not in HEADS[self.heads] and (name != "findings" or self.heads == "multilabel"):
                raise ValueError(f"head_weights.{name} weighs nothing with `heads: {self.heads}`")
        one_of("precision", self.precision, ("mixed", "fp32", "bf16", "fp16"))
        one_of("blank", self.blank, ("zero", "ignore"))
        one_of("selection", self.selection, ("best_val", "last"))
        if self.selection == "last" and self.schedule.select_on != "val":
            raise ValueError("schedule.select_on chooses the best epoch, but `selection: last` keeps the last")
        if self.threads < 1 or self.seed < 0:
            raise ValueError("threads is at least 1 and seed at least 0")

    @property
    def findings(self) -> tuple[str, ...]:
        """Return what the run learns to find, in the order of its outputs: the label space, or one finding of it."""
        from harmonize.labels.findings import space

        return (self.finding,) if self.task == "binary" else space(self.space)


# fields of RunConfig that name an entry of the registry -> its section
NAMED = {
    "architecture": "architectures",
    "optimizer": "optimizers",
    "loss": "losses",
    "uncertainty": "uncertainty",
    "preprocessing": "preprocessing",
    "augmentation": "augmentation",
    "weights": "weights",
}


def _fits(value: object, kind: Any) -> bool:
    return type(value) in (int, float) if kind is float else type(value) is kind


_hints = functools.cache(typing.get_type_hints)  # of a class: a page of 100 runs asks 600 times


def from_dict(kind: type[T], raw: object, where: str) -> T:
    """Build a config dataclass from a block of YAML; `where` is its place in the file.

    Raises ConfigError for an unknown or missing key, a wrong type or a value out of range.
    """
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{raw!r} is not a block of keys", where, "write `key: value` lines")
    hints = _hints(kind)  # type: ignore[arg-type]  # classes are hashable
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for key, value in raw.items():
        if key not in known:
            close = get_close_matches(str(key), known, n=1)
            fix = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(known)}"
            raise ConfigError(f"unknown key {key!r}", f"{where}.{key}", fix)
        expected = hints[key]
        if is_dataclass(expected):
            values[key] = from_dict(typing.cast("type[Any]", expected), value, f"{where}.{key}")
        elif type(value) is float and not math.isfinite(value):
            raise ConfigError(f"{key} is {value}", f"{where}.{key}", "give a finite number")
        elif not _fits(value, expected):
            name = getattr(expected, "__name__", str(expected))
            raise ConfigError(f"{key} is {value!r}, not of type {name}", f"{where}.{key}", f"give a plain {name}")
        else:
            values[key] = expected(value) if expected in (int, float, str) else value  # 0 -> 0.0: both hash alike
    required = [n for n, f in known.items() if f.default is MISSING and f.default_factory is MISSING]
    for name in required:
        if name not in values:
            raise ConfigError(f"{name} is missing", where, f"add `{name}: ...`")
    try:
        return kind(**values)
    except ValueError as error:
        raise ConfigError(str(error), where, "correct the value; docs/grids.md lists what each key takes") from error


def differing(config: Any) -> dict[str, Any]:
    """Return the fields of a config that are not at their defaults, nested ones too.

    >>> differing(Schedule(epochs=3))
    {'epochs': 3}
    """
    out: dict[str, Any] = {}
    for f in fields(config):
        value = getattr(config, f.name)
        default = f.default_factory() if f.default_factory is not MISSING else f.default
        if value == default:
            continue
        out[f.name] = differing(value) if is_dataclass(value) else value
    return out


def full(config: Any) -> dict[str, Any]:
    """Return all fields of a config as plain values."""
    return asdict(config)


def flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration of plain values without nesting: dotted keys in place of blocks.

    >>> flat({"loss": "bce", "schedule": {"lr": 0.1}})
    {'loss': 'bce', 'schedule.lr': 0.1}
    """
    out: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            out |= {f"{key}.{name}": inner for name, inner in flat(value).items()}
        else:
            out[key] = value
    return out
