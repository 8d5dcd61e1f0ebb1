"""`bench board submit`: what a bundle lacks is listed line by line, and the facts of its runs decide the division."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from bench.cli.progress_bars import QuietDisplay
from bench.config.registry import Entry, Registry
from bench.extensions.board.examine import examined
from bench.extensions.board.rules import Rules, missing_registered
from bench.extensions.board.site import build
from bench.extensions.board.submission import Submission
from bench.extensions.bundles.archive import CHECKSUMS, pack, unpack
from bench.extensions.imported.evaluation import evaluate, write_golden
from bench.extensions.imported.request import EvaluationRequest
from bench.planning.manifest import read_manifest
from bench.store.checked_files import read_grid
from bench.store.store import Store, canonical_json
from harmonize.errors import StoreError
from harmonize.labels.findings import space
from tests.conftest import Command, Once
from tests.extensions.board.laboratories import (
    accept,
    at_board_hospitals,
    bundle,
    laboratories,
    quiet,
    rules,
    with_model,
    with_other_runs,
)
from tests.extensions.bundles.test_bundles import on_json
from tests.manifests import invented_manifest, invented_run

pytestmark = pytest.mark.grid
NUMBER = dict.fromkeys(("auroc", "auroc_low", "auroc_high", "gap", "gap_low", "gap_high"), 0.5) | {
    "recipe": "x",
    "runs": ["0" * 12],
    "seen": [],
    "missing": [],
}
STATED = ("--laboratory", "Laboratory A", "--licence", "CC-BY-4.0", "--quiet")


@pytest.fixture(scope="module")
def labs(finished: Path, once: Once) -> Path:
    """The bundles of three laboratories, and their stores. Tests only read them."""
    return once("laboratories", lambda folder: laboratories(finished, folder))


def submitted(here: Command, cwd: Path, labs: Path, name: str, *options: str, code: int = 0) -> str:
    words = ("board", "submit", str(labs / f"{name}.zip"), "--board", "board", "--name", f"lab-{name}", *options)
    done = here(*words, cwd=cwd, code=code)
    return done.stdout + done.stderr


def test_a_complete_bundle_becomes_a_folder_and_the_facts_decide_the_division(
    labs: Path, tmp_path: Path, here: Command
) -> None:
    """`bench board submit` of complete bundles, with the making of the laboratories that all tests of boards share."""
    rules(tmp_path / "board")
    said = submitted(here, tmp_path, labs, "a", *STATED)
    assert "missing" not in said
    assert "2 runs at 3 hospitals" in said
    assert "division: closed\n" in said
    assert "not needed: no model was trained elsewhere" in said
    read = Submission.read(tmp_path / "board" / "submissions" / "lab-a")
    assert (read.division, read.laboratory, read.licence) == ("closed", "Laboratory A", "CC-BY-4.0")
    (number,) = read.numbers
    assert number.recipe == "SE-ResNet-10 (tiny), AdamW, BCE, U-Ignore"
    assert len(number.runs) == 2
    assert 0.4 < number.auroc_low < number.auroc < number.auroc_high < 1  # type: ignore[operator]
    assert (tmp_path / "board" / "submissions" / "lab-a" / "bundle.zip").read_bytes() == (labs / "a.zip").read_bytes()
    said = submitted(here, tmp_path, labs, "c", *STATED)
    assert "division: open; Foreign network was trained elsewhere" in said
    assert "Foreign network: none given" in said
    assert "trained on their own hospital; pretraining unknown; licence of the weights apache-2.0" in said


def test_each_missing_fact_has_a_line_and_nothing_is_written(labs: Path, tmp_path: Path, here: Command) -> None:
    rules(tmp_path / "board", seeds=3, external=["mimic", "elsewhere"], min_count=10)
    said = submitted(here, tmp_path, labs, "a", "--quiet", code=1)
    for line in (
        "a recipe has 2 of 3 required seeds",
        "no run was tested at elsewhere",
        "the board does not have the hospital nih",
        "min_count is 5, the board has 10",
        "no licence is stated",
        "the laboratory must be a text",
        "nothing was written",
    ):
        assert line in said
    assert not (tmp_path / "board" / "submissions").exists()
    words = ("board", "submit", str(labs / "a.zip"), "--board", "board", "--name", "a", "--quiet", "--json")
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


def test_a_model_that_had_seen_an_external_hospital_is_shown_but_not_ranked(
    finished: Path, tmp_path: Path, here: Command
) -> None:
    """A row of a model that had seen a hospital of the board."""
    shutil.copytree(finished, tmp_path / "d", symlinks=True)
    model = with_model(tmp_path / "d", ["nih"])
    bundle(at_board_hospitals(tmp_path / "d" / "runs"), tmp_path / "d.zip", model)
    board = rules(tmp_path / "board")
    said = submitted(here, tmp_path, tmp_path, "d", *STATED)
    assert "Foreign network: shown, but not ranked: it had seen, or may have seen, nih" in said
    accept(board, "lab-d")
    assert "1 row, 0 ranked" in here("board", "build", "board", "-o", "site", "--quiet", cwd=tmp_path).stdout
    [row] = json.loads((tmp_path / "site" / "rows.json").read_text())["rows"]
    assert (row["group"], row["seen"], row["division"]) == (None, "nih", "open")
    assert "had seen, or may have seen: nih" in (tmp_path / "site" / "index.html").read_text()
    answers = re.findall(r'data-l="seen before">(\w+)<', (tmp_path / "site" / "submissions" / "lab-d.html").read_text())
    assert sorted(answers) == ["labels", "no"]
    path = board / "submissions" / "lab-d" / "submission.json"
    content = json.loads(path.read_bytes())
    content["numbers"][0]["seen"] = []  # as if it had seen nothing
    path.write_bytes(canonical_json(content))
    [broken] = build(board, None, Registry.read(), quiet).broken
    assert "states seen (), the bundle gives ('nih',)" in broken.error.what


def with_weights(registry: Registry, corpus: str, seen: Any) -> Registry:
    """Return a registry that has these starting weights under the name `file`."""
    entry = Entry("weights", "file", facts={"file": "w.safetensors", "corpus": corpus, "seen": seen})
    return replace(registry, sections={**registry.sections, "weights": {**registry.sections["weights"], "file": entry}})


def test_the_closed_division_refuses_starting_weights_of_radiographs(finished: Path, tmp_path: Path) -> None:
    """Neither the architecture's corpus nor an exposure that the bundle leaves out hides what the weights had seen."""
    shutil.copytree(finished, tmp_path / "e", symlinks=True)

    def change(document: dict[str, Any]) -> None:
        document["config"]["weights"] = "file"

    store = with_other_runs(tmp_path / "e" / "runs", change, {"weights": "file"}, {})
    bundle(at_board_hospitals(store), tmp_path / "e.zip", read_manifest(Store.open(store), "tiny").runs[0].id)
    board = Rules.read(rules(tmp_path / "board"))
    for corpus, seen, reason in (
        ("9,000 chest radiographs", "no", "may have seen radiographs (corpus 9,000 chest radiographs)"),
        ("in1k", {"nih": "images", "others": "no"}, "its starting weights had seen nih (answer images)"),
        ("in1k", {"nih": "unknown", "others": "no"}, "its starting weights may have seen nih (answer unknown)"),
        ("in1k", "no", ""),
    ):
        found, _ = examined(tmp_path / "e.zip", board, with_weights(Registry.read(), corpus, seen), quiet)
        assert found.division == ("open" if reason else "closed")
        assert reason in "".join(found.reasons)


