"""The configuration of a run: names of registry entries and numbers, which are checked when the user's file is read.

Every field affects the trained weights, so the run id depends on all fields. The hashed text leaves out each field that
has its default value, so a new field does not change the ids of old runs. For the same reason, a default must never
change.
"""

import functools
import math
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from typing import Any, Self, TypeVar

from harmonize.cohorts.cohort_choice import CohortChoice
from harmonize.cohorts.pool_names import check_pool, hospitals_of
from harmonize.errors import ConfigError
from reports import extensions, hooks

T = TypeVar("T")


def added_heads() -> Mapping[str, hooks.Head]:
    """Return the output layers of extensions, which are made without training, by their value of the key `head`."""
    return {module.KEY: module.HEAD for module in extensions.modules(hooks.Architectures) if module.HEAD}


def one_of(name: str, value: object, allowed: tuple[Any, ...]) -> None:
    """Raise ValueError if a value is not allowed."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(str, allowed))} (got {value!r})")


@dataclass(frozen=True, slots=True)
class Schedule:
    """The training schedule: length, batches, learning rate, stopping and selection of the epoch."""

    epochs: int = 5
    batch_size: int = 64  # images per optimizer step
    micro_batch: int = 0  # images per forward pass (batch norm uses this number); 0: batch_size
    # learning rate after a linear warm-up: cosine (to zero), constant, or plateau (lower when val loss stops falling)
    kind: str = "cosine"
    warmup: float = 0.05  # length of the warm-up, as a share of the steps of a training phase
    lr: float = 0.0  # 0: value of the optimizer entry
    weight_decay: float = -1.0  # below 0: value of the optimizer entry
    clip: float = 0.0  # maximum global gradient norm; 0: off
    patience: int = 0  # epochs without a better validation AUROC before stopping; 0: off
    ema: float = 0.0  # decay of the exponential moving average of the weights; 0: no average
    freeze_epochs: int = 0  # number of epochs at the start in which only the output layer is trained
    # The learning rate of the optimizer entry is multiplied by this number. A sweep over 1/3, 1 and 3 tunes every
    # optimizer with the same effort.
    lr_scale: float = 1.0
    plateau_factor: float = 0.1  # only for the kind plateau: number by which a decrease multiplies the learning rate
    # only for the kind plateau: epochs without a lower validation loss before the learning rate decreases
    plateau_patience: int = 2
    stop_on: str = "val"  # split whose AUROC `patience` watches: val, or expert_valid (labeled by radiologists)
    select_on: str = "val"  # split whose AUROC selects the epoch
    # whether the internal test AUROC of each epoch is recorded; the record shows by how much the test AUROC would be too
    # high if the test split selected the epoch
    audit: bool = False
    sampling: str = "shuffled"  # balanced: each forward pass has positive and negative images of each finding (AUC losses need this)
    pretrain_epochs: int = 0  # epochs with cross-entropy before the run's own loss; these epochs are never selected

    def __post_init__(self) -> None:
        one_of("kind", self.kind, ("cosine", "constant", "plateau"))
        if self.epochs < 1:
            raise ValueError(f"epochs must be at least 1 (got {self.epochs})")
        if self.batch_size < 2:
            raise ValueError(f"batch_size must be at least 2, for batch norm (got {self.batch_size})")
        if self.micro_batch and (self.micro_batch < 2 or self.batch_size % self.micro_batch):
            raise ValueError(
                f"micro_batch must divide batch_size {self.batch_size} and be at least 2 (got {self.micro_batch})"
            )
        if not 0 <= self.warmup < 1:
            raise ValueError(f"warmup must be a share of the steps in [0, 1) (got {self.warmup})")
        if self.lr < 0 or self.clip < 0 or self.patience < 0 or self.freeze_epochs < 0:
            raise ValueError("lr, clip, patience and freeze_epochs must not be negative")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema must be a decay in [0, 1) (got {self.ema})")
        self._check_policies()

    def _check_policies(self) -> None:
        """Check stopping, selection, sampling and the phases of training."""
        one_of("stop_on", self.stop_on, ("val", "expert_valid"))
        one_of("select_on", self.select_on, ("val", "expert_valid"))
        one_of("sampling", self.sampling, ("shuffled", "balanced"))
        if self.freeze_epochs >= self.epochs:
            raise ValueError(f"freeze_epochs must be below epochs {self.epochs} (got {self.freeze_epochs})")
        if not 0 <= self.pretrain_epochs < self.epochs:
            raise ValueError(
                f"pretrain_epochs must be from 0 to below epochs {self.epochs} (got {self.pretrain_epochs})"
            )
        if self.lr_scale <= 0:
            raise ValueError(f"lr_scale must be positive (got {self.lr_scale})")
        if not 0 < self.plateau_factor < 1 or self.plateau_patience < 0:
            raise ValueError("plateau_factor must be between 0 and 1, and plateau_patience must not be negative")
        if self.kind != "plateau" and (self.plateau_factor, self.plateau_patience) != (0.1, 2):
            raise ValueError("plateau_factor and plateau_patience are only valid with `kind: plateau`")
        if self.stop_on != "val" and not self.patience:
            raise ValueError("stop_on is only valid with `patience`: set patience, or remove stop_on")

    @property
    def watched(self) -> tuple[str, ...]:
        """Return the internal splits that are predicted after each epoch.

        With `audit`, the split `test` is also predicted; the AUROC on `test` is recorded, but decides nothing.
        """
        return tuple(dict.fromkeys(("val", self.stop_on, self.select_on, *(("test",) if self.audit else ()))))

    def effective_batch_size(self, num_images: int) -> int:
        """Return the number of images per optimizer step: `batch_size`, or fewer for a small training set.

        The last micro-batch of a batch never has a single image, because batch norm cannot compute a variance from one image.

        >>> Schedule(batch_size=64, micro_batch=8).effective_batch_size(17)
        16
        """
        size = min(self.batch_size, num_images)
        return size - (size % (self.micro_batch or size) == 1)

    def phase(self, epoch: int) -> range:
        """Return the range of epochs of the training phase to which `epoch` belongs; epochs are counted from 1.

        A phase ends when the backbone is unfrozen, and when the run's own loss replaces cross-entropy.

        >>> schedule = Schedule(epochs=5, freeze_epochs=1, pretrain_epochs=3)
        >>> [schedule.phase(epoch) for epoch in (1, 2, 4)]
        [range(1, 2), range(2, 4), range(4, 6)]
        """
        ends = sorted({self.freeze_epochs, self.pretrain_epochs, self.epochs} - {0})
        last = next(end for end in ends if epoch <= end)
        return range(max((end for end in ends if end < epoch), default=0) + 1, last + 1)

    def should_stop(self, history: Sequence[Mapping[str, float]]) -> bool:
        """Return whether early stopping applies: the AUROC on `stop_on` has not improved for `patience` epochs.

        Epochs with a frozen backbone do not count. Pretraining epochs (cross-entropy before another loss) do not count
        either, and their AUROC is ignored.
        """
        if not self.patience or len(history) <= self.pretrain_epochs:
            return False
        auroc = [row[f"{self.stop_on}_auroc"] for row in history[self.pretrain_epochs :]]
        best = self.pretrain_epochs + 1 + auroc.index(max(auroc))
        return len(history) - max(best, self.freeze_epochs) >= self.patience


@dataclass(frozen=True, slots=True)
class Split:
    """Shares of the internal patients per split. A hash of the patient id assigns the split."""

    train: float = 0.8
    val: float = 0.1
    test: float = 0.1

    def __post_init__(self) -> None:
        shares = (self.train, self.val, self.test)
        if min(shares) <= 0 or abs(sum(shares) - 1) > 1e-9:
            raise ValueError(f"train, val and test must be positive shares that sum to 1 (got {shares})")


@dataclass(frozen=True, slots=True)
class Limit:
    """The maximum training time of a run.

    The limit is part of the run id, although its effect depends on the machine. So a run that the limit stopped never
    has the id of a fully trained run, or of a run with another limit.
    """

    hours: float = 0.0  # wall-clock time of training and validation; 0: no limit

    def __post_init__(self) -> None:
        if self.hours < 0:
            raise ValueError(f"limit.hours must not be negative; 0 is no limit (got {self.hours})")

    def __str__(self) -> str:
        return f"{self.hours:g} hour{'s' if self.hours != 1 else ''}"


@dataclass(frozen=True, slots=True)
class LoraSize:
    """The size of the trained matrices with `head: lora`."""

    rank: int = 8
    alpha: float = 16.0  # the product of the two matrices is multiplied by alpha / rank

    def __post_init__(self) -> None:
        if self.rank < 1 or self.alpha <= 0:
            raise ValueError(
                f"lora.rank must be at least 1, and lora.alpha above 0 (got {self.rank} and {self.alpha:g})"
            )


@dataclass(frozen=True, slots=True)
class HeadWeights:
    """Loss weights of the findings and of the auxiliary heads (additional outputs). The weight 0 removes an auxiliary head."""

    findings: float = 1.0
    abnormal: float = 0.5
    device: float = 0.3
    projection: float = 0.005
    sex: float = 0.01

    def __post_init__(self) -> None:
        if self.findings <= 0 or min(self.abnormal, self.device, self.projection, self.sex) < 0:
            raise ValueError("head_weights.findings must be above 0, and the others must not be negative")


HEADS = {  # value of `heads` -> auxiliary heads besides the findings
    "multilabel": (),
    "dual": ("abnormal",),
    "auxiliary": ("device", "projection", "sex"),
    "dual_auxiliary": ("abnormal", "device", "projection", "sex"),
}


@dataclass(frozen=True, slots=True)
class Head:
    """One auxiliary head of a run."""

    name: str
    weight: float  # weight of its loss term
    finding: int | None  # index of the finding that shares its output with the head; None: the head has its own output

    @property
    def column(self) -> str:
        """Return the name of the head's column in prediction files. No finding has such a name."""
        return f"head:{self.name}"


