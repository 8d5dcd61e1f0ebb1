"""`bench check` and common mistakes: each mistake is planted in a finished store, and detected with a fix."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from bench.diagnostics.symptoms.run_symptoms import Grids, symptoms
from bench.planning.manifest import planned, read_manifest
from bench.results.read_predictions import labels_of
from bench.results.score_runs import score_all
from bench.scoring.diagnostics import ORDER, UNTRAINED
from bench.store.checked_folders import CheckedFolder
from bench.store.store import Store, table_facts, write_table
from harmonize.checks.release import Check
from reports.schemas.tables import SCHEMAS

pytestmark = pytest.mark.grid
Command = Callable[..., "subprocess.CompletedProcess[str]"]
INTERNAL = "chexpert"


@pytest.fixture
def store(store_copy: Path) -> Store:
    return Store.open(store_copy / "runs", create=False)


@pytest.fixture
def run_id(store: Store) -> str:
    return store.run_ids()[0]


def names(found: list[Check]) -> list[str]:
    return [check.what.partition(": ")[2] for check in found if check.level in ("fault", "warning")]


def one(found: list[Check], what: str) -> Check:
    (check,) = [check for check in found if what in check.what]
    assert check.found
    assert len(check.fix.split("\n")) > 1, "several causes, most likely first"
    return check


def predictions(store: Store, run_id: str) -> tuple[Path, pd.DataFrame]:
    path = store.run_dir(run_id) / "predictions" / f"{INTERNAL}.parquet"
    return path, pd.read_parquet(path)


def plant(store: Store, run_id: str, logit_NK: np.ndarray) -> None:
    """Replace the stored logits of a run at the internal hospital; the run is then not scored."""
    path, frame = predictions(store, run_id)
    frame.iloc[:, 1:] = logit_NK.astype(np.float32)
    write_table(path, frame, table_facts(path))
    CheckedFolder(store.run_dir(run_id)).record_checksums()
    (store.root / "scores" / run_id / "KEY").unlink(missing_ok=True)


def scored(store: Store) -> Store:
    """Score the planted logits, and return the store."""
    score_all(read_manifest(store, "tiny"), lambda *_: None, 1)
    return store


def stored_symptom(store: Store, run_id: str, kind: str, finding: str, value: float, advice: str = "") -> Store:
    """Write the symptom of a scored run that scoring finds with more images than this store has; return the store.

    tests/unit/bench/scoring/test_diagnostics.py plants the faults themselves.
    """
    folder = store.root / "scores" / run_id
    row = (run_id, INTERNAL, finding, kind, value, value - 0.1, value + 0.1, 1e-6, advice)
    path = folder / "diagnostics.parquet"
    write_table(path, pd.DataFrame([row], columns=list(SCHEMAS["diagnostics"])), table_facts(path))
    CheckedFolder(folder).record_checksums()
    return store


def good_logits(store: Store, run_id: str) -> np.ndarray:
    """Return logits with a high AUROC for the images predicted at the internal hospital."""
    manifest, run = planned(store, run_id, None)
    labels = labels_of(manifest, manifest.cohorts[0], run.config)
    at = pd.Index(labels.table["image_id"]).get_indexer(predictions(store, run_id)[1]["image_id"])
    noise_NK = np.random.default_rng(0).normal(size=(len(at), labels.state_NK.shape[1]))
    return 3.0 * (labels.state_NK[at] == 1) + noise_NK - 2


def test_a_sound_store_has_no_symptoms(finished: Path, here: Command) -> None:
    runs = Store.open(finished / "runs", create=False).run_ids()
    said = here("check", *runs, "--quiet", cwd=finished).stdout
    for run_id in runs:
        assert f"ok   run {run_id}: symptoms: none seen" in said
    assert said.splitlines()[-1] == "0 faults, 0 warnings"
    assert "ok   symptoms: none seen in 2 runs" in here("check", "--quiet", cwd=finished).stdout


def test_labels_in_another_order(store: Store, run_id: str) -> None:
    plant(store, run_id, good_logits(store, run_id)[:, [1, 2, 3, 4, 5, 6, 7, 8, 0]])
    (unscored,) = [check for check in symptoms(store, run_id) if check.level == "note"]
    assert "outdated" in unscored.found
    assert "bench score" in unscored.fix
    advice = "read Edema from the output of Atelectasis: mean AUROC 0.50 would be 0.90"
    found = symptoms(stored_symptom(scored(store), run_id, ORDER, "all", 0.4, advice), run_id)
    check = one(found, "labels in another order")
    assert "from the output of" in check.found
    assert "by name" in check.fix


def test_auroc_near_half_with_predictions_of_another_epoch(store: Store, run_id: str) -> None:
    rows = np.random.default_rng(3).permutation(len(predictions(store, run_id)[1]))
    plant(store, run_id, predictions(store, run_id)[1].to_numpy()[rows, 1:].astype(np.float32))
    found = symptoms(stored_symptom(scored(store), run_id, UNTRAINED, "all", 0.51), run_id)
    assert set(names(found)) == {
        "AUROC near .5 at the internal hospital",
        "predictions do not match the selected epoch",
    }
    assert "macro AUROC 0." in one(found, "AUROC near .5").found
    assert one(found, "selected epoch").fix.startswith("the checkpoint was not loaded")


def test_inverted_labels(store: Store, run_id: str) -> None:
    plant(store, run_id, -good_logits(store, run_id))
    assert "swapped" in one(symptoms(scored(store), run_id), "inverted: AUROC below .5 at the internal hospital").fix


def test_runs_checked_together_have_the_symptoms_of_runs_checked_alone(store: Store, run_id: str) -> None:
    plant(store, run_id, -good_logits(store, run_id))
    grids, runs = Grids(scored(store)), store.run_ids()
    together = [symptoms(store, each, grids) for each in runs]
    assert together == [symptoms(store, each) for each in runs]
    assert [bool(names(found)) for found in together] == [each == run_id for each in runs]


def test_constant_outputs(store: Store, run_id: str) -> None:
    logit_NK = good_logits(store, run_id)
    logit_NK[:, 1] = 0.0
    plant(store, run_id, logit_NK)
    found = one(symptoms(scored(store), run_id), "constant output").found
    assert "Cardiomegaly: the prediction is the same number in at least 100%" in found


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (lambda logit: np.where(logit > 1.5, np.nan, logit), "predictions are not numbers"),
        (lambda logit: 1 / (1 + np.exp(-logit)), "probabilities in place of logits"),
    ],
)
def test_outputs_that_are_not_logits(
    store: Store, run_id: str, spoil: Callable[[np.ndarray], np.ndarray], what: str
) -> None:
    plant(store, run_id, spoil(good_logits(store, run_id)))
    assert "sigmoid" in one(symptoms(store, run_id), what).fix


@pytest.mark.parametrize(
    ("losses", "what", "fix"),
    [
        ([0.0, 0.0], "the loss does not move", "sampling: balanced"),
        ([0.70, 0.699], "the loss does not fall", "schedule.lr"),
        ([0.70, np.nan], "the loss is not a number", "schedule.clip"),
    ],
)
def test_training_losses_that_do_not_fall(store: Store, run_id: str, losses: list[float], what: str, fix: str) -> None:
    path = store.run_dir(run_id) / "history.parquet"
    write_table(path, pd.read_parquet(path).assign(train_loss=losses))
    CheckedFolder(path.parent).record_checksums()
    assert fix in one(symptoms(store, run_id), what).fix


def test_a_loss_that_is_not_a_number_stops_a_run_and_is_recognized(store_copy: Path, command: Command) -> None:
    grid = Path(__file__).parents[4] / "grids" / "tiny.yaml"
    text = f"include: {grid}\nname: wild\nexpect: {{runs: 1}}\nbase: {{schedule: {{epochs: 1, batch_size: 32, lr: 1.0e+30}}}}\nsweeps:\n  - {{seed: [7]}}\n"
    (store_copy / "wild.yaml").write_text(text)
    command("run", "--grid", "wild.yaml", "--quiet", cwd=store_copy, code=1)
    store = Store.open(store_copy / "runs", create=False)
    (run_id,) = [i for i in store.run_ids() if store.state(i) == "failed"]
    check = one(symptoms(store, run_id), "the loss is not a number")
    assert "the loss became" in check.found
    assert "lower `schedule.lr`" in check.fix.split("\n")[0]


def failure_of(call: Callable[[], object]) -> str:
    try:
        call()
    except RuntimeError as error:
        return f"Traceback (most recent call last):\n  ...\n{type(error).__name__}: {error}"
    raise AssertionError("it did not fail")


@pytest.mark.parametrize(
    ("record", "what", "fix"),
    [
        (
            failure_of(lambda: torch.nn.Conv2d(3, 8, 3)(torch.zeros(2, 1, 9, 9))),
            "wrong number of channels",
            "channels: 3",
        ),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.", "out of memory", "micro_batch"),
        (
            "bench.training.fit.TrainingError: no finding of the val split has both classes: no epoch can be selected",
            "no usable training labels",
            "reads as 0",
        ),
    ],
)
def test_failures(store: Store, run_id: str, record: str, what: str, fix: str) -> None:
    (store.run_dir(run_id) / "DONE").unlink()
    store.fail(run_id, record)
    assert fix in one(symptoms(store, run_id), what).fix


def test_the_command_lists_causes_exits_with_1_and_has_json_output(store_copy: Path, here: Command) -> None:
    store = Store.open(store_copy / "runs", create=False)
    run_id = store.run_ids()[0]
    plant(store, run_id, -good_logits(store, run_id))
    scored(store)
    said = here("check", run_id[:5], cwd=store_copy, code=1).stdout.splitlines()
    at = next(k for k, line in enumerate(said) if line.startswith(f"BAD  run {run_id}: inverted"))
    assert said[at + 1].startswith("       1. present and absent are swapped")
    found = json.loads(here("check", run_id, "--json", cwd=store_copy, code=1).stdout)
    assert any("inverted" in check["what"] and check["level"] == "fault" for check in found)
    assert "BAD  run" in here("check", "--quiet", cwd=store_copy, code=1).stdout
