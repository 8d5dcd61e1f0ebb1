"""Twelve kinds of tampered submission: a board refuses each, and says why."""

import json
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.config.registry import Registry
from bench.extensions.board.check import check_one
from bench.extensions.board.decisions import append
from bench.extensions.board.examine import examined, passport_problems
from bench.extensions.board.rules import Rules
from bench.extensions.board.site import build
from bench.extensions.bundles import limits
from bench.extensions.bundles.archive import CHECKSUMS, pack, unpack
from bench.store.checked_files import read_grid
from bench.store.sign import sign
from bench.store.store import Store, canonical_json
from harmonize.errors import StoreError
from tests.conftest import Command, Once
from tests.extensions.board.laboratories import accept, board_of, bundle, laboratories, quiet, with_other_runs
from tests.extensions.bundles.test_bundles import _score_anew, flipped, keyed, on_json, on_table, run_of, shifted
from tests.manifests import invented_manifest, invented_model

pytestmark = pytest.mark.grid
REGISTRY = Registry.read()


@pytest.fixture(scope="module")
def labs(finished: Path, once: Once) -> Path:
    """The bundles of three laboratories, and their stores. Tests only read them."""
    return once("laboratories", lambda folder: laboratories(finished, folder))


@pytest.fixture
def board(labs: Path, tmp_path: Path) -> Path:
    """A board on which laboratory A is accepted."""
    return board_of(tmp_path / "board", labs, "a")


def add(board: Path, labs: Path, name: str) -> Path:
    """Copy the submission of another laboratory to a board, where it waits, and return its folder."""
    return shutil.copytree(labs / "submissions" / f"lab-{name}", board / "submissions" / f"lab-{name}")


def refused(board: Path) -> str:
    """Return why the one wrong submission of a board is left out of the site."""
    site = board.parent / "site"
    [broken] = build(board, site, REGISTRY, quiet).broken
    assert not (site / "submissions" / broken.name).exists()
    assert f"<li>{broken.name}: " in (site / "index.html").read_text()
    shutil.rmtree(site)
    assert broken.error.fix
    return broken.error.what


def repacked(folder: Path, tmp_path: Path, change: Callable[[Path], None]) -> None:
    """Change the members of a submission's bundle, and state its new id everywhere, as a careful forger would."""
    members = tmp_path / "members"
    members.mkdir()
    unpack(folder / "bundle.zip", members)
    (members / CHECKSUMS).unlink()
    change(members)
    made = pack(members, folder / "bundle.zip")
    restated(folder, bundle=made)


def restated(folder: Path, **changed: Any) -> None:
    path = folder / "submission.json"
    path.write_bytes(canonical_json(json.loads(path.read_bytes()) | changed))
    decisions = folder.parents[1] / "decisions.jsonl"
    if "bundle" in changed and decisions.exists():
        decisions.unlink()
        accept(folder.parents[1], folder.name)


def test_an_untouched_board_is_accepted(board: Path) -> None:
    built = build(board, None, REGISTRY, quiet)
    assert (built.rows, built.ranked, built.waiting) == (1, 1, ())


def test_1_a_swapped_run(board: Path, tmp_path: Path) -> None:
    def swap(members: Path) -> None:
        one, two = sorted((members / "runs").iterdir())
        one.rename(members / "x")
        two.rename(one)
        (members / "x").rename(two)

    repacked(board / "submissions" / "lab-a", tmp_path, swap)
    assert "does not hash to its id" in refused(board)


def test_2_changed_logits_with_all_their_hashes(board: Path, tmp_path: Path) -> None:
    def change(members: Path) -> None:
        on_table(members, run_of(members) / "predictions" / "chexpert.parquet", shifted)
        keyed(members, "chexpert")

    repacked(board / "submissions" / "lab-a", tmp_path, change)
    what = refused(board)
    assert "scores of run" in what
    assert "chexpert" in what


def test_3_changed_labels_with_all_hashes_and_scores(board: Path, labs: Path, tmp_path: Path) -> None:
    """Labels of a hospital that differ from those of an accepted submission."""
    folder = add(board, labs, "b")

    def change(members: Path) -> None:
        on_table(members, members / "cohorts" / "nih.parquet", flipped)
        keyed(members, "nih")
        shutil.rmtree(members / "scores")
        _score_anew(members, folder / "bundle.zip", tmp_path)

    repacked(folder, tmp_path, change)
    (board / "decisions.jsonl").unlink()
    for name in ("lab-a", "lab-b"):
        accept(board, name)
    what = refused(board)
    assert (
        what
        == "tables: the table of nih is not that of the submission lab-a: 1 images have other labels, or are left out"
    )


def _computed(folder: Path) -> list[dict[str, Any]]:
    from dataclasses import asdict

    found, _ = examined(folder / "bundle.zip", Rules.read(folder.parents[1]), REGISTRY, quiet)
    return [json.loads(json.dumps(asdict(number))) for number in found.numbers]


