"""`bench board build`: build the whole public site of a board from its submission folders alone."""

import json
import shutil
import tempfile
import xml.etree.ElementTree as ET  # it writes the feed and reads nothing  # nosec B405
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import pandas as pd

from bench.config.registry import Registry
from bench.extensions.board.board_page import (
    EXPOSED,
    PARTIAL,
    UNRANKED,
    BoardPage,
    BoardRow,
    SubmissionPage,
    render_board,
    render_submission,
)
from bench.extensions.board.check import RERUN, SELF_REPORTED, VERIFIED, BoardEntry, BrokenSubmission, entries
from bench.extensions.board.decisions import ACCEPTED, FILE, Decision, read
from bench.extensions.board.ranking import groups_of
from bench.extensions.board.rules import Rules
from bench.extensions.board.submission import CLOSED, DIVISIONS, OPEN, Number
from bench.extensions.bundles.kept import kept
from bench.results.read_predictions import SCORING_VERSION
from bench.store.safe_csv import csv_text
from bench.store.store import canonical_json
from harmonize.disk_space import writing
from harmonize.errors import ConfigError
from harmonize.progress import Progress
from reports.formatting import signed
from reports.page import render
from reports.report_data.headline_rows import Estimate

ROWS = "rows.json"  # this file shows that a folder is the site of a board
ABOUT = {
    CLOSED: "Trained on the training split of the internal hospital alone, by this program: only the method differs.",
    OPEN: "Any model and any training data, with the data exposure stated.",
}
MEANINGS = {
    SELF_REPORTED: "the submitter keeps the bundle; nobody else has computed the numbers",
    VERIFIED: "the board computed every number again from logits and labels",
    RERUN: "somebody else trained a run again and signed that the scores agree",
}
_ATOM = "http://www.w3.org/2005/Atom"


@dataclass(frozen=True, slots=True)
class BoardBuild:
    """The result of `build`. index: path of the site's first page, None if only the check ran.

    broken: submissions that are not what they state; the site leaves them out. kept: bundles that an earlier call had checked.
    """

    index: Path | None
    rows: int
    ranked: int
    waiting: tuple[str, ...]
    moved: tuple[str, ...]  # lines of text: what a new scoring version changed
    broken: tuple[BrokenSubmission, ...]
    kept: int


def build(board: Path, output: Path | None, registry: Registry, progress: Progress) -> BoardBuild:
    """Check every submission of a board; with `output`, write its site into this folder, which is replaced as a whole.

    A submission that is not what it states is left out, and named in the result and on the site. Raises ConfigError for a wrong
    board.yaml, and if `output` is another folder than the site of a board. Raises StoreError for a broken chain of decisions,
    and if the folder of an accepted submission is missing; then nothing is written.
    """
    rules, decisions = Rules.read(board), read(board)
    if output is not None and output.exists() and not (output / ROWS).is_file() and any(output.iterdir()):
        raise ConfigError("the folder is not empty, and is no site of a board", str(output), "choose another --output")
    found, accepted, broken, reports = [], [], [], {}
    for each in entries(board, rules, registry, progress):
        if isinstance(each, BrokenSubmission):
            broken.append(each)
            continue
        found.append(replace(each, tables=None))  # the tables of all submissions would fill the memory
        if each.decision is not None and each.decision.action == ACCEPTED:
            accepted.append(found[-1])
            if each.tables is not None and output is not None:  # the bundle's id is the hash of its content
                reports[each.stated.name], _ = kept(registry, each.stated.bundle, partial(render, each.tables))
    waiting = tuple(entry.stated.name for entry in found if entry not in accepted)
    divisions = {name: _rows([e for e in accepted if e.stated.division == name]) for name in DIVISIONS}
    rows = [row for each in divisions.values() for row in each]
    moved = tuple(f"{row.submission}: {row.recipe}: {row.moved}" for row in rows if row.moved)
    ranked = sum(row.group > 0 for row in rows)
    index = None
    if output is not None:
        page = BoardPage(
            rules.title,
            rules.about,
            rules.synthetic,
            divisions,
            ABOUT,
            MEANINGS,
            decisions[::-1],
            waiting,
            list(dict.fromkeys(hospital for entry in found for _, hospital, *_ in entry.hospitals)) or rules.external,
            [(each.name, each.error.what) for each in broken],
        )
        index = _replace(output, lambda folder: _write(folder, rules, page, accepted, reports))
    return BoardBuild(index, len(rows), ranked, waiting, moved, tuple(broken), sum(entry.kept for entry in found))


def _rows(found: Sequence[BoardEntry]) -> list[BoardRow]:
    """Return the rows of a division: ranked rows by AUROC with their tie groups, then those that are not ranked."""
    pairs = [(entry, number) for entry in found for number in entry.numbers]
    pairs.sort(key=lambda pair: -pair[1].auroc)
    verified = [(entry, number) for entry, number in pairs if entry.status(number) != SELF_REPORTED]
    ranked = [(entry, number) for entry, number in verified if not number.unranked]
    groups = groups_of([number for _, number in ranked])
    out = [_row(entry, number, group) for (entry, number), group in zip(ranked, groups, strict=True)]
    out += [_row(entry, number, EXPOSED) for entry, number in verified if number.seen]
    out += [_row(entry, number, PARTIAL) for entry, number in verified if number.unranked and not number.seen]
    return out + [_row(entry, number, UNRANKED) for entry, number in pairs if entry.status(number) == SELF_REPORTED]


