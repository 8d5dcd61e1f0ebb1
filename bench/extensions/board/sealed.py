"""A sealed hospital: its owner keeps the labels, and answers how good predictions are, rounded and under a quota.

Whoever may ask often can fit the labels. The Ladder mechanism (Blum and Hardt, ICML 2015, arXiv:1502.04585) limits this: an
answer changes only if the score is better than the best earlier answer by at least a step, and it is rounded to the step.

sealed.json     the settings: step, quota, findings, a keyed hash of the labels, and the hash of the last answer: without it, nobody
                would notice that answers.jsonl was deleted, and all quotas were whole again
labels.csv      private: the labels, with hashed ids in place of the ids
ids.csv         private: id -> hashed id, for the owner, who gives out images under the hashed ids
secret          private: the key of the hashes, random bytes. Without the key, whoever knows the ids could try labels until the
                hash fits
answers.jsonl   every answer, as a chain of lines (`bench.extensions.board.chain`); it has no score that was not answered
"""

import csv
import hmac
import json
import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from bench.extensions.board.chain import START, append_line, line_hash, read_chain
from bench.extensions.board.submission import name_key, name_problems
from bench.store.file_integrity import file_sha256
from bench.store.lease import lease
from bench.store.store import canonical_json, write_bytes
from harmonize.errors import ConfigError, StoreError

SETTINGS, LABELS, IDS, SECRET, ANSWERS = "sealed.json", "labels.csv", "ids.csv", "secret", "answers.jsonl"
STEPS = (0.01, 0.02, 0.05, 0.1)  # the first that protects all findings is chosen
_FIX = "restore the file from a copy"