def test_4_the_signature_of_another_file(board: Path, tmp_path: Path) -> None:
    if not shutil.which("ssh-keygen"):
        pytest.skip("no ssh-keygen")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True)
    (board / "signers.txt").write_text(f"a@example.org {(tmp_path / 'key.pub').read_text()}")
    (tmp_path / "other.zip").write_bytes(b"other")
    shutil.copy(sign(tmp_path / "other.zip", tmp_path / "key"), board / "submissions" / "lab-a" / "bundle.zip.sig")
    assert "the signature belongs to another file, or the signer is not listed" in refused(board)


def test_5_the_id_of_another_bundle(board: Path, labs: Path, tmp_path: Path) -> None:
    folder = board / "submissions" / "lab-a"
    own, theirs = folder / "bundle.zip", labs / "submissions" / "lab-c" / "bundle.zip"
    shutil.copy(theirs, own)  # another bundle in the place of the accepted one
    assert "submission.json names the bundle" in refused(board)
    other = json.loads((labs / "submissions" / "lab-c" / "submission.json").read_bytes())["bundle"]
    path = folder / "submission.json"
    path.write_bytes(canonical_json(json.loads(path.read_bytes()) | {"bundle": other}))
    assert "the bundle was replaced" in refused(board)


def test_6_a_missing_seed(board: Path, labs: Path, tmp_path: Path) -> None:
    folder = board / "submissions" / "lab-a"
    run = read_grid(Store.open(labs / "a" / "runs"), "tiny")["runs"][0]["id"]
    bundle(labs / "a" / "runs", tmp_path / "one.zip", run)
    shutil.copy(tmp_path / "one.zip", folder / "bundle.zip")
    (tmp_path / "m").mkdir()
    restated(folder, bundle=unpack(folder / "bundle.zip", tmp_path / "m"))
    assert refused(board) == "seeds: a recipe has 1 of 2 required seeds"


def test_7_an_entry_of_another_registry_version(board: Path, labs: Path, tmp_path: Path) -> None:
    def change(document: dict[str, Any]) -> None:
        document["entries"]["loss"]["version"] = 2

    shutil.copytree(labs / "a", tmp_path / "a", symlinks=True)
    bundle(with_other_runs(tmp_path / "a" / "runs", change, {}, {}), tmp_path / "other.zip")
    folder = board / "submissions" / "lab-a"
    shutil.copy(tmp_path / "other.zip", folder / "bundle.zip")
    (tmp_path / "m").mkdir()
    restated(folder, bundle=unpack(folder / "bundle.zip", tmp_path / "m"))
    what = refused(board)
    assert "submission.json states closed, the facts give open" in what
    assert "the registry of the board has another entry or version of its loss" in what


def test_8_a_passport_that_contradicts_an_id_list(labs: Path, tmp_path: Path) -> None:
    board = board_of(tmp_path / "board", labs, "c")

    def change(members: Path) -> None:
        on_json(members / "manifest.json", lambda m: m["derived"][0]["passport"].update(cohorts=["nih"]))

    repacked(board / "submissions" / "lab-c", tmp_path, change)
    assert "Foreign network: nih is training data, but the passport states that it was not seen" in refused(board)
    passport = {
        "cohorts": [],
        "others": [],
        "seen": [],
        "answers": {"nih": {"answer": "no", "listed": 12, "list": "0" * 64}},
    }
    what = passport_problems(invented_manifest(Store(tmp_path), derived=(invented_model(passport),)))
    assert what == ["M: the passport states that nih was not seen, but 12 of its images are in the id list"]


def test_9_script_in_a_name(board: Path, tmp_path: Path) -> None:
    folder = board / "submissions" / "lab-a"
    restated(folder, laboratory="<script>alert(1)</script>")
    assert "has the character '<'" in refused(board)
    restated(folder, laboratory="Laboratory A")

    def change(members: Path) -> None:
        def titled(content: dict[str, Any]) -> None:
            content["title"] = "<script>alert(1)</script>"
            for run in content["runs"]:
                run["titles"]["architecture"] = "<img src=x onerror=alert(1)>"

        on_json(members / "manifest.json", titled)

    repacked(folder, tmp_path, change)
    build(board, tmp_path / "site", REGISTRY, quiet)  # titles come from the registry; other text is escaped
    pages = "".join(path.read_text() for path in (tmp_path / "site").rglob("*.html"))
    assert "<script>alert(1)" not in pages
    assert "<img src=x" not in pages


