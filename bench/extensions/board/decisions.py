"""The decisions of a board: decisions.jsonl, a chain of lines (`bench.extensions.board.chain`)."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.extensions.board.chain import START, append_line, line_hash, read_chain
from bench.extensions.board.submission import NAME, name_problems, text_problems
from harmonize.errors import ConfigError

FILE = "decisions.jsonl"
ACCEPTED, REFUSED, RESCORED, WITHDRAWN = ACTIONS = ("accepted", "refused", "re-scored", "withdrawn")
_DATE = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True)
class Decision:
    """A line of decisions.jsonl. before: SHA-256 of the line before. bundle: id of the bundle that the decision is about."""

    date: str  # YYYY-MM-DDThh:mm:ssZ
    action: str  # one of ACTIONS
    submission: str
    bundle: str
    by: str
    why: str
    before: str

    @property
    def hash(self) -> str:
        """Return the SHA-256 of the line, 64 hex digits."""
        return line_hash(asdict(self))


def read(board: Path) -> list[Decision]:
    """Return the decisions of a board, the oldest first; [] without a file. Raises StoreError if the chain is broken."""
    return [Decision(**line) for line in read_chain(board / FILE, _is_valid)]


def append(board: Path, action: str, submission: str, bundle: str, by: str, why: str) -> Decision:
    """Append a decision to the file of a board, and return it.

    Raises ConfigError for an unknown action or a text that is not allowed, StoreError for a broken chain.
    """
    date = datetime.now(UTC).strftime(_DATE)
    decision = Decision(date, action, submission, bundle, by, why, START)
    if problems := _problems(decision):
        raise ConfigError(problems[0], "bench board decide", "give --by and --why as plain text of one line")
    return Decision(**append_line(board / FILE, asdict(decision), _is_valid))


def _is_valid(line: Mapping[str, Any]) -> bool:
    return not _problems(Decision(**line))


def _problems(decision: Decision) -> list[str]:
    """Return what is wrong with the texts of a decision; [] if nothing."""
    if not all(isinstance(value, str) for value in asdict(decision).values()):
        return ["a value is not a text"]
    out = name_problems("--by", decision.by) + text_problems("--why", decision.why, 500)
    if decision.action not in ACTIONS:
        out.append(f"{decision.action!r} is no decision: choose from {', '.join(ACTIONS)}")
    if not NAME.fullmatch(decision.submission) or not re.fullmatch(r"[0-9a-f]{64}", decision.bundle):
        out.append("the name of the submission or the id of the bundle is invalid")
    try:
        is_date = datetime.strptime(decision.date, _DATE).strftime(_DATE) == decision.date  # noqa: DTZ007  (only its form)
    except ValueError:
        is_date = False
    return out if is_date else [*out, "the date is invalid"]


def latest(decisions: Sequence[Decision]) -> dict[str, Decision]:
    """Return {name of a submission: its last decision}; new scoring of an accepted submission keeps it accepted."""
    out: dict[str, Decision] = {}
    for decision in decisions:
        if decision.action != RESCORED:
            out[decision.submission] = decision
    return out
