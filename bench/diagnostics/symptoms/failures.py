"""What the record of a failed run is a symptom of: the failures that every user of such networks meets."""

import re
from collections.abc import Iterator, Sequence

from harmonize.checks.release import Check

NO_NUMBER = "the loss is not a number"

_FAILURES: Sequence[tuple[str, str, Sequence[str]]] = (
    (
        "wrong number of channels",
        r"channels?, but got|size mismatch for .*(?:conv|stem).*weight|expected input.*channels",
        (
            "the grid's `channels` is not what the architecture takes: set `channels: 3` (gray repeated) or `channels: 1`",
            "an architecture of your own ignores `in_chans`: hand it on to the first convolution",
            "weights of a network with another number of channels: train again, or name the right file under --weights",
        ),
    ),
    (
        NO_NUMBER,
        r"loss became|logits on .* are not finite",
        (
            "the learning rate is too high: lower `schedule.lr` (a third at a time), or set `schedule.clip: 1.0`",
            "fp16 overflows: set `precision: bf16` or `fp32`",
            "a loss of your own gets probabilities: it gets logits, no sigmoid in the network (BCE of a sigmoid's output takes log 0)",
            "a label or weight is NaN: weight 0 must take it out of the loss, look at `bench check --data DATA`",
        ),
    ),
    (
        "memory ran out",
        r"out of memory|OutOfMemory|[Cc]annot allocate memory|exit code -9",
        (
            "fewer images per pass: set `schedule.micro_batch: 16`; the batch, and so the run's recipe, stays as it is",
            "fewer runs at once: `bench run --per-device 1`, or `--workers 1`",
            "smaller images: another `preprocessing`",
        ),
    ),
    (
        "labels that cannot teach",
        r"has both classes|no label to learn|readable images; batch norm needs",
        (
            "every label of a column reads as 0: names or separators differ from the mapping (`bench data stats --data DATA` counts them)",
            "too few images: raise `limit`, or leave rare findings out",
        ),
    ),
)


def of_failure(where: str, record: str) -> Iterator[Check]:
    """Yield what the record of a failure, traceback and all, is a symptom of; nothing when it is none of the usual ones."""
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


def causes_of(what: str) -> Sequence[str]:
    """Return the likely causes of one of these failures, the likeliest first."""
    return next(causes for known, _, causes in _FAILURES if known == what)


def symptom(where: str, what: str, level: str, seen: str, causes: Sequence[str]) -> Check:
    """Return a symptom as `bench check` lists it."""
    return Check("", f"{where}: {what}", level, "", seen, "\n".join(causes))
