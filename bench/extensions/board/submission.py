"""A submission: a folder with submission.json, the bundle and its signature, and reproductions by others.

submission.json     what the submitter states, and the headline numbers at the time of the submission
bundle.zip          the bundle; absent if the submitter keeps it (the numbers are then self-reported)
bundle.zip.sig      its signature, optional
reproductions/      signed results of `bench reproduce`: ID.json and ID.json.sig
"""

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Self

from bench.extensions.bundles import limits
from bench.store.store import canonical_json
from harmonize.errors import ConfigError, StoreError

CLOSED, OPEN = DIVISIONS = ("closed", "open")
FOLDER, FILE, BUNDLE = "submissions", "submission.json", "bundle.zip"
REPRODUCTIONS = "reproductions"
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,59}")
LICENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{1,59}")  # an SPDX identifier
_UNSTATED = ("none", "unknown", "not-stated", "noassertion")
SIGNERS = "signers.txt"  # names and public keys of the laboratories of a board
_TEXTS = ("recipe", "runs", "seen", "missing")  # fields of Number that are texts
_FILLERS = "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0"
_SIMILAR = str.maketrans("01|i", "olll")
_MARKUP = "<>&\"'`\\"
_FIX = "write the folder again with `bench board submit`"


@dataclass(frozen=True, slots=True)
class Number:
    """The headline numbers of one recipe: macro AUROC at the external hospitals and the gap, each with a 95 % interval."""

    recipe: str
    auroc: float
    auroc_low: float | None  # None: no interval, for example because there are too few patients
    auroc_high: float | None
    gap: float | None
    gap_low: float | None
    gap_high: float | None
    runs: tuple[str, ...]  # ids of its runs, one for each seed
    seen: tuple[str, ...] = ()  # external hospitals that the model had seen, or may have seen; ranked only without any
    # findings that the labels allow to score, but the model does not predict; ranked only without any
    missing: tuple[str, ...] = ()

    @property
    def unranked(self) -> str:
        """Return why the recipe is shown, but not ranked; "" if it is ranked."""
        reasons = []
        if self.seen:
            reasons.append(f"it had seen, or may have seen, {', '.join(self.seen)}")
        if self.missing:
            reasons.append(f"its mean is over other findings, without {', '.join(self.missing)}")
        return "; ".join(reasons)


@dataclass(frozen=True, slots=True)
class Submission:
    """The content of submission.json. `bundle`: id of the bundle; `scoring`: version of the scoring of `numbers`."""

    name: str
    laboratory: str
    licence: str
    division: str
    bundle: str
    scoring: int
    numbers: tuple[Number, ...]
    date: str  # YYYY-MM-DD
    signed_by: str  # the signer of the bundle, "" without a signature: so nobody else can add one later
    schema: int = 1

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read a submission's folder. Raises StoreError if submission.json is missing or changed, or a text is not allowed."""
        path = folder / FILE
        if not path.is_file() or path.stat().st_size > limits.MOST_JSON:
            raise StoreError(f"{FILE} is missing or too large", str(path), _FIX)
        try:
            content = json.loads(path.read_bytes())
            content["numbers"] = tuple(
                Number(**{**row, **{key: tuple(row[key]) for key in ("runs", "seen", "missing")}})
                for row in content["numbers"]
            )
            read = cls(**content)
            _check_types(read)
            same = read.document == path.read_bytes()
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise StoreError(f"{FILE} is invalid: {str(error)[:200]}", str(path), _FIX) from error
        if not same:
            raise StoreError(f"{FILE} does not have the form that `bench board submit` writes", str(path), _FIX)
        if problems := read.problems():
            raise StoreError(problems[0], str(path), _FIX)
        if read.name != folder.name:
            what = f"the folder {folder.name} has the submission {read.name}"
            raise StoreError(what, str(path), "give the folder the submission's name")
        return read

    @property
    def document(self) -> bytes:
        """Return the bytes of submission.json."""
        return canonical_json(json.loads(json.dumps(asdict(self))))

    def problems(self) -> list[str]:
        """Return what is wrong with the stated texts; [] if nothing."""
        out = [] if NAME.fullmatch(self.name) else [f"{self.name[:60]!r} is no name: use a-z, 0-9 and -"]
        out += name_problems("the laboratory", self.laboratory)
        out += licence_problems(self.licence)
        for number in self.numbers:
            out += text_problems("a recipe", number.recipe, 600)
            out += [p for name in (*number.seen, *number.missing) for p in text_problems("a hospital or finding", name)]
        return out


def _check_types(read: Submission) -> None:
    """Raise ValueError for a value of another type than `bench board submit` writes."""
    texts = (read.name, read.laboratory, read.licence, read.bundle, read.date, read.signed_by)
    numbers = [getattr(row, key) for row in read.numbers for key in Number.__slots__ if key not in _TEXTS]
    if not all(
        isinstance(text, str)
        for text in (*texts, *(name for row in read.numbers for name in (row.recipe, *row.seen, *row.missing)))
    ):
        raise ValueError("a text is not a text")
    if read.division not in DIVISIONS or read.schema != 1 or type(read.scoring) is not int:
        raise ValueError("wrong division, schema or scoring version")
    if not re.fullmatch(r"[0-9a-f]{64}", read.bundle) or date.fromisoformat(read.date).isoformat() != read.date:
        raise ValueError("the id of the bundle or the date is invalid")
    if not all(type(value) in (int, float, type(None)) for value in numbers):
        raise ValueError("a number is not a number")
    if not all(_is_auroc(row) for row in read.numbers):
        raise ValueError("an AUROC is not between 0 and 1, or its interval is invalid")
    if not all(re.fullmatch(r"[0-9a-f]{12}", run) for row in read.numbers for run in row.runs):
        raise ValueError("a run id is invalid")


