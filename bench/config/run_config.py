"""The configuration of a run: names of registry entries and numbers, which are checked when the user's file is read.

Every field affects the trained weights, so the run id depends on all fields. The hashed text leaves out each field that
has its default value, so a new field does not change the ids of old runs. For the same reason, a default must never
change.
"""

import functools
import re
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from typing import Annotated, Any, Self, TypeVar

import msgspec
from msgspec import Meta

from harmonize.cohorts.cohort_choice import CohortChoice
from harmonize.cohorts.pool_names import check_pool, hospitals_of
from harmonize.errors import ConfigError
from reports import extensions, hooks

T = TypeVar("T")
Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
AboveZero = Annotated[float, Meta(gt=0)]
NotNegative = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, lt=1)]


def choice(*names: str) -> Meta:
    """Return the mark of a field with some allowed texts; `from_dict` checks it, as it checks ranges."""
    return Meta(pattern=f"^({'|'.join(names)})$")


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

    epochs: Positive = 5
    batch_size: Annotated[int, Meta(ge=2)] = 64  # images per optimizer step; batch norm needs 2
    micro_batch: Count = 0  # images per forward pass (batch norm uses this number); 0: batch_size
    # learning rate after a linear warm-up: cosine (to zero), constant, or plateau (lower when val loss stops falling)
    kind: Annotated[str, choice("cosine", "constant", "plateau")] = "cosine"
    warmup: Share = 0.05  # length of the warm-up, as a share of the steps of a training phase
    lr: NotNegative = 0.0  # 0: value of the optimizer entry
    weight_decay: float = -1.0  # below 0: value of the optimizer entry
    clip: NotNegative = 0.0  # maximum global gradient norm; 0: off
    patience: Count = 0  # epochs without a better validation AUROC before stopping; 0: off
    ema: Share = 0.0  # decay of the exponential moving average of the weights; 0: no average
    freeze_epochs: Count = 0  # number of epochs at the start in which only the output layer is trained
    # The learning rate of the optimizer entry is multiplied by this number. A sweep over 1/3, 1 and 3 tunes every
    # optimizer with the same effort.
    lr_scale: AboveZero = 1.0
    # only for the kind plateau: number by which a decrease multiplies the learning rate
    plateau_factor: Annotated[float, Meta(gt=0, lt=1)] = 0.1
    # only for the kind plateau: epochs without a lower validation loss before the learning rate decreases
    plateau_patience: Count = 2
    # split whose AUROC `patience` watches: val, or expert_valid (labeled by radiologists)
    stop_on: Annotated[str, choice("val", "expert_valid")] = "val"
    select_on: Annotated[str, choice("val", "expert_valid")] = "val"  # split whose AUROC selects the epoch
    # whether the AUROC of each epoch on `test` (and on `expert_test` if the cohort has it) is recorded; the record shows by
    # how much the test AUROC would be too high if the test split selected the epoch
    audit: bool = False
    # balanced: each forward pass has positive and negative images of each finding (AUC losses need this)
    sampling: Annotated[str, choice("shuffled", "balanced")] = "shuffled"
    pretrain_epochs: Count = 0  # epochs with cross-entropy before the run's own loss; these epochs are never selected

    def __post_init__(self) -> None:
        if self.micro_batch and (self.micro_batch < 2 or self.batch_size % self.micro_batch):
            raise ValueError(
                f"micro_batch must divide batch_size {self.batch_size} and be at least 2 (got {self.micro_batch})"
            )
        for name in ("freeze_epochs", "pretrain_epochs"):
            if (number := getattr(self, name)) >= self.epochs:
                raise ValueError(f"{name} must be below epochs {self.epochs} (got {number})")
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

    hours: NotNegative = 0.0  # wall-clock time of training and validation; 0: no limit

    def __str__(self) -> str:
        return f"{self.hours:g} hour{'s' if self.hours != 1 else ''}"


@dataclass(frozen=True, slots=True)
class LoraSize:
    """The size of the trained matrices with `head: lora`."""

    rank: Positive = 8
    alpha: AboveZero = 16.0  # the product of the two matrices is multiplied by alpha / rank


