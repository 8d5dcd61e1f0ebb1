"""`bench board build`: the site of three laboratories from their submission folders alone, decisions, statuses, new scoring."""

import gc
import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.config.registry import Registry
from bench.extensions.board import decisions, site
from bench.extensions.board.check import BoardEntry, BrokenSubmission, unscored
from bench.extensions.board.examine import examined
from bench.extensions.board.reproductions import reproductions
from bench.extensions.board.rules import Rules
from bench.extensions.board.site import build
from bench.extensions.board.submission import Submission
from bench.extensions.bundles import verify
from bench.extensions.bundles.verify import opened
from bench.extensions.reproduction.record import NAMESPACE, headline, write_record
from bench.planning.manifest import read_manifest
from bench.results.read_predictions import SCORING_VERSION
from bench.results.score_runs import score_all
from bench.store.checked_folders import ScoresFolder
from bench.store.sign import is_same_signer, sign
from bench.store.store import Store, canonical_json
from harmonize.errors import ConfigError, StoreError
from reports.tables import Tables
from tests.conftest import Command, Once
from tests.extensions.board.laboratories import board_of, laboratories, quiet

pytestmark = pytest.mark.grid
REGISTRY = Registry.read()


@pytest.fixture(scope="module")
def labs(finished: Path, once: Once) -> Path:
    """The bundles of three laboratories, and their stores. Tests only read them."""
    return once("laboratories", lambda folder: laboratories(finished, folder))


