"""The JSON records of a bundle: their keys, and the type of each value."""

from typing import Annotated, Any, NotRequired, TypedDict

import msgspec

from bench.planning.imported_run import FORMATS
from reports.schemas.exposure import ANSWERS

Number = float | None


class About(TypedDict):
    """The file bundle.json. `order`: whether patients keep the order of their ids (kept) or not (drawn)."""

    schema: int
    order: str
    scoring: int
    versions: dict[str, str]


class Trained(TypedDict, total=False):
    """The file trained.json of a run."""

    best_epoch: Number
    gradient_evaluations: Number
    peak_memory_bytes: Number
    micro_batch: Number
    val_auroc: dict[str, Number]
    unlearnt: list[str]
    chosen: dict[str, str]
    stopped: str
    compiled: str
    elsewhere: str
    given_vectors: str
    probe: dict[str, Any]
    zero_shot: str
    lora: dict[str, Any]


class Cost(TypedDict, total=False):
    """The file cost.json of a run."""

    deployed_params: Number
    flops: Number
    image_size: Number
    images_per_second: Number
    macs: Number
    params: Number
    peak_memory_bytes: Number
    trainable_params: Number
    not_counted: list[str]
    throughput_device: str


class Seal(TypedDict):
    """The file seal.json of a run: hashes of its weights before and after it predicted."""

    weights_after: str
    weights_before: str


class Environment(TypedDict, total=False):
    """The file env.json of a run."""

    commit: str
    device: str
    diff_sha256: str
    machine: str
    seconds: Number
    versions: dict[str, str]
    hardware: dict[str, Any]


# file of a run, without ".json" -> its keys and types
RECORDS: dict[str, Any] = {"trained": Trained, "cost": Cost, "seal": Seal, "env": Environment}


class Answer(TypedDict):
    """What a model had seen of a cohort; `listed` and `list`: number and hash of the listed images."""

    answer: Annotated[str, msgspec.Meta(pattern=rf"\A({'|'.join(ANSWERS)})\Z")]
    listed: NotRequired[int]
    list: NotRequired[Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]]


class Passport(TypedDict):
    """What an imported model declares of its data exposure."""

    cohorts: list[str]
    others: list[str]
    seen: list[str]
    pretraining: str
    licence: str
    source: str
    format: Annotated[str, msgspec.Meta(pattern=rf"\A({'|'.join(FORMATS)})\Z")]
    answers: NotRequired[dict[str, Answer]]
    stated: NotRequired[dict[str, str]]


def fits(value: Any, kind: Any) -> bool:
    """Return whether a JSON value has the keys and types of `kind`, and no others.

    >>> fits({"weights_after": "a", "weights_before": "a"}, Seal), fits({"weights_after": 1}, Seal)
    (True, False)
    """
    try:
        return bool(msgspec.convert(value, kind) == value)  # the result has no unknown keys
    except msgspec.ValidationError:
        return False