def test_10_an_oversized_or_nested_archive(board: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = board / "submissions" / "lab-a"
    shutil.copy(folder / "bundle.zip", folder / "more.zip")
    assert "the file 'more.zip' belongs to no submission" in refused(board)
    (folder / "more.zip").unlink()
    (folder / "bundle.zip.sig").symlink_to(folder / "bundle.zip")
    assert "the file 'bundle.zip.sig' belongs to no submission" in refused(board)
    (folder / "bundle.zip.sig").unlink()
    (board / "submissions" / "lab-l").symlink_to(folder)
    assert "the file 'lab-l' belongs to no submission" in refused(board)
    (board / "submissions" / "lab-l").unlink()
    whole = (folder / "bundle.zip").read_bytes()
    monkeypatch.setattr(limits, "MOST_BYTES", len(whole) - 1)
    monkeypatch.setenv("BENCH_CACHE", "")  # an earlier check had other limits
    assert "it is larger than" in refused(board)
    monkeypatch.undo()
    repacked(
        folder,
        tmp_path,
        lambda members: shutil.copy(tmp_path / "board/submissions/lab-a/bundle.zip", members / "x.zip"),
    )
    assert "x.zip is unexpected" in refused(board)
    with zipfile.ZipFile(folder / "bundle.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", np.zeros(1_000_000, np.uint8).tobytes())
    assert "manifest.json is compressed" in refused(board)


def test_11_a_chain_with_a_line_removed(board: Path, labs: Path) -> None:
    add(board, labs, "b")
    accept(board, "lab-b")
    accept(board, "lab-a")
    first, _, third = (board / "decisions.jsonl").read_bytes().splitlines(keepends=True)
    (board / "decisions.jsonl").write_bytes(first + third)
    with pytest.raises(StoreError, match="the chain is broken at line 2"):
        build(board, board.parent / "site", REGISTRY, quiet)
    assert not (board.parent / "site").exists()


def test_12_a_copied_bundle_under_another_name(board: Path, labs: Path, tmp_path: Path) -> None:
    """A copy that was exported again, so that only its logits give it away."""
    copy = board / "submissions" / "lab-z"
    shutil.copytree(board / "submissions" / "lab-a", copy)
    path = copy / "submission.json"
    path.write_bytes(canonical_json(json.loads(path.read_bytes()) | {"name": "lab-z", "laboratory": "Laboratory Z"}))
    assert refused(board) == "the bundle is a copy of the submission lab-a under another name"
    # exported again: other numbers of patients and images, so another id
    bundle(labs / "a" / "runs", copy / "bundle.zip")
    (copy / "bundle.key.parquet").unlink()
    (tmp_path / "m").mkdir()
    numbers = _computed(copy)
    made = unpack(copy / "bundle.zip", tmp_path / "m")
    path.write_bytes(canonical_json(json.loads(path.read_bytes()) | {"bundle": made, "numbers": numbers}))
    what = refused(board)
    assert "are those of the submission lab-a: it is a copy" in what


def test_an_acceptance_scores_only_its_submission_unless_it_looks_like_a_copy(
    board: Path, labs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which bundles an acceptance reads."""
    scored: list[str] = []

    def counted(bundle: Path, *others: Any) -> Any:
        scored.append(bundle.parent.name)
        return examined(bundle, *others)

    def check(name: str) -> list[str]:
        scored.clear()
        check_one(name, board, Rules.read(board), REGISTRY, quiet)
        return scored

    monkeypatch.setattr("bench.extensions.board.check.examined", counted)
    submission = add(board, labs, "b")
    assert check("lab-b") == ["lab-b"]
    wrong = shutil.copytree(submission, board / "submissions" / "a-wrong")  # comes before lab-b, with the same bundle
    restated(wrong, name="a-wrong", numbers=[])
    assert check("lab-b") == ["lab-a", "a-wrong", "lab-b"]
    append(board, "refused", "a-wrong", "0" * 64, "M", "other rows than its bundle")
    with pytest.raises(StoreError, match="other rows than the bundle"):
        check("a-wrong")  # also after its refusal


def test_a_wrong_submission_leaves_the_right_ones_on_the_site(
    board: Path, labs: Path, tmp_path: Path, here: Command
) -> None:
    """The command that builds a site beside wrong submissions."""
    add(board, labs, "b")
    wrong = shutil.copytree(board / "submissions" / "lab-b", board / "submissions" / "a-wrong")  # comes before lab-b
    restated(wrong, name="a-wrong")
    (wrong / "bundle.zip").write_bytes(b"PK")
    (board / "submissions" / ".gitattributes").write_text("*.zip text eol=crlf\n")
    (board / "submissions" / "x\x1b[31m").mkdir()  # a name that would color a terminal
    done = here("board", "build", "board", "-o", "site", "--quiet", cwd=tmp_path, code=2)
    assert "1 row, 1 ranked\nwaiting for a decision: lab-b\n" in done.stdout
    assert "a-wrong is left out: " in done.stderr
    assert "lab-b" not in done.stderr
    assert "\x1b" not in done.stderr
    assert (tmp_path / "site" / "submissions" / "lab-a.html").is_file()
    assert "a-wrong: " in (tmp_path / "site" / "index.html").read_text()
    words = ("--board", "board", "--by", "M", "--why", "every number agrees", "--quiet")
    assert here("board", "decide", "accepted", "a-wrong", *words, cwd=tmp_path, code=2).stderr
    here("board", "decide", "accepted", "lab-b", *words, cwd=tmp_path)
    found = json.loads(here("board", "build", "board", "--quiet", "--json", cwd=tmp_path, code=2).stdout)
    assert (found["rows"], found["ranked"]) == (2, 2)
    assert [each["name"] for each in found["broken"]] == [".gitattributes", "a-wrong", "x\x1b[31m"]
    assert all(each["fix"] for each in found["broken"])