@dataclass(frozen=True, slots=True)
class RunConfig:
    """The complete configuration of one run: registry names and numbers, nothing else."""

    architecture: str
    optimizer: str
    loss: str
    uncertainty: str
    preprocessing: str
    # the internal cohort: one training hospital, or a pool of several (`[chexpert, mimic]` in a grid, then chexpert+mimic)
    train_on: str = "chexpert"
    # hospital of the pool on which this run does not train; it is an external hospital of this run. "": none
    leave_out: str = ""
    space: str = "shared-9"  # label space: the findings that are learned
    mapping: str = "default"  # default, strict or broad label mapping, for internal and external cohorts
    task: str = "multilabel"  # multilabel, or binary: only one finding, named by `finding`
    finding: str = ""  # the finding of a binary task
    # source of the training labels: default, hybrid (a source for each finding), or a source such as chexbert or negbio
    label_source: str = "default"
    cohort: CohortChoice = field(default_factory=CohortChoice)
    split: Split = field(default_factory=Split)
    weights: str = "none"  # starting weights: none (random), imagenet, or another entry of the registry
    channels: int = 3
    heads: str = "multilabel"  # auxiliary heads, see HEADS
    head_weights: HeadWeights = field(default_factory=HeadWeights)
    schedule: Schedule = field(default_factory=Schedule)
    limit: Limit = field(default_factory=Limit)
    precision: str = "mixed"  # mixed: bf16 on a GPU, fp32 on a CPU
    blank: str = "zero"  # training label of "not mentioned": zero (absent) or ignore (no label)
    augmentation: str = "none"
    selection: str = "best_val"
    seed: int = 0
    compile: bool = False  # train with torch.compile if that is faster on this machine
    threads: int = 1  # CPU threads of a run; the same number gives the same weights
    # own: all weights are trained; probe: logistic regression on the features of the frozen network; lora: low-rank changes
    # of the linear layers, and the output layer, are trained; attention: the pooling over the patches of a frozen
    # transformer, and the output layer, are trained; the heads of extensions (`prompts`): zero-shot, nothing is trained
    head: str = "own"
    lora: LoraSize = field(default_factory=LoraSize)  # only with `head: lora`
    shots: int = 0  # only for a probe: number of present and of absent training images of each finding; 0: all
    # how the loss of a batch is computed: erm (mean over the images), or an algorithm that compares groups
    algorithm: str = "erm"
    # the groups of the training images: hospital, sex, age (bands), view, device, or another column of the cohort's table;
    # only with an algorithm that uses groups
    groups: str = "hospital"

    def __post_init__(self) -> None:
        check_pool(self.train_on, self.leave_out)
        one_of("mapping", self.mapping, ("default", "strict", "broad"))
        one_of("task", self.task, ("multilabel", "binary"))
        if (self.task == "binary") != bool(self.finding):
            raise ValueError("`task: binary` requires `finding: NAME`; with another task, `finding` is not valid")
        if self.label_source != "default":  # whether a dataset has the source is checked when its labels are read
            from harmonize.labels.findings import HYBRID, labels_yaml

            names = dict.fromkeys(name for sources in labels_yaml()["label_sources"].values() for name in sources)
            one_of("label_source", self.label_source, ("default", *names, HYBRID))
        one_of("channels", self.channels, (1, 3))
        one_of("heads", self.heads, tuple(HEADS))
        for name in differing(self.head_weights):
            if name not in HEADS[self.heads] and (name != "findings" or self.heads == "multilabel"):
                raise ValueError(f"head_weights.{name} has no effect with `heads: {self.heads}`")
        one_of("precision", self.precision, ("mixed", "fp32", "bf16", "fp16"))
        one_of("blank", self.blank, ("zero", "ignore"))
        one_of("selection", self.selection, ("best_val", "last"))
        if self.selection == "last" and self.schedule.select_on != "val":
            raise ValueError("schedule.select_on has no effect with `selection: last`")
        one_of("head", self.head, ("own", "probe", *added_heads(), "lora", "attention"))
        if self.head != "lora" and self.lora != LoraSize():
            raise ValueError("lora is only valid with `head: lora`")
        if self.shots < 0 or (self.shots and self.head != "probe"):
            raise ValueError("shots must not be negative (0: all images), and needs `head: probe`")
        if self.is_frozen and self.heads != "multilabel":
            raise ValueError(f"`head: {self.head}` has no auxiliary heads: remove `heads: {self.heads}`")
        if self.threads < 1 or self.seed < 0:
            raise ValueError("threads must be at least 1 and seed at least 0")

    @property
    def findings(self) -> tuple[str, ...]:
        """Return the findings in the order of the outputs: all findings of the label space, or one finding."""
        from harmonize.labels.findings import space

        return (self.finding,) if self.task == "binary" else space(self.space)

    @property
    def hospitals(self) -> tuple[str, ...]:
        """Return the training hospitals: one, or those of a pool in alphabetical order without the hospital `leave_out`."""
        return tuple(name for name in hospitals_of(self.train_on) if name != self.leave_out)

    @property
    def named(self) -> dict[str, str]:
        """Return the sections of the registry entries that the configuration names, by field."""
        return NAMED | {
            key: section for key, (section, default) in NAMED_UNLESS.items() if getattr(self, key) != default
        }

    @property
    def is_frozen(self) -> bool:
        """Return whether the run uses the features of its network without training the network."""
        return self.head == "probe" or self.head in added_heads()

    @property
    def added_head(self) -> hooks.Head | None:
        """Return the output layer of an extension, which is made without training; None for the core's heads."""
        return added_heads().get(self.head)

    @property
    def labeled_images_only(self) -> bool:
        """Return whether training leaves out the images on which no finding of the run has a label.

        A run that learns one finding, or ignores findings that are not mentioned, would otherwise spend most of its
        steps on images with loss 0. Other runs use all images.
        """
        return self.task == "binary" or self.blank == "ignore"

    @property
    def of_panel(self) -> Self:
        """Return the configuration of the panel (joined runs with one finding each) to which this run belongs: all findings, other fields unchanged."""
        return replace(self, task="multilabel", finding="")

    @property
    def settings(self) -> dict[str, Any]:
        """Return the fields that differ from their defaults, as a flat mapping with dotted keys."""
        return flat(differing(self))

    @property
    def auxiliary_heads(self) -> tuple[Head, ...]:
        """Return the auxiliary heads with a weight above 0, in the order of their outputs."""
        from harmonize.labels.findings import ABNORMAL

        heads = []
        for name in HEADS[self.heads]:
            shared = self.findings.index(ABNORMAL) if name == "abnormal" and ABNORMAL in self.findings else None
            heads.append(Head(name, float(getattr(self.head_weights, name)), shared))
        return tuple(head for head in heads if head.weight > 0)

    @property
    def own_heads(self) -> tuple[Head, ...]:
        """Return the auxiliary heads that add an output to the network."""
        return tuple(head for head in self.auxiliary_heads if head.finding is None)