@dataclass(frozen=True, slots=True)
class SealedHospital:
    """The settings of a sealed hospital. step: of the Ladder, in AUROC. quota: number of answers for one laboratory."""

    findings: tuple[str, ...]
    step: float
    quota: int
    labels: str  # HMAC-SHA256 of labels.csv with the key `secret`
    last: str = START  # hash of the last answer
    schema: int = 1

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the settings.

        Raises ConfigError if the folder is no sealed hospital, StoreError if its settings or its labels were changed.
        """
        path = folder / SETTINGS
        if not path.is_file():
            raise ConfigError(
                "the folder is no sealed hospital", str(folder), "make one with `bench board sealed open`"
            )
        try:
            content = json.loads(path.read_bytes())
            read = cls(**{**content, "findings": tuple(content["findings"])})
            valid = read.document == path.read_bytes()
        except (ValueError, KeyError, TypeError, RecursionError):
            valid = False
        if not valid:
            raise StoreError("the settings were not written by the program", str(path), _FIX)
        private = folder / LABELS, folder / SECRET
        if not all(path.is_file() for path in private) or _hash_of(*private) != read.labels:
            raise StoreError("the labels or the secret were changed, or are missing", str(folder / LABELS), _FIX)
        return read

    @property
    def document(self) -> bytes:
        """Return the bytes of sealed.json."""
        return canonical_json({**asdict(self), "findings": list(self.findings)})


@dataclass(frozen=True, slots=True)
class SealedAnswer:
    """A line of answers.jsonl. auroc: the rounded answer. predictions: SHA-256 of the file. left: answers that remain."""

    date: str
    laboratory: str
    predictions: str
    auroc: float
    left: int
    before: str

    @property
    def hash(self) -> str:
        """Return the SHA-256 of the line, 64 hex digits."""
        return line_hash(asdict(self))


def open_hospital(folder: Path, labels: Path, step: float | None, quota: int) -> SealedHospital:
    """Make the folder of a sealed hospital from a table of labels, and return its settings.

    step: None for the smallest of STEPS that protects all findings (see `few`). Raises ConfigError for an existing folder, a wrong
    step or quota, a table without findings, a value that is no label, an empty patient_id, and a finding with too few images for the step.
    """
    if folder.exists():
        raise ConfigError("the folder exists already", str(folder), "choose another folder")
    if (step is not None and not 0 < step <= 0.1) or quota < 1:
        raise ConfigError(
            "--step must be above 0 and at most 0.1, --quota at least 1", "bench board sealed open", "e.g. .01, 20"
        )
    # imports pandas
    from bench.results.prediction_files import IMAGE, PATIENT, check_patients, label_states, read_table

    table = read_table(labels)
    findings = tuple(name for name in table.columns if name not in (IMAGE, PATIENT))
    if not findings:
        raise ConfigError("the table has no column of a finding", str(labels), "add a column for each finding")
    check_patients(table, labels)
    states = [label_states(table, name, labels) for name in findings]
    least = {
        name: min(int((state_N == 1).sum()), int(((state_N == 0) | (state_N == -2)).sum()))
        for name, state_N in zip(findings, states, strict=True)
    }
    fitting = [each for each in STEPS if not few(least, each)] if step is None else [step]
    chosen = fitting[0] if fitting else STEPS[-1]
    if too_few := few(least, chosen):
        name = min(too_few, key=lambda finding: least[finding])
        what = f"{name} has {least[name]} images of its smaller class, the step {chosen} needs {needed(len(findings), chosen)}"
        raise ConfigError(
            what, str(labels), "remove the column, or choose a larger --step: answers would reveal single labels"
        )
    secret = secrets.token_bytes(32)  # without it, known ids would reveal the hashed ids

    def hashed(text: str) -> str:
        return hmac.digest(secret, text.encode(), "sha256").hex()[:16]

    ids = table[IMAGE].map(hashed)
    private = table.assign(**{IMAGE: ids} | ({PATIENT: table[PATIENT].map(hashed)} if PATIENT in table else {}))
    folder.mkdir(parents=True)
    for name, rows in ((LABELS, private.sort_values(IMAGE)), (IDS, table[[IMAGE]].assign(hashed=ids))):
        rows.to_csv(folder / name, index=False, quoting=csv.QUOTE_MINIMAL, lineterminator="\n")
        (folder / name).chmod(0o600)
    write_bytes(folder / SECRET, secret, mode=0o600)
    made = SealedHospital(findings, chosen, quota, _hash_of(folder / LABELS, folder / SECRET))
    write_bytes(folder / SETTINGS, made.document)
    return made


def needed(num_findings: int, step: float) -> int:
    """Return how many images with and without a finding protect single labels: 2 / (number of findings x step).

    The label of one image then changes the macro AUROC by at most half a step.

    >>> needed(1, 0.01), needed(9, 0.05)
    (200, 5)
    """
    return math.ceil(round(2 / (num_findings * step), 6))


def few(least: Mapping[str, int], step: float) -> list[str]:
    """Return the findings with too few images for a step. least: finding -> number of images of its smaller class."""
    return [finding for finding, number in least.items() if number < needed(len(least), step)]


def bits(step: float, quota: int) -> float:
    """Return how much `quota` answers of the Ladder can reveal, in bits: they are one of the rising sequences of rounded scores.

    >>> round(bits(0.01, 1), 1), round(bits(0.01, 20))
    (6.7, 75)
    """
    return math.log2(math.comb(round(1 / step) + quota, quota))


def _hash_of(labels: Path, secret: Path) -> str:
    return hmac.digest(secret.read_bytes(), labels.read_bytes(), "sha256").hex()


def answers(folder: Path) -> list[SealedAnswer]:
    """Return all answers, the oldest first. Raises StoreError if the chain of answers is broken."""
    return [SealedAnswer(**line) for line in read_chain(folder / ANSWERS, _is_valid)]


def answer(folder: Path, predictions: Path, laboratory: str) -> SealedAnswer:
    """Answer how good predictions are, log the answer, and return it.

    predictions: a table with hashed image ids and one column for each finding. The same file of the same laboratory gets its
    earlier answer again and costs nothing. Raises ConfigError if the quota is spent, if a finding is missing, or if no finding
    has both classes.
    """
    if problems := name_problems("the laboratory", laboratory):
        raise ConfigError(problems[0], "--laboratory", "name the laboratory in plain text")
    SealedHospital.read(folder)  # before the lease, which needs the folder
    with lease(folder) as held:  # two answers at the same time could pass the quota
        if not held:
            raise StoreError("another answer is being computed", str(folder / "LOCK"), "wait, then ask again")
        settings = SealedHospital.read(folder)
        given = answers(folder)
        _check_last(given, settings, folder)
        own = [each for each in given if name_key(each.laboratory) == name_key(laboratory)]
        if [each.left for each in own] != [settings.quota - 1 - place for place in range(len(own))]:
            what = "the quota was changed after the first answer"
            raise StoreError(what, str(folder / SETTINGS), _FIX)
        digest = file_sha256(predictions)
        for earlier in own:
            if earlier.predictions == digest:
                return earlier
        if len(own) >= settings.quota:
            what = f"the quota of {laboratory} is spent: {settings.quota} answers"
            raise ConfigError(what, str(folder / ANSWERS), "no further answer is given; the owner may open a new set")
        best = max((each.auroc for each in own), default=-math.inf)
        value = ladder(best, macro_auroc(folder, predictions, settings), settings.step)
        date = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        made = SealedAnswer(date, laboratory, digest, value, settings.quota - len(own) - 1, START)
        done = SealedAnswer(**append_line(folder / ANSWERS, asdict(made), _is_valid))
        write_bytes(folder / SETTINGS, replace(settings, last=done.hash).document)
        return done


def _check_last(given: Sequence[SealedAnswer], settings: SealedHospital, folder: Path) -> None:
    """Raise StoreError if answers are missing at the end of the chain.

    The last answer may be newer than the settings, because a process can end after it appended the answer.
    """
    if settings.last not in [START, *(each.hash for each in given)][-2:]:
        what = "answers are missing: the settings name another last answer"
        raise StoreError(what, str(folder / ANSWERS), _FIX)


def ladder(best: float, score: float, step: float) -> float:
    """Return the answer of the Ladder: the score rounded to the step if it is better than `best` by a step, else `best`.

    >>> ladder(-float("inf"), 0.8149, 0.01), ladder(0.81, 0.8199, 0.01), ladder(0.81, 0.7, 0.01), ladder(0.81, 0.8349, 0.01)
    (0.81, 0.81, 0.81, 0.83)
    """
    if round(score - best - step, 10) < 0:  # rounded, because .81 + .01 is not .82 in binary
        return best
    return round(round(score / step) * step, 10)


def macro_auroc(folder: Path, predictions: Path, settings: SealedHospital) -> float:
    """Return the mean AUROC over the findings that have both classes. Raises ConfigError if there is none."""
    from bench.results.prediction_files import read_labeled_predictions  # imports pandas and scipy
    from bench.scoring import metrics

    given = read_labeled_predictions(predictions, folder / LABELS, settings.findings)
    [split] = given.run.scored_splits
    value = metrics.macro_auroc(split.labels(), split.logit)
    if value != value:  # NaN
        raise ConfigError("no finding has images with and without it", str(folder / LABELS), "seal other labels")
    return value


def _is_valid(line: Mapping[str, Any]) -> bool:
    found = SealedAnswer(**line)
    valid = type(found.auroc) is float and 0 <= found.auroc <= 1 and type(found.left) is int and found.left >= 0
    return valid and not name_problems("the laboratory", found.laboratory)
