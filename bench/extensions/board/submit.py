"""`bench board submit`: check a bundle against the rules of a board, and write its submission folder."""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from bench.config.registry import Registry
from bench.extensions.board.check import open_submissions, unscored
from bench.extensions.board.examine import MISSING, NOTE, OK, CheckLine, Examination, examined, id_list_problems
from bench.extensions.board.rules import Rules
from bench.extensions.board.submission import (
    BUNDLE,
    FILE,
    FOLDER,
    NAME,
    SIGNERS,
    Submission,
    licence_problems,
    name_problems,
)
from bench.results.read_predictions import SCORING_VERSION
from bench.store.sign import signer
from bench.store.store import read_table, table_facts
from harmonize.datasets.csvrows import read_lines
from harmonize.datasets.ids import difference
from harmonize.errors import ConfigError, StoreError
from harmonize.progress import Progress


@dataclass(frozen=True, slots=True)
class SubmissionRequest:
    """What a submitter asks for.

    id_lists: cohort -> file with the ids of images or patients that a model was trained on, one id a line. keep_bundle: the
    bundle stays with the submitter, so that the numbers are self-reported.
    """

    bundle: Path
    board: Path
    name: str
    laboratory: str
    licence: str
    id_lists: Mapping[str, Path]
    keep_bundle: bool = False


@dataclass(frozen=True, slots=True)
class SubmissionResult:
    """The result of `submit`. folder: None if something is missing, so that nothing was written."""

    lines: tuple[CheckLine, ...]
    division: str
    reasons: tuple[str, ...]
    folder: Path | None


def submit(request: SubmissionRequest, registry: Registry, progress: Progress) -> SubmissionResult:
    """Check a bundle line by line; if nothing is missing, write BOARD/submissions/NAME.

    Raises ConfigError for a wrong board or name, StoreError for a damaged bundle.
    """
    rules = Rules.read(request.board)
    target = request.board / FOLDER / request.name
    if not NAME.fullmatch(request.name):
        raise ConfigError(f"{request.name!r} is no name of a submission", "--name", "use a-z, 0-9 and -, at most 60")
    if target.exists():
        raise ConfigError("the submission exists already", str(target), "choose another --name, or remove the folder")
    texts = [("laboratory", text) for text in name_problems("the laboratory", request.laboratory)]
    texts += [("licence", text) for text in licence_problems(request.licence)]
    earlier = unscored(open_submissions(request.board), registry)
    found, _ = examined(request.bundle, rules, registry, progress)
    lines = [*found.beside(earlier), *(CheckLine(MISSING, what, text) for what, text in texts)]
    if not [what for what, _ in texts if what == "licence"]:
        lines.append(CheckLine(OK, "licence", request.licence))
    signed_by, line = _signature(request)
    lines += [line, *_id_lists(request, found)]
    done = None
    if not [line for line in lines if line.state == MISSING]:
        done = _write(request, target, found, signed_by)
    return SubmissionResult(tuple(lines), found.division, found.reasons, done)


def _signature(request: SubmissionRequest) -> tuple[str, CheckLine]:
    """Check the signature next to the bundle, if there is one, against the board's list of signers; return the signer."""
    if not request.bundle.with_name(f"{request.bundle.name}.sig").is_file():
        text = "the bundle is not signed: sign it with `bench export --sign`, so that others can run it again for you"
        return "", CheckLine(NOTE, "signature", text)
    try:
        name = signer(request.bundle, request.board / SIGNERS)
    except (StoreError, ConfigError) as error:
        text = f"{error.what}; add your name and public key to {SIGNERS} of the board"
        return "", CheckLine(MISSING, "signature", text)
    return name, CheckLine(OK, "signature", f"signed by {name}")


def _id_lists(request: SubmissionRequest, found: Examination) -> list[CheckLine]:
    if not request.id_lists:
        return []
    path = request.bundle.with_suffix(".key.parquet")
    if not path.is_file() or table_facts(path).get("bundle") != found.bundle:
        fix = "put the file that `bench export` wrote next to the bundle"
        raise ConfigError("a list of ids needs the key of the bundle", str(path), fix)
    lists: dict[str, Sequence[str]] = {}
    for cohort, file in request.id_lists.items():
        if cohort not in {c.name for c in found.manifest.cohorts}:
            raise ConfigError(f"the bundle has no cohort {cohort!r}", "--seen-ids", "name a cohort of the bundle")
        if not file.is_file():
            raise ConfigError("no such file", str(file), "give a text file with one id a line: --seen-ids nih=ids.txt")
        lists[cohort] = read_lines(file)
    key: pd.DataFrame = read_table(path).astype({"image_id": str, "patient_id": str})
    problems = id_list_problems(found.manifest, key, lists)
    if problems:
        return [CheckLine(MISSING, "passport", text) for text in problems]
    return [_matches(cohort, ids, key[key["cohort"] == cohort]) for cohort, ids in lists.items()]


def _matches(cohort: str, ids: Sequence[str], key: pd.DataFrame) -> CheckLine:
    """Return how many ids of a list without contradiction are scored; a list in another form than the scored ids is missing."""
    scored = {*key["image_id"], *key["patient_id"]}
    num = len(set(ids) & scored)
    if not num and (unlike := difference(ids, sorted(scored))):
        return CheckLine(
            MISSING, "passport", f"the id list of {cohort} and the scored ids have different forms: {unlike}"
        )
    text = f"the ids of {cohort} do not contradict the passport ({num:,} of {len(set(ids)):,} ids are scored)"
    return CheckLine(OK, "passport", text)


def _write(request: SubmissionRequest, target: Path, found: Examination, signed_by: str) -> Path:
    """Write the folder of a submission: all files, or none."""
    stated = Submission(
        request.name,
        request.laboratory,
        request.licence,
        found.division,
        found.bundle,
        SCORING_VERSION,
        found.numbers,
        datetime.now(UTC).date().isoformat(),
        "" if request.keep_bundle else signed_by,
    )
    if problems := stated.problems():
        raise StoreError(problems[0], str(request.bundle), "rename it, and export the bundle again")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".") as temporary:
        folder = Path(temporary) / "whole"
        folder.mkdir()
        (folder / FILE).write_bytes(stated.document)
        if not request.keep_bundle:
            shutil.copyfile(request.bundle, folder / BUNDLE)
            signature = request.bundle.with_name(f"{request.bundle.name}.sig")
            if signature.is_file():
                shutil.copyfile(signature, folder / f"{BUNDLE}.sig")
        folder.rename(target)
    return target