@dataclass(frozen=True, slots=True)
class HeadWeights:
    """Loss weights of the findings and of the auxiliary heads (additional outputs). The weight 0 removes an auxiliary head."""

    findings: AboveZero = 1.0
    abnormal: NotNegative = 0.5
    device: NotNegative = 0.3
    projection: NotNegative = 0.005
    sex: NotNegative = 0.01


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
    mapping: Annotated[str, choice("default", "strict", "broad")] = "default"  # for internal and external cohorts
    # multilabel, or binary: only one finding, named by `finding`
    task: Annotated[str, choice("multilabel", "binary")] = "multilabel"
    finding: str = ""  # the finding of a binary task
    # source of the training labels: default, hybrid (a source for each finding), or a source such as chexbert or negbio
    label_source: str = "default"
    cohort: CohortChoice = field(default_factory=CohortChoice)
    split: Split = field(default_factory=Split)
    # split: each seed divides the patients of train and val anew; the test patients stay
    resample: Annotated[str, choice("none", "split")] = "none"
    weights: str = "none"  # starting weights: none (random), imagenet, or another entry of the registry
    channels: int = 3
    heads: Annotated[str, choice(*HEADS)] = "multilabel"  # auxiliary heads, see HEADS
    head_weights: HeadWeights = field(default_factory=HeadWeights)
    schedule: Schedule = field(default_factory=Schedule)
    limit: Limit = field(default_factory=Limit)
    # mixed: bf16 on a GPU, fp32 on a CPU
    precision: Annotated[str, choice("mixed", "fp32", "bf16", "fp16")] = "mixed"
    # precision of predictions: as_trained (bf16 if the run trains in bf16, else fp32), or fp32
    predictions: Annotated[str, choice("as_trained", "fp32")] = "as_trained"
    # training label of "not mentioned": zero (absent) or ignore (no label)
    blank: Annotated[str, choice("zero", "ignore")] = "zero"
    augmentation: str = "none"
    selection: Annotated[str, choice("best_val", "last")] = "best_val"
    seed: Count = 0
    compile: bool = False  # train with torch.compile if that is faster on this machine
    threads: Positive = 1  # CPU threads of a run; the same number gives the same weights
    # own: all weights are trained; probe: logistic regression on the features of the frozen network; lora: low-rank changes
    # of the linear layers, and the output layer, are trained; attention: the pooling over the patches of a frozen
    # transformer, and the output layer, are trained; the heads of extensions (`prompts`): zero-shot, nothing is trained
    head: str = "own"
    lora: LoraSize = field(default_factory=LoraSize)  # only with `head: lora`
    shots: Count = 0  # only for a probe: number of present and of absent training images of each finding; 0: all
    # how the loss of a batch is computed: erm (mean over the images), or an algorithm that compares groups
    algorithm: str = "erm"
    # the groups of the training images: hospital, sex, age (bands), view, device, or another column of the cohort's table;
    # only with an algorithm that uses groups
    groups: str = "hospital"

    def __post_init__(self) -> None:
        check_pool(self.train_on, self.leave_out)
        if (self.task == "binary") != bool(self.finding):
            raise ValueError("`task: binary` requires `finding: NAME`; with another task, `finding` is not valid")
        if self.label_source != "default":  # whether a dataset has the source is checked when its labels are read
            from harmonize.labels.findings import HYBRID, labels_yaml

            names = dict.fromkeys(name for sources in labels_yaml()["label_sources"].values() for name in sources)
            one_of("label_source", self.label_source, ("default", *names, HYBRID))
        one_of("channels", self.channels, (1, 3))
        for name in differing(self.head_weights):
            if name not in HEADS[self.heads] and (name != "findings" or self.heads == "multilabel"):
                raise ValueError(f"head_weights.{name} has no effect with `heads: {self.heads}`")
        if self.selection == "last" and self.schedule.select_on != "val":
            raise ValueError("schedule.select_on has no effect with `selection: last`")
        one_of("head", self.head, ("own", "probe", *added_heads(), "lora", "attention"))
        if self.head != "lora" and self.lora != LoraSize():
            raise ValueError("lora is only valid with `head: lora`")
        if self.shots and self.head != "probe":
            raise ValueError("shots needs `head: probe`")
        if self.is_frozen and self.heads != "multilabel":
            raise ValueError(f"`head: {self.head}` has no auxiliary heads: remove `heads: {self.heads}`")

    @property
    def findings(self) -> tuple[str, ...]:
        """Return the findings in the order of the outputs: all findings of the label space, or one finding."""
        from harmonize.labels.findings import space

        return (self.finding,) if self.task == "binary" else space(self.space)

    @property
    def drawn_by(self) -> int | None:
        """Return the seed that divides the patients of train and val; None if all seeds have one split."""
        return self.seed if self.resample == "split" else None

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
    def prediction_precision(self) -> str:
        """Return the precision of predictions: mixed or bf16 as in training, or fp32. The features of frozen networks are fp32."""
        as_trained = self.predictions == "as_trained" and self.precision in ("mixed", "bf16")
        return self.precision if as_trained and not self.is_frozen else "fp32"

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