@pytest.fixture(scope="module")
def board(labs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A board on which all three are accepted, with its site. Tests that change it copy it."""
    folder = board_of(tmp_path_factory.mktemp("board") / "board", labs, "a", "b", "c")
    build(folder, folder.parent / "site", REGISTRY, quiet)
    return folder


def test_one_command_builds_the_site_of_three_laboratories(board: Path, labs: Path) -> None:
    """The site of a board: its files, rows and feed."""
    site = board.parent / "site"
    page = (site / "index.html").read_text()
    closed, open_ = page.split('id="open"')
    assert re.search(r"Laboratory A · \d{4}-\d\d-\d\d · CC-BY-4\.0<", closed)
    assert "Laboratory B" in closed
    assert "Foreign network" not in closed
    assert "Foreign network" in open_
    assert "Laboratory A" not in open_.split('id="decisions"')[0]
    assert "SE-ResNet-10 (tiny), SGD, BCE" in closed
    rows = json.loads((site / "rows.json").read_text())
    assert rows["scoring"] == SCORING_VERSION
    assert [(row["division"], row["submission"], row["status"]) for row in rows["rows"]] == [
        ("closed", "lab-b", "bundle verified"),
        ("closed", "lab-a", "bundle verified"),
        ("open", "lab-c", "bundle verified"),
    ]
    table = pd.read_csv(site / "rows.csv")
    assert table["auroc"].tolist() == [row["auroc"] for row in rows["rows"]]
    stated = Submission.read(board / "submissions" / "lab-b").numbers[0]
    assert rows["rows"][0]["auroc"] == pytest.approx(stated.auroc)
    assert (site / "submissions" / "lab-b" / "bundle.zip").read_bytes() == (labs / "b.zip").read_bytes()
    own = (site / "submissions" / "lab-c.html").read_text()
    assert "Hospital C (NIH layout)" in own
    assert "trained on their own hospital" in own
    assert "every number was computed again" in own
    assert "<title>" in (site / "submissions" / "lab-c" / "report.html").read_text()
    feed = ET.parse(site / "feed.xml").getroot()
    titles = [each.text for each in feed.iter("{http://www.w3.org/2005/Atom}title")]
    assert titles == ["Board of three laboratories", "lab-c: accepted", "lab-b: accepted", "lab-a: accepted"]
    assert (site / "decisions.jsonl").read_bytes() == (board / "decisions.jsonl").read_bytes()
    for html in site.rglob("*.html"):
        assert not re.search(r'(?:src|href)="https?://(?!arxiv|github|doi|pypi)[^"]*\.(?:js|css|png)', html.read_text())


def test_a_self_reported_row_is_shown_below_the_ranking(board: Path, tmp_path: Path, here: Command) -> None:
    folder = shutil.copytree(board, tmp_path / "board")
    (folder / "submissions" / "lab-b" / "bundle.zip").unlink()
    path = folder / "submissions" / "lab-b" / "submission.json"
    path.write_bytes(canonical_json(json.loads(path.read_bytes()) | {"scoring": SCORING_VERSION - 1}))
    shutil.rmtree(folder / "submissions" / "lab-c")
    decisions.append(folder, "withdrawn", "lab-c", "0" * 64, "A Maintainer", "asked by the laboratory")
    said = here("board", "build", "board", "-o", "site", "--quiet", cwd=tmp_path).stdout
    assert "2 rows, 1 ranked" in said
    rows = json.loads((tmp_path / "site" / "rows.json").read_text())["rows"]
    assert [(row["submission"], row["status"], row["group"]) for row in rows] == [
        ("lab-a", "bundle verified", 1), ("lab-b", "self-reported", None),
    ]  # fmt: skip
    assert [row["moved"] for row in rows] == ["", ""], "without a bundle, nothing can be scored again"
    page = (tmp_path / "site" / "index.html").read_text()
    assert page.index("Laboratory A") < page.index("Not ranked") < page.index("Laboratory B")
    assert "withdrawn" in page
    (tmp_path / "site" / "old.txt").touch()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "own.txt").touch()
    assert (
        "no site of a board" in here("board", "build", "board", "-o", "other", "--quiet", cwd=tmp_path, code=2).stderr
    )


def test_a_submission_waits_until_somebody_decides(board: Path, tmp_path: Path, here: Command) -> None:
    """The decisions of a board by its commands, and a site after each."""
    folder = shutil.copytree(board, tmp_path / "board")
    for name in ("lab-b", "lab-c"):
        shutil.rmtree(folder / "submissions" / name)
    (folder / "decisions.jsonl").unlink()
    said = here("board", "build", "board", "--quiet", cwd=tmp_path).stdout
    assert "0 rows, 0 ranked" in said
    assert "waiting for a decision: lab-a" in said
    words = ("board", "decide", "accepted", "lab-a", "--board", "board", "--by", "M", "--quiet")
    here(*words, "--why", "every number agrees", cwd=tmp_path)
    assert "1 row, 1 ranked" in here("board", "build", "board", "--quiet", cwd=tmp_path).stdout
    assert "unknown decision 'axepted'" in here(
        "board", "decide", "axepted", "lab-a", "--board", "board", "--by", "M", "--why", "x", cwd=tmp_path, code=2
    ).stderr  # fmt: skip
    shutil.copy(folder / "decisions.jsonl", tmp_path / "earlier.jsonl")
    here(
        "board",
        "decide",
        "refused",
        "lab-a",
        "--board",
        "board",
        "--by",
        "M",
        "--why",
        "a copy",
        "--quiet",
        cwd=tmp_path,
    )
    said = here("board", "build", "board", "--before", "earlier.jsonl", "--quiet", cwd=tmp_path).stdout
    assert "0 rows, 0 ranked" in said
    other = folder / "submissions" / "lab-x"
    other.mkdir()
    (other / "submission.json").write_text("{}")
    assert "is invalid" in here("board", "build", "board", "--quiet", cwd=tmp_path, code=2).stderr
    words = ("board", "decide", "refused", "lab-x", "--board", "board", "--by", "M", "--quiet")
    here(*words, "--why", "its file is damaged", cwd=tmp_path)
    here("board", "build", "board", "--quiet", cwd=tmp_path)
    (folder / "decisions.jsonl").write_bytes(b"")
    said = here("board", "build", "board", "--before", "earlier.jsonl", "--quiet", cwd=tmp_path, code=2).stderr
    assert "changed or removed" in said


@pytest.fixture
def reproduced(labs: Path, tmp_path: Path) -> tuple[Path, pd.DataFrame]:
    """A board with a signed submission of laboratory A, and the headline rows of its first run: stored, and again a little higher."""
    if not shutil.which("ssh-keygen"):
        pytest.skip("no ssh-keygen")
    signers = []
    for who in ("lab-a@example.org", "other@example.org"):
        key = tmp_path / who.partition("@")[0]
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        signers.append(f"{who} {key.with_suffix('.pub').read_text()}")
    folder = board_of(tmp_path / "board", labs, "a")
    (folder / "signers.txt").write_text("".join(signers))
    own = folder / "submissions" / "lab-a"
    sign(own / "bundle.zip", tmp_path / "lab-a")
    content = json.loads((own / "submission.json").read_bytes())
    (own / "submission.json").write_bytes(canonical_json(content | {"signed_by": "lab-a@example.org"}))
    (own / "reproductions").mkdir()
    manifest = read_manifest(Store.open(labs / "a" / "runs"), "tiny")
    scores = ScoresFolder(manifest.scores / manifest.runs[0].id).table("scores")
    scores = scores[scores["subgroup"] == "all"].rename(columns={"value": "stored"})
    return folder, headline(scores.assign(again=scores["stored"] + 0.01, verdict="x", run=manifest.runs[0].id))


def record_of(folder: Path, rows: pd.DataFrame, signer: str = "other") -> Path:
    """Write a reproduction into the submission of laboratory A, and sign it."""
    run = rows["run"].iloc[0]
    path = write_record(folder / "submissions/lab-a/reproductions" / f"{run}.json", run, "same bits", rows, ["data"])
    sign(path, folder.parent / signer, NAMESPACE)
    return path


@pytest.fixture
def found(labs: Path, reproduced: tuple[Path, pd.DataFrame]) -> Iterator[Callable[[], str]]:
    """A function that returns what a board makes of the records of laboratory A: the verdict, or why they are refused."""
    folder = reproduced[0]
    with opened(labs / "a.zip", REGISTRY) as bundle:
        manifest = bundle.manifest
        score_all(manifest, quiet)
        headlines = {run.id: headline(ScoresFolder(manifest.scores / run.id).table("scores")) for run in manifest.runs}

        def ask() -> str:
            try:
                own = folder / "submissions" / "lab-a"
                [each] = reproductions(own, manifest, headlines, folder / "signers.txt")
            except StoreError as error:
                return error.what
            return f"{each.verdict}, {'agrees' if each.agrees else 'differs'}"

        yield ask


def test_a_run_that_somebody_else_trained_again_is_re_run(reproduced: tuple[Path, pd.DataFrame]) -> None:
    folder, rows = reproduced
    run = rows["run"].iloc[0]
    record_of(folder, rows)
    build(folder, folder.parent / "site", REGISTRY, quiet)
    assert json.loads((folder.parent / "site" / "rows.json").read_text())["rows"][0]["status"] == "re-run"
    page = (folder.parent / "site/submissions/lab-a.html").read_text()
    assert f"run {run} by other@example.org: within the interval" in page, "computed, not the stated verdict"
    path = folder / "submissions" / "lab-a" / "submission.json"  # as if somebody else had added the signature
    path.write_bytes(canonical_json(json.loads(path.read_bytes()) | {"signed_by": ""}))
    [broken] = build(folder, None, REGISTRY, quiet).broken
    assert broken.error.what == "submission.json states the signer (none), the bundle has lab-a@example.org"


def test_a_record_without_a_reproduction_does_not_count(
    reproduced: tuple[Path, pd.DataFrame], found: Callable[[], str]
) -> None:
    folder, rows = reproduced
    for changed, said in (
        (rows.assign(again=rows["stored"]), "same bits, agrees"),
        (rows, "within the interval, agrees"),
        (rows.assign(again=0.1), "outside, differs"),
        (rows.assign(again=None), "outside, differs"),
        (rows.assign(stored=rows["stored"] + 0.1), "are not those of the bundle"),
        (rows.iloc[1:], "it has not exactly the headline scores"),
        (pd.concat([rows, rows.iloc[:1]]), "it has not exactly the headline scores"),
        (rows.assign(finding="unknown"), "it has not exactly the headline scores"),
        (rows.astype({"stored": object}).assign(stored="x"), "a score is not a number"),
    ):
        record_of(folder, changed)
        assert said in found()
    path = record_of(folder, rows.assign(again=0.5))
    path.write_text(path.read_text().replace('"again":0.5', '"again":NaN'))
    sign(path, folder.parent / "other", NAMESPACE)
    assert "a score is not a number" in found()
    path.unlink()
    record_of(folder, rows.assign(run="0" * 12))
    assert "the bundle has no run 000000000000" in found()


def test_the_signer_of_a_reproduction_is_another_name_and_another_key(
    reproduced: tuple[Path, pd.DataFrame], found: Callable[[], str]
) -> None:
    folder, rows = reproduced
    signers = folder / "signers.txt"
    first, second = signers.read_text().splitlines()
    record_of(folder, rows)
    assert "agrees" in found()
    signers.write_text(f"{first}\n{second.replace('other@example.org', 'LAB-A@example.org')}\n")
    assert "that is not somebody else" in found()
    signers.write_text(f"{first}\n{second.replace('other@example.org', '*')}\n")
    assert "is a pattern" in found()
    signers.write_text(f"{first}\n{second}\n")
    record_of(folder, rows, "lab-a")
    assert "that is not somebody else" in found()
    copied = first.replace("lab-a@", "lab-b@").split()  # the same key under another name
    assert is_same_signer("lab-b@example.org", "lab-a@example.org", signers) is False
    signers.write_text(f"{first}\n{' '.join(copied)}\n")
    assert is_same_signer("lab-b@example.org", "lab-a@example.org", signers) is True


def test_a_new_scoring_version_scores_old_rows_again_and_says_what_moved(
    labs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: Command
) -> None:
    folder = board_of(tmp_path / "board", labs, "c")
    path = folder / "submissions" / "lab-c" / "submission.json"
    content = json.loads(path.read_bytes())
    content["scoring"] -= 1
    content["numbers"][0]["auroc"] -= 0.02
    path.write_bytes(canonical_json(content))
    # as if the bundle were of an older scoring version
    monkeypatch.setattr("bench.extensions.board.examine.SCORING_VERSION", SCORING_VERSION + 1)
    said = here("board", "build", "board", "-o", "site", "--quiet", cwd=tmp_path).stdout
    line = f"scoring version {SCORING_VERSION - 1} to {SCORING_VERSION} moved its AUROC by +.020"
    assert f"lab-c: Foreign network: {line}" in said
    assert line in (tmp_path / "site" / "index.html").read_text()
    words = ("board", "decide", "re-scored", "lab-c", "--board", "board", "--by", "M", "--why", line, "--quiet")
    here(*words, cwd=tmp_path)
    assert [each.action for each in decisions.read(folder)] == ["accepted", "re-scored"]
    assert "1 row, 1 ranked" in here("board", "build", "board", "--quiet", cwd=tmp_path).stdout


def test_decisions_are_a_chain(tmp_path: Path) -> None:
    for number in range(3):
        decisions.append(tmp_path, "accepted", f"lab-{number}", str(number) * 64, "M", "why")
    lines = (tmp_path / "decisions.jsonl").read_bytes().splitlines(keepends=True)
    assert [each.submission for each in decisions.read(tmp_path)] == ["lab-0", "lab-1", "lab-2"]
    for forged in ([lines[0], lines[2]], [lines[1], lines[2]], [lines[1], lines[0], lines[2]]):
        (tmp_path / "decisions.jsonl").write_bytes(b"".join(forged))
        with pytest.raises(StoreError, match="the chain is broken at line"):
            decisions.read(tmp_path)
    (tmp_path / "decisions.jsonl").write_bytes(b"".join(lines).replace(b'"why":"why"', b'"why":"y"', 1))
    with pytest.raises(StoreError, match="broken at line 2"):
        decisions.read(tmp_path)
    for text in (b"{}\n", b"[" * 100_000, b"\n", lines[0].rstrip()):
        (tmp_path / "decisions.jsonl").write_bytes(text)
        with pytest.raises(StoreError, match=r"line|end"):
            decisions.read(tmp_path)
    (tmp_path / "decisions.jsonl").unlink()
    with pytest.raises(ConfigError, match="has the character '<'"):
        decisions.append(tmp_path, "refused", "lab-0", "0" * 64, "M", "<script>")


def test_an_earlier_check_counts_for_the_same_bundle_only(
    labs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: Command
) -> None:
    """A second site computes nothing; what is not in the bundle is checked each time; edited results are not believed."""
    results = tmp_path / "results"
    monkeypatch.setenv("BENCH_CACHE", str(results))
    folder = board_of(tmp_path / "board", labs, "a")
    words = ("board", "build", "board", "-o", "site", "--quiet")
    assert "kept" not in here(*words, cwd=tmp_path).stdout
    first = {path.relative_to(tmp_path): path.read_bytes() for path in (tmp_path / "site").rglob("*") if path.is_file()}
    said = "kept from an earlier check: 1 bundle (to compute all again: BENCH_CACHE= bench board build BOARD)"
    assert said in here(*words, cwd=tmp_path).stdout
    again = {path.relative_to(tmp_path): path.read_bytes() for path in (tmp_path / "site").rglob("*") if path.is_file()}
    assert again == first
    for path in results.iterdir():  # as if an AUROC were edited
        path.write_bytes(path.read_bytes()[:-100] + bytes(100))
    assert json.loads(here(*words, "--json", cwd=tmp_path).stdout)["kept"] == 0
    assert json.loads(here(*words, "--json", cwd=tmp_path).stdout)["kept"] == 1
    stated = folder / "submissions" / "lab-a" / "submission.json"
    content = json.loads(stated.read_bytes())
    stated.write_bytes(canonical_json(content | {"numbers": [content["numbers"][0] | {"auroc": 0.6}]}))
    assert "submission.json states auroc 0.6" in here(*words, cwd=tmp_path, code=2).stderr
    stated.write_bytes(canonical_json(content))
    path = folder / "submissions" / "lab-a" / "bundle.zip"
    path.write_bytes(path.read_bytes().replace(b"PK", b"PX", 1))
    assert "lab-a is left out: the bundle is refused" in here(*words, cwd=tmp_path, code=2).stderr


def test_a_bundle_that_is_replaced_during_its_check_is_not_kept(
    labs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the numbers of the second bundle would count for the first."""
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "results"))
    path, unpack = tmp_path / "bundle.zip", verify.unpack

    def replaced(*arguments: Path) -> str:
        shutil.copy(labs / "c.zip", path)
        return unpack(*arguments)

    def ids() -> list[str]:
        shutil.copy(labs / "a.zip", path)
        [content] = unscored([(tmp_path, None)], REGISTRY).names
        shutil.copy(labs / "a.zip", path)
        return [content, examined(path, Rules.read(labs), REGISTRY, quiet)[0].bundle]

    monkeypatch.setattr(verify, "unpack", replaced)
    assert ids() == [Submission.read(labs / "submissions" / "lab-c").bundle] * 2
    monkeypatch.setattr(verify, "unpack", unpack)
    assert ids() == [Submission.read(labs / "submissions" / "lab-a").bundle] * 2


def test_a_build_holds_the_tables_of_one_submission_at_a_time(
    board: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tables of a large board would fill the memory."""
    entries, most = site.entries, []

    def alive() -> int:
        gc.collect()
        return sum(isinstance(each, Tables) for each in gc.get_objects())

    def counted(*arguments: Any) -> Iterator[BoardEntry | BrokenSubmission]:
        for entry in entries(*arguments):
            most.append(alive())
            yield entry

    before = alive()
    monkeypatch.setattr(site, "entries", counted)
    built = build(board, tmp_path / "site", REGISTRY, quiet)
    assert (built.rows, len(most), len(list((tmp_path / "site").glob("submissions/*/report.html")))) == (3, 3, 3)
    assert max(most) <= before + 2, "that of the entry, and that of the one before"