def test_golden_outputs_that_were_compared_at_intake_have_a_line(finished: Path, tmp_path: Path, here: Command) -> None:
    """Golden outputs from their comparison to the check of a board."""
    shutil.copytree(finished, tmp_path / "g", symlinks=True)
    store = Store.open(tmp_path / "g" / "runs")
    weights = store.run_dir(read_grid(store, "tiny")["runs"][0]["id"]) / "model.safetensors"
    shutil.copy(weights, tmp_path / "g" / "w.safetensors")
    model = {
        "name": "A network",
        "model": {"function": "tests.networks:tiny", "weights": "w.safetensors"},
        "preprocessing": {"size": 64, "channels": 1, "mean": 0.449, "std": 0.226},
        "outputs": {"kind": "logit", "names": list(space("shared-9"))},
        "trained_on": {"cohorts": []},
    }
    path = tmp_path / "g" / "model.yaml"
    path.write_text(yaml.safe_dump(model))
    write_golden(EvaluationRequest.read(path, "tiny", None, None), tmp_path / "g" / "golden", "cpu", False)
    path.write_text(yaml.safe_dump(model | {"golden": "golden"}))
    request = EvaluationRequest.read(path, "tiny", None, None)
    run = evaluate(request, store, None, "cpu", 1, False, QuietDisplay()).run.id
    bundle(at_board_hospitals(tmp_path / "g" / "runs"), tmp_path / "g.zip", run)
    rules(tmp_path / "board")
    said = submitted(here, tmp_path, tmp_path, "g", *STATED)
    assert "A network: golden outputs compared (6 images, 9 outputs each): equal up to 0 of" in said
    unpack(tmp_path / "g.zip", tmp_path / "members")
    (tmp_path / "members" / CHECKSUMS).unlink()
    on_json(tmp_path / "members" / "manifest.json", lambda m: m["derived"][0]["passport"]["golden"].update(images=0))
    pack(tmp_path / "members", tmp_path / "forged.zip")
    assert "the bundle is refused" in submitted(here, tmp_path, tmp_path, "forged", *STATED, code=2)


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
        ({"numbers": [{**NUMBER, "seen": [1]}]}, "a text is not a text"),
        ({"numbers": [{**NUMBER, "seen": ["<b>"]}]}, "has the character '<'"),
        ({"numbers": [{**NUMBER, "missing": ["<b>"]}]}, "has the character '<'"),
        ({"signed_by": 1}, "a text is not a text"),
        *[({"date": date}, "invalid") for date in ("2026-13-45", "9999-99-99", "20260101", "\u0662026-01-01")],
    ],
)
def test_a_changed_statement_is_refused(changed: dict[str, object], said: str, tmp_path: Path) -> None:
    content = {
        "schema": 1, "name": "lab-a", "laboratory": "A", "licence": "CC-BY-4.0", "division": "open", "bundle": "0" * 64,
        "scoring": 1, "date": "2026-11-25", "signed_by": "", "numbers": [NUMBER],
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
    registrations = pytest.importorskip("bench.extensions.registration.registrations")
    plans = [
        registrations.Registration.of({"plan": {"runs": [{"id": run} for run in ids]}})
        for ids in (["a1"], ["a1", "b2", "c3"])
    ]
    for plan in plans:
        registrations.write_by_hash(store, plan)
    runs, derived = (invented_run("a1"),), (invented_run("c3", kind="tta"),)
    extras = {"registrations": [plan.sha256 for plan in plans]}
    manifest = invented_manifest(store, runs=runs, derived=derived, extras=extras)
    assert missing_registered(manifest) == ["b2"], "the last registration counts"
    assert missing_registered(replace(manifest, extras={"registrations": []})) == []
