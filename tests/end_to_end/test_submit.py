"""`bench submit`: what a bundle lacks is listed line by line, and the facts of its runs decide the division."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from bench.board.rules import missing_registered
from bench.board.submission import Submission
from bench.planning.manifest import Manifest
from bench.store.registrations import Registration, write_by_hash
from bench.store.store import Store, canonical_json
from harmonize.errors import StoreError
from tests.conftest import Command, Once
from tests.laboratories import bundle, laboratories, rules, with_model

pytestmark = pytest.mark.grid
NUMBER = dict.fromkeys(("auroc", "auroc_low", "auroc_high", "gap", "gap_low", "gap_high"), 0.5) | {
    "recipe": "x",
    "runs": ["0" * 12],
}
STATED = ("--laboratory", "Laboratory A", "--licence", "CC-BY-4.0", "--quiet")


@pytest.fixture(scope="module")
def labs(finished: Path, once: Once) -> Path:
    """The bundles of three laboratories, and their stores. Tests only read them."""
    return once("laboratories", lambda folder: laboratories(finished, folder))


def submitted(here: Command, cwd: Path, labs: Path, name: str, *options: str, code: int = 0) -> str:
    words = ("submit", str(labs / f"{name}.zip"), "--board", "board", "--name", f"lab-{name}", *options)
    done = here(*words, cwd=cwd, code=code)
    return done.stdout + done.stderr


def test_a_complete_bundle_becomes_a_folder_and_the_facts_decide_the_division(
    labs: Path, tmp_path: Path, here: Command
) -> None:
    rules(tmp_path / "board")
    said = submitted(here, tmp_path, labs, "a", *STATED)
    assert "missing" not in said
    assert "2 runs at 6 hospitals" in said
    assert "division: closed\n" in said
    read = Submission.read(tmp_path / "board" / "submissions" / "lab-a")
    assert (read.division, read.laboratory, read.licence) == ("closed", "Laboratory A", "CC-BY-4.0")
    (number,) = read.numbers
    assert number.recipe == "SE-ResNet-10 (tiny), AdamW, BCE, U-Ignore"
    assert len(number.runs) == 2
    assert 0.4 < number.auroc_low < number.auroc < number.auroc_high < 1  # type: ignore[operator]
    assert (tmp_path / "board" / "submissions" / "lab-a" / "bundle.zip").read_bytes() == (labs / "a.zip").read_bytes()
    said = submitted(here, tmp_path, labs, "c", *STATED)
    assert "division: open; Foreign network was trained elsewhere" in said
    assert "trained on their own hospital; pretraining unknown; licence of the weights apache-2.0" in said


def test_each_missing_fact_has_a_line_and_nothing_is_written(labs: Path, tmp_path: Path, here: Command) -> None:
    rules(tmp_path / "board", seeds=3, external=["mimic", "nih", "elsewhere"], min_count=10)
    said = submitted(here, tmp_path, labs, "a", "--quiet", code=1)
    for line in (
        "a recipe has 2 of 3 required seeds",
        "no run was tested at elsewhere",
        "the board does not have the hospital padchest",
        "min_count is 5, the board has 10",
        "no licence is stated",
        "the laboratory must be a text",
        "nothing was written",
    ):
        assert line in said
    assert not (tmp_path / "board" / "submissions").exists()
    words = ("submit", str(labs / "a.zip"), "--board", "board", "--name", "a", "--quiet", "--json")
    found = json.loads(here(*words, cwd=tmp_path, code=1).stdout)
    assert {line["what"] for line in found["checks"] if line["state"] == "missing"} == {
        "hospitals", "settings", "seeds", "licence", "laboratory",
    }  # fmt: skip


def test_a_list_of_training_ids_must_not_contradict_the_passport(labs: Path, tmp_path: Path, here: Command) -> None:
    rules(tmp_path / "board")
    for suffix in (".zip", ".key.parquet"):
        shutil.copy(labs / f"c{suffix}", tmp_path)
    key = pd.read_parquet(tmp_path / "c.key.parquet")
    ids = key[key["cohort"] == "nih"]["image_id"].head(7)
    (tmp_path / "ids.txt").write_text("\n".join(["unknown-1", *ids]))
    said = submitted(here, tmp_path, tmp_path, "c", *STATED, "--seen-ids", "nih=ids.txt", code=1)
    assert "Foreign network: the passport states that nih was not seen, but 7 of its scored images are in" in said
    (tmp_path / "ids.txt").write_text("unknown-1\n")
    assert "do not contradict" in submitted(here, tmp_path, tmp_path, "c", *STATED, "--seen-ids", "nih=ids.txt")


def test_a_model_that_had_seen_an_external_hospital_is_not_ranked(
    finished: Path, tmp_path: Path, here: Command
) -> None:
    shutil.copytree(finished, tmp_path / "d", symlinks=True)
    bundle(tmp_path / "d" / "runs", tmp_path / "d.zip", with_model(tmp_path / "d", ["nih"]))
    rules(tmp_path / "board")
    said = submitted(here, tmp_path, tmp_path, "d", *STATED, code=1)
    assert "no run can be ranked: the model had seen the external hospitals nih" in said


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"laboratory": "<script>alert(1)</script>"}, "has the character '<'"),
        ({"laboratory": "A\x1b[31m"}, "control characters"),
        ({"licence": "unknown"}, "no licence is stated"),
        ({"division": "best"}, "wrong division"),
        ({"bundle": "../../x"}, "id of the bundle"),
        ({"name": "lab-b"}, "the folder lab-a has the submission lab-b"),
        ({"rank": 1}, "is invalid"),
        ({"numbers": [{"recipe": "x"}]}, "is invalid"),
        ({"numbers": [{**NUMBER, "auroc": None}]}, "an AUROC is not between 0 and 1"),
        ({"numbers": [{**NUMBER, "auroc": 2}]}, "an AUROC is not between 0 and 1"),
        ({"numbers": [{**NUMBER, "auroc_low": 0.6}]}, "its interval is invalid"),
        ({"numbers": [{**NUMBER, "auroc_high": None}]}, "its interval is invalid"),
        ({"numbers": [{**NUMBER, "gap": "x"}]}, "a number is not a number"),
    ],
)
def test_a_changed_statement_is_refused(changed: dict[str, object], said: str, tmp_path: Path) -> None:
    content = {
        "schema": 1, "name": "lab-a", "laboratory": "A", "licence": "CC-BY-4.0", "division": "open", "bundle": "0" * 64,
        "scoring": 21, "date": "2026-11-25", "numbers": [NUMBER],
    }  # fmt: skip
    folder = tmp_path / "lab-a"
    folder.mkdir()
    (folder / "submission.json").write_bytes(canonical_json(content))
    assert Submission.read(folder).document == canonical_json(content)
    (folder / "submission.json").write_bytes(canonical_json(content | changed))
    with pytest.raises(StoreError, match=r"submission|invalid|character|licence|division") as raised:
        Submission.read(folder)
    assert said in raised.value.what


def test_a_registered_run_that_the_bundle_lacks_is_named(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    plans = [Registration.of({"plan": {"runs": [{"id": run} for run in ids]}}) for ids in (["a1"], ["a1", "b2", "c3"])]
    for plan in plans:
        write_by_hash(store, plan)
    content = {"runs": [{"id": "a1"}], "derived": [{"id": "c3"}], "registrations": [plan.sha256 for plan in plans]}
    assert missing_registered(Manifest(store, content)) == ["b2"], "the last registration counts"
    assert missing_registered(Manifest(store, {**content, "registrations": []})) == []