# field of RunConfig that names a registry entry -> section of that entry
NAMED = {
    "architecture": "architectures",
    "optimizer": "optimizers",
    "loss": "losses",
    "uncertainty": "uncertainty",
    "preprocessing": "preprocessing",
    "augmentation": "augmentation",
    "weights": "weights",
}
# The same for fields that name no entry at their default, so that run.json has no entry for them: field -> (section, default).
NAMED_UNLESS = {"algorithm": ("algorithms", "erm")}
SECTION_OF = NAMED | {key: section for key, (section, _) in NAMED_UNLESS.items()}


_TYPE_NAMES: Mapping[Any, str] = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


def _fits(value: object, kind: Any) -> bool:
    """Return whether a value has the type of its field. An int is also valid for a float field."""
    return type(value) in (int, float) if kind is float else type(value) is kind


# cached, because a page of 100 runs needs the type hints of a class 600 times
_hints = functools.cache(typing.get_type_hints)


def from_dict(kind: type[T], raw: object, where: str) -> T:
    """Build a config dataclass from a block of YAML. `where`: file and key of the block, for errors.

    Raises ConfigError for an unknown or missing key, a wrong type or a value out of range.
    """
    if not isinstance(raw, Mapping):
        raise ConfigError(f"expected a block of keys (got {raw!r})", where, "write `key: value` lines")
    hints = _hints(kind)  # type: ignore[arg-type]  # classes are hashable
    keys = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    ConfigError.known_keys(raw, keys, where)
    for key, value in raw.items():
        expected = hints[key]
        if is_dataclass(expected):
            values[key] = from_dict(typing.cast("type[Any]", expected), value, f"{where}.{key}")
        elif type(value) is float and not math.isfinite(value):
            raise ConfigError(f"{key} must be finite (got {value})", f"{where}.{key}", "write a finite number")
        elif not _fits(value, expected):
            type_name = _TYPE_NAMES.get(expected, getattr(expected, "__name__", str(expected)))
            several = f"write {type_name}; to try several, write `{key}` under `sweeps:`, not under `base:`"
            fix = several if isinstance(value, list) and ": base" in where else f"write {type_name}"
            raise ConfigError(f"{key} must be {type_name} (got {value!r})", f"{where}.{key}", fix)
        else:
            # a float field turns 0 into 0.0, so that 0 and 0.0 give the same run id
            values[key] = expected(value) if expected in (int, float, str) else value
    required = [n for n, f in keys.items() if f.default is MISSING and f.default_factory is MISSING]
    for name in required:
        if name not in values:
            raise ConfigError(f"{name} is missing", where, f"add `{name}: ...`")
    try:
        return kind(**values)
    except ValueError as error:
        raise ConfigError(str(error), where, "correct the value; docs/grids.md lists what each key takes") from error


def differing(config: Any) -> dict[str, Any]:
    """Return the fields of a config that differ from their defaults; nested configs become nested mappings.

    >>> differing(Schedule(epochs=3))
    {'epochs': 3}
    """
    changed: dict[str, Any] = {}
    for f in fields(config):
        value = getattr(config, f.name)
        default = f.default_factory() if f.default_factory is not MISSING else f.default
        if value == default:
            continue
        changed[f.name] = differing(value) if is_dataclass(value) else value
    return changed


def flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration as a mapping with dotted keys, such as schedule.lr, instead of nested blocks.

    >>> flat({"loss": "bce", "schedule": {"lr": 0.1}})
    {'loss': 'bce', 'schedule.lr': 0.1}
    """
    flattened: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flattened |= {f"{key}.{name}": inner for name, inner in flat(value).items()}
        else:
            flattened[key] = value
    return flattened