def _is_auroc(row: Number) -> bool:
    """Return whether AUROC and interval of a row are between 0 and 1; an interval has both bounds or none."""
    value, low, high = row.auroc, row.auroc_low, row.auroc_high
    if value is None or not 0 <= value <= 1:
        return False
    return low is None and high is None if low is None or high is None else 0 <= low <= high <= 1


def text_problems(what: str, text: str, most: int = 80) -> list[str]:
    """Return why a text must not be shown on a page: too long, invisible characters, or characters of HTML; [] if it may.

    >>> text_problems("the laboratory", "<script>")
    ["the laboratory '<script>' has the character '<': remove it"]
    """
    if not text.strip() or len(text) > most or not text.isprintable() or any(map(_is_invisible, text)):
        return [f"{what} must be a text of 1 to {most} characters without control characters and invisible characters"]
    return [f"{what} {text!r} has the character {mark!r}: remove it" for mark in _MARKUP if mark in text][:1]


def name_problems(what: str, name: str) -> list[str]:
    """Return why a text cannot be the name of a laboratory or person; [] if it can.

    Its letters must be Latin letters, also with accents: letters of other scripts can look the same.

    >>> name_problems("the laboratory", "Universit\u00e9 A"), len(name_problems("the laboratory", "L\u0430b A"))
    ([], 1)
    """
    if problems := text_problems(what, name):
        return problems
    foreign = [mark for mark in unicodedata.normalize("NFC", name) if not mark.isascii() and not is_latin(mark)]
    return [f"{what} {name!r} has {foreign[0]!r}: write it with Latin letters, digits and - . , ( )"] if foreign else []


def name_key(name: str) -> str:
    """Return a name without what the eye does not distinguish: case, accents, spaces, punctuation, and similar letters.

    >>> name_key("Lab  A ") == name_key("lab-a"), name_key("LAB 1") == name_key("Lab l"), name_key("Lab A") == name_key("Lab B")
    (True, True, False)
    """
    plain = unicodedata.normalize("NFKD", name.casefold()).translate(_SIMILAR)
    return "".join(mark for mark in plain if mark.isalnum()).replace("rn", "m").replace("vv", "w")


def is_latin(mark: str) -> bool:
    """Return whether a letter is a Latin letter with or without an accent, so that it has no twin in another script."""
    base = unicodedata.normalize("NFKD", mark)[0]
    return mark in "\u00df\u00e6\u00c6\u00f8\u00d8\u0153\u0152\u0142\u0141" or (base.isascii() and base.isalpha())


def _is_invisible(mark: str) -> bool:
    """Return whether a character may show nothing: variation selectors, fillers, and the blank pattern of Braille."""
    return "\ufe00" <= mark <= "\ufe0f" or "\U000e0100" <= mark <= "\U000e01ef" or mark in _FILLERS


def licence_problems(licence: str) -> list[str]:
    """Return why a text states no licence; [] for an identifier of SPDX, such as CC-BY-4.0."""
    if LICENCE.fullmatch(licence) and licence.lower() not in _UNSTATED:
        return []
    return ["no licence is stated: others must know what they may do with the predictions, e.g. --licence CC-BY-4.0"]


def folders(board: Path) -> list[Path]:
    """Return the folders of all submissions of a board, by name."""
    return sorted(path for path in (board / FOLDER).glob("*") if path.is_dir())


def stray_files(board: Path) -> list[str]:
    """Return the names of files beside the folders of submissions; a .gitattributes there would change the bytes of bundles."""
    paths = sorted((board / FOLDER).glob("*"))
    return [path.name for path in paths if not path.is_dir() and path.name != ".gitkeep"]


def find(board: Path, name: str) -> Path:
    """Return the folder of a submission. Raises ConfigError if there is none of this name."""
    names = [path.name for path in folders(board)]
    if name not in names:
        fix = ConfigError.suggestion(name, names) if names else "write one with `bench board submit`"
        raise ConfigError(f"no submission {name!r}", str(board / FOLDER), fix)
    return board / FOLDER / name


def bundle_id(folder: Path, may_be_unknown: bool) -> str:
    """Return the id of a submission's bundle; zeros if it cannot be read and `may_be_unknown`, otherwise raises StoreError."""
    try:
        return Submission.read(folder).bundle
    except StoreError:
        if may_be_unknown:
            return "0" * 64
        raise


def unexpected(folder: Path) -> list[str]:
    """Return the names of files that no submission has, and of links; they could hide content that nobody checks."""
    if folder.is_symlink():
        return [folder.name]
    allowed = {FILE, BUNDLE, f"{BUNDLE}.sig"}
    out: Sequence[Path] = sorted(path for path in folder.rglob("*") if path.is_symlink() or path.is_file())
    names: Mapping[str, Path] = {path.relative_to(folder).as_posix(): path for path in out}
    signed = re.compile(rf"{REPRODUCTIONS}/[0-9a-f]{{12}}(-[a-z0-9-]{{1,40}})?\.json(\.sig)?")
    return [n for n, path in names.items() if path.is_symlink() or (n not in allowed and not signed.fullmatch(n))]