_TYPES = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a text"}
_TYPES |= {"object": "a block of keys", "array": "a list"}
_BOUNDS = {">=": " of at least", ">": " above", "<": " below", "<=": " of at most"}
# a message of msgspec: type, bound, allowed texts
_MESSAGE = re.compile(
    r"Expected `(\w+)`(?: ([<>]=?) (\S+))?(?: matching regex '\^\((.*)\)\$')?( of length .*| matching .*)?(?:, got .*)?"
)
# cached, because a page of 100 runs needs the type hints of a class 600 times
_hints = functools.cache(typing.get_type_hints)


def from_dict(kind: type[T], raw: object, where: str) -> T:
    """Build a config dataclass from a block of YAML. `where`: file and key of the block, for errors.

    Raises ConfigError for an unknown or missing key, a wrong type or a value out of range.
    """
    _check_keys(kind, raw, where)
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$.")
        raise _error(message, path.rstrip("`"), raw, where) from error


def _check_keys(kind: type[Any], raw: object, where: str) -> None:
    """Raise ConfigError for an unknown key."""
    if not isinstance(raw, Mapping):
        raise ConfigError(f"expected a block of keys (got {raw!r})", where, "write `key: value` lines")
    hints = _hints(kind)  # type: ignore[arg-type]  # classes are hashable
    ConfigError.known_keys(raw, hints, where)
    for key, value in raw.items():
        if is_dataclass(hints[key]):
            _check_keys(hints[key], value, _inside(where, key))


def _error(message: str, path: str, raw: Any, where: str) -> ConfigError:
    """Return the error for a message of msgspec about the value at `path` in a block."""
    if of_key := re.fullmatch(r"Expected .* - at `key` in `\$\.(.*)`", message):
        fix = "put the key in quotes"
        return ConfigError(f"a key of {of_key[1]} is not a text", _inside(where, of_key[1]), fix)
    place = _inside(where, path) if path else where
    if missing := re.fullmatch("Object missing required field `(.*)`", message):
        return ConfigError(f"{missing[1]} is missing", place, f"add `{missing[1]}: ...`")
    stated = _MESSAGE.fullmatch(message)
    if not stated:  # the message is from a `__post_init__`
        return ConfigError(message, place, "correct the value; docs/grids.md lists what each key takes")
    kind, bound, number, names, empty = stated.groups()
    wanted = f"one of {names.replace('|', ', ')}" if names else _TYPES[kind]
    if bound:
        wanted += f"{_BOUNDS[bound]} {float(number):g}"
    elif empty:
        wanted += " that is not empty"
    for part in re.findall(r"\w+", path):  # keys, and positions in lists
        raw = raw[part] if isinstance(raw, Mapping) else raw[int(part)]
    fix = f"write {wanted}"
    if isinstance(raw, list) and ": base" in where:
        fix += f"; to try several, write `{path}` under `sweeps:`, not under `base:`"
    return ConfigError(f"{path} must be {wanted} (got {raw!r})", place, fix)


def _inside(where: str, key: str) -> str:
    return f"{where}.{key}" if ": " in where else f"{where}: {key}"


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