def _row(entry: BoardEntry, number: Number, group: int) -> BoardRow:
    moved = entry.moved(number)
    what = ""
    if moved is not None:
        old = entry.stated.scoring
        what = f"scoring version {old} to {SCORING_VERSION} moved its AUROC by {signed(moved)}"
    auroc = Estimate(number.auroc, _float(number.auroc_low), _float(number.auroc_high))
    gap = Estimate(_float(number.gap), _float(number.gap_low), _float(number.gap_high))
    stated = entry.stated
    texts = (what, ", ".join(number.seen), ", ".join(number.missing), stated.licence, stated.date)
    names = (number.recipe, stated.laboratory, stated.name, entry.status(number))
    return BoardRow(group, *names, auroc, gap, len(number.runs), *texts)


def _float(value: float | None) -> float:
    return float("nan") if value is None else value


def _replace(output: Path, write: Callable[[Path], None]) -> Path:
    """Write the files of a site into a new folder, then put the folder in the place of `output`."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".board-") as temporary, writing(output):
        folder = Path(temporary) / "site"
        folder.mkdir()
        write(folder)
        if output.exists():
            output.rename(Path(temporary) / "old")
        folder.rename(output)
    return output / "index.html"


def _write(
    folder: Path, rules: Rules, page: BoardPage, accepted: Sequence[BoardEntry], reports: Mapping[str, str]
) -> None:
    """Write all files of the site. `reports`: name of a submission -> the report of its bundle."""
    decisions = page.decisions[::-1]
    _text(folder / "index.html", render_board(page))
    pages = folder / "submissions"
    pages.mkdir()
    rows = [row for each in page.divisions.values() for row in each]
    for entry in accepted:
        name = entry.stated.name
        shutil.copytree(entry.folder, pages / name)
        if name in reports:
            _text(pages / name / "report.html", reports[name])
        own = [row for row in rows if row.submission == name]
        _text(pages / f"{name}.html", render_submission(_submission(entry, own, page)))
    (folder / FILE).write_bytes(b"".join(canonical_json(asdict(decision)) + b"\n" for decision in decisions))
    records = [_record(division, row) for division, each in page.divisions.items() for row in each]
    _text(
        folder / ROWS, json.dumps({"scoring": SCORING_VERSION, "synthetic": rules.synthetic, "rows": records}, indent=1)
    )
    _text(folder / "rows.csv", csv_text(pd.DataFrame(records, dtype=object)) if records else "")
    _text(folder / "feed.xml", _feed(rules, decisions))


def _submission(entry: BoardEntry, rows: Sequence[BoardRow], page: BoardPage) -> SubmissionPage:
    stated = entry.stated
    facts = {
        "Laboratory": stated.laboratory,
        "Division": stated.division + (f": {'; '.join(entry.reasons)}" if entry.reasons else ""),
        "Licence": stated.licence,
        "Data exposure": "; ".join(entry.passports) or "not stated",
        "Submitted": stated.date,
        "Bundle": stated.bundle,
        "Signed by": entry.signed_by or "not signed",
        "Re-run": "; ".join(f"run {each.run} by {each.by}: {each.verdict}" for each in entry.reproductions) or "no",
    }
    files = sorted(path.relative_to(entry.folder).as_posix() for path in entry.folder.rglob("*") if path.is_file())
    return SubmissionPage(
        page.title,
        page.synthetic,
        stated.name,
        stated.laboratory,
        rows,
        facts,
        [(line.state, line.what, line.text) for line in entry.lines],
        [(recipe, hospital, Estimate(*bounds), answer) for recipe, hospital, bounds, answer in entry.hospitals],
        [decision for decision in page.decisions[::-1] if decision.submission == stated.name],
        files,
        bool(entry.lines),  # a report
    )


def _record(division: str, row: BoardRow) -> dict[str, object]:
    """Return a row as plain values; numbers that are missing are None."""
    record: dict[str, object] = {"division": division}
    for key, value in asdict(row).items():
        if not isinstance(value, dict):
            record[key] = value
            continue
        for end, name in (("value", key), ("low", f"{key}_low"), ("high", f"{key}_high")):
            record[name] = None if value[end] != value[end] else value[end]
    record["group"] = row.group if row.group > 0 else None
    return record


def _feed(rules: Rules, decisions: Sequence[Decision]) -> str:
    """Return the decisions as an Atom feed, the latest first."""
    ET.register_namespace("", _ATOM)
    feed = ET.Element(f"{{{_ATOM}}}feed")

    def add(parent: ET.Element, name: str, text: str = "", **attributes: str) -> ET.Element:
        element = ET.SubElement(parent, f"{{{_ATOM}}}{name}", attributes)
        element.text = text or None
        return element

    add(feed, "title", rules.title)
    add(feed, "id", rules.url or f"urn:unseen-board:{decisions[0].hash if decisions else 'empty'}")
    add(feed, "updated", decisions[-1].date if decisions else "1970-01-01T00:00:00Z")
    if rules.url:
        add(feed, "link", href=rules.url)
    for decision in reversed(decisions):
        entry = add(feed, "entry")
        add(entry, "title", f"{decision.submission}: {decision.action}")
        add(entry, "id", f"urn:sha256:{decision.hash}")
        add(entry, "updated", decision.date)
        add(add(entry, "author"), "name", decision.by)
        add(entry, "summary", decision.why)
        if rules.url:
            add(entry, "link", href=f"{rules.url.rstrip('/')}/#{decision.hash[:12]}")
    return ET.tostring(feed, encoding="unicode", xml_declaration=True) + "\n"


def _text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")
