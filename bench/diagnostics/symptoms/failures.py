"""Find frequent failures and their likely causes in the record (traceback) of a failed run."""

import re
from collections.abc import Iterator, Sequence

from harmonize.checks.release import Check

NO_NUMBER = "the loss is not a number"

# tuples (name of the failure, regular expression that finds it in a traceback, likely causes with their fixes)
_FAILURES: Sequence[tuple[str, str, Sequence[str]]] = (
    (
        "wrong number of channels",
        r"channels?, but got|size mismatch for .*(?:conv|stem).*weight|expected input.*channels",
        (
            "the architecture needs another number of channels: set `channels: 3` (gray repeated) or `channels: 1` in the grid",
            "your own architecture ignores `in_chans`: pass it to the first convolution",
            "the weights belong to a network with another number of channels: train again, or give the right file with --weights",
        ),
    ),
    (
        NO_NUMBER,
        r"loss became|logits on .* are not finite",
        (
            "the learning rate is too high: lower `schedule.lr` (a third at a time), or set `schedule.clip: 1.0`",
            "fp16 overflows: set `precision: bf16` or `fp32`",
            "your own loss or network applies a sigmoid: losses get logits, and the log of a rounded sigmoid can be log 0",
            "a label or weight is NaN: a weight of 0 must exclude it from the loss; see `bench check --data DATA`",
        ),
    ),
    (
        "out of memory",
        r"out of memory|OutOfMemory|[Cc]annot allocate memory|exit code -9",
        (
            "too many images per forward pass: set `schedule.micro_batch: 16`; the batch size stays the same",
            "too many runs at once: use `bench run --per-device 1`, or `--workers 1`",
            "images are too large: choose another `preprocessing`",
        ),
    ),
    (
        "no usable training labels",
        r"has both classes|no label to learn|readable images; batch norm needs",
        (
            "every label of a column reads as 0: names or separators differ from the mapping (`bench data stats --data DATA` counts labels)",
            "there are too few images: increase `limit`, or remove rare findings",
        ),
    ),
)


def failure_symptoms(where: str, record: str) -> Iterator[Check]:
    """Yield the first symptom of _FAILURES that matches the record of a failure (its traceback), or nothing.

    `where`: text such as "run 3fa94c1e02bd" that begins the name of the symptom.
    """
    for what, pattern, causes in _FAILURES:
        if re.search(pattern, record):
            yield symptom(
                where,
                what,
                "fault",
                next((line.strip() for line in reversed(record.splitlines()) if line.strip()), ""),
                causes,
            )
            return


def causes_of(failure: str) -> Sequence[str]:
    """Return the likely causes of a failure, most likely first; `failure` is a name in _FAILURES."""
    return next(causes for name, _, causes in _FAILURES if name == failure)


def symptom(where: str, what: str, level: str, observation: str, causes: Sequence[str]) -> Check:
    """Return a symptom as a `Check`, which `bench check` lists. The field `fix` has one likely cause per line.

    `where`: text such as "run 3fa94c1e02bd". `what`: name of the symptom. `observation`: text with the numbers that were found.
    """
    return Check("", f"{where}: {what}", level, "", observation, "\n".join(causes))
