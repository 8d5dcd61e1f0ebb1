"""Check the submissions of a board, and collect what its site shows."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from bench.config.registry import Registry
from bench.extensions.board.copies import Earlier, Fingerprint
from bench.extensions.board.decisions import ACCEPTED, Decision, latest, read
from bench.extensions.board.examine import MISSING, CheckLine, Examination, examined, passports
from bench.extensions.board.reproductions import SignedReproduction, reproductions
from bench.extensions.board.rules import Rules
from bench.extensions.board.submission import (
    BUNDLE,
    FOLDER,
    SIGNERS,
    Number,
    Submission,
    find,
    folders,
    stray_files,
    unexpected,
)
from bench.extensions.bundles.archive import check_is_file
from bench.extensions.bundles.kept import kept
from bench.extensions.bundles.verify import opened
from bench.results.read_predictions import SCORING_VERSION
from bench.results.same_scores import ROUNDING
from bench.store.sign import signer
from harmonize.errors import ConfigError, CxrError, DatasetError, StoreError
from harmonize.progress import Progress
from reports.tables import Tables

SELF_REPORTED, VERIFIED, RERUN = STATUSES = ("self-reported", "bundle verified", "re-run")
_FIX = "ask the submitter, or record it: bench board decide refused NAME"
_WRONG = (StoreError, ConfigError, DatasetError)  # what a submission that is not what it states raises


@dataclass(frozen=True, slots=True)
class BoardEntry:
    """A submission that passed its check, with what the site shows of it.

    numbers: computed here, or as stated without a bundle. lines: of the check of its bundle, () without one. tables: of the report
    of its bundle. kept: whether an earlier call had checked the bundle.
    """

    folder: Path
    stated: Submission
    numbers: tuple[Number, ...]
    lines: tuple[CheckLine, ...]
    reasons: tuple[str, ...]
    passports: tuple[str, ...]
    signed_by: str
    reproductions: tuple[SignedReproduction, ...]
    hospitals: tuple[tuple[str, str, tuple[float, float, float], str], ...]
    tables: Tables | None
    decision: Decision | None
    kept: bool = False

    def status(self, number: Number) -> str:
        """Return the status of a row, one of STATUSES."""
        if not self.lines:
            return SELF_REPORTED
        again = any(each.agrees and each.run in number.runs for each in self.reproductions)
        return RERUN if again else VERIFIED

    def moved(self, number: Number) -> float | None:
        """Return by how much the AUROC of a row moved with a new scoring version.

        None if the version is the same, or if there is no bundle that can be scored again.
        """
        if not self.lines:
            return None
        before = [row.auroc for row in self.stated.numbers if row.runs == number.runs]
        return number.auroc - before[0] if before and self.stated.scoring != SCORING_VERSION else None


@dataclass(frozen=True, slots=True)
class BrokenSubmission:
    """A submission that is not what it states. error: why."""

    name: str
    error: CxrError


def entries(
    board: Path, rules: Rules, registry: Registry, progress: Progress
) -> Iterator[BoardEntry | BrokenSubmission]:
    """Check each submission that is accepted or waits for a decision, and yield it; accepted ones first, oldest first.

    Files beside the folders of submissions come first, as broken ones. Refused and withdrawn submissions are left out.
    Raises StoreError for a broken chain of decisions, and if the folder of an accepted submission is missing.
    """
    for name in stray_files(board):
        error = StoreError(f"the file {name[:100]!r} belongs to no submission", str(board / FOLDER), "remove it")
        yield BrokenSubmission(name, error)
    yield from _checked(open_submissions(board), board, rules, registry, progress)


def check_one(name: str, board: Path, rules: Rules, registry: Registry, progress: Progress) -> None:
    """Check one submission as `entries` does, also if it was refused or withdrawn before. Raises CxrError if it is wrong.

    The submissions before it are read but not scored, because scoring takes most of the time. If it conflicts with one of
    them, all are checked: a wrong submission must not make a right one look like its copy.
    """
    open_ = open_submissions(board)
    number = next((i for i, (folder, _) in enumerate(open_) if folder.name == name), None)
    if number is None:
        number = sum(decision is not None for _, decision in open_)  # its place on the board after an acceptance
        open_.insert(number, (find(board, name), None))
    before = unscored(open_[:number], registry)
    folder, decision = open_[number]
    try:
        _entry(folder, board, rules, registry, progress, decision, before)
    except _ConflictError:
        for each in _checked(open_, board, rules, registry, progress):
            if isinstance(each, BrokenSubmission) and each.name == name:
                raise each.error from None


def unscored(submissions: Sequence[tuple[Path, Decision | None]], registry: Registry) -> Earlier:
    """Return submissions, each with its latest decision, for a comparison; those without a bundle that can be read are left out."""
    out = Earlier()
    for folder, decision in submissions:
        with suppress(*_WRONG):
            check_is_file(bundle := folder / BUNDLE)
            found, _ = kept(registry, "content", partial(_content, bundle, registry), bundle)
            out.add(folder.name, *found, decision is not None)
    return out


def _content(bundle: Path, registry: Registry) -> tuple[str, Fingerprint]:
    """Return the id of a bundle and its fingerprint."""
    with opened(bundle, registry, older=True) as other:
        return other.id, Fingerprint.of(other.manifest)


def _checked(
    submissions: Sequence[tuple[Path, Decision | None]],
    board: Path,
    rules: Rules,
    registry: Registry,
    progress: Progress,
) -> Iterator[BoardEntry | BrokenSubmission]:
    """Check submissions, each with its latest decision, and yield them in their order."""
    before = Earlier()
    for folder, decision in submissions:
        try:
            entry: BoardEntry | BrokenSubmission = _entry(folder, board, rules, registry, progress, decision, before)
        except _WRONG as error:
            entry = BrokenSubmission(folder.name, error)
        yield entry


def open_submissions(board: Path) -> list[tuple[Path, Decision | None]]:
    """Return the folder and the latest decision of each submission that is accepted or waits, in the order of `entries`."""
    decisions = read(board)
    last = latest(decisions)
    place = {decision.submission: number for number, decision in enumerate(decisions) if decision.action == ACCEPTED}
    present = {folder.name: folder for folder in folders(board)}
    for name, decision in last.items():
        if decision.action == ACCEPTED and name not in present:
            raise StoreError(f"the accepted submission {name} is missing", str(board), "restore it, or withdraw it")
    open_ = [f for n, f in present.items() if n not in last or last[n].action == ACCEPTED]
    open_.sort(key=lambda folder: (place.get(folder.name, len(decisions)), folder.name))
    return [(folder, last.get(folder.name)) for folder in open_]


class _ConflictError(StoreError):
    """A submission repeats an earlier one, or has other tables of the hospitals."""


def _entry(
    folder: Path,
    board: Path,
    rules: Rules,
    registry: Registry,
    progress: Progress,
    decision: Decision | None,
    before: Earlier,
) -> BoardEntry:
    """Check one submission, and add it to those before.

    It is added only if it is what it states: otherwise a wrong submission could make a right one look like its copy.
    """
    if extra := unexpected(folder):
        raise StoreError(f"the file {extra[0][:100]!r} belongs to no submission", str(folder), _FIX)
    stated = Submission.read(folder)
    if decision is not None and decision.bundle != stated.bundle:
        what = f"the bundle was replaced: {decision.bundle[:12]} was accepted, this is {stated.bundle[:12]}"
        raise StoreError(what, str(folder), _FIX)
    if what := before.repeats(stated.bundle):
        raise _ConflictError(what, str(folder), _FIX)
    bundle = folder / BUNDLE
    if not bundle.is_file():
        return BoardEntry(folder, stated, stated.numbers, (), (), (), "", (), (), None, decision)
    signed_by = signer(bundle, board / SIGNERS) if bundle.with_name(f"{BUNDLE}.sig").is_file() else ""
    if signed_by != stated.signed_by:
        what = (
            f"submission.json states the signer {stated.signed_by or '(none)'}, the bundle has {signed_by or '(none)'}"
        )
        raise StoreError(what, str(folder), _FIX)
    found, was_kept = examined(bundle, rules, registry, progress)
    lines = found.beside(before)
    _check_stated(stated, found, lines, str(folder))
    again = tuple(reproductions(folder, found.manifest, found.headlines, board / SIGNERS))
    before.add(folder.name, stated.bundle, found.content, decision is not None)
    facts = (lines, found.reasons, tuple(passports(found.manifest)), signed_by, again, found.hospitals)
    return BoardEntry(folder, stated, found.numbers, *facts, found.tables, decision, was_kept)


def _check_stated(stated: Submission, found: Examination, lines: Sequence[CheckLine], where: str) -> None:
    """Raise StoreError if submission.json states what its bundle does not have."""
    if stated.bundle != found.bundle:
        what = f"submission.json names the bundle {stated.bundle[:12]}, but the bundle has the id {found.bundle[:12]}"
        raise StoreError(what, where, _FIX)
    for line in (line for line in lines if line.state == MISSING):
        kind = _ConflictError if line.what in ("tables", "copies") else StoreError
        raise kind(f"{line.what}: {line.text}", where, _FIX)
    if stated.division != found.division:
        why = f" ({found.reasons[0]})" if found.reasons else ""
        raise StoreError(f"submission.json states {stated.division}, the facts give {found.division}{why}", where, _FIX)
    if stated.scoring > SCORING_VERSION:
        raise StoreError(
            f"its scoring version {stated.scoring} is newer than this program", where, "update the program"
        )
    if stated.scoring == SCORING_VERSION and (what := _other_numbers(stated.numbers, found.numbers)):
        raise StoreError(what, where, _FIX)


def _other_numbers(stated: Sequence[Number], computed: Sequence[Number]) -> str:
    """Return the first difference between stated and computed numbers, "" if they agree."""
    ours: Mapping[tuple[str, ...], Number] = {row.runs: row for row in computed}
    if len(stated) != len(computed) or {row.runs for row in stated} != set(ours):
        return "submission.json has other rows than the bundle"
    for row in stated:
        for key, value in asdict(row).items():
            own = getattr(ours[row.runs], key)
            numbers = isinstance(value, int | float) and isinstance(own, int | float)
            if (abs(value - own) > ROUNDING) if numbers else value != own:
                return f"submission.json states {key} {value}, the bundle gives {own}"
    return ""
