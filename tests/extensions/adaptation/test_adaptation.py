"""`bench adapt`: what labels of a few patients of a hospital buy, with known truth, and as a user starts it."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import synthetic
from numpy.typing import NDArray
from scipy.special import expit

from bench.extensions.adaptation import cohorts
from bench.extensions.adaptation.curve import Task, points
from bench.extensions.adaptation.methods import Adapter
from bench.extensions.adaptation.schemas import SCHEMAS
from bench.extensions.adaptation.sections import answer
from bench.planning.manifest import read_manifest
from bench.scoring.calibrators import Platt
from bench.store.store import Store
from reports.page import render
from reports.report_data.headline_rows import MACRO
from reports.tables import Tables

Command = Callable[..., "subprocess.CompletedProcess[str]"]


def hospital(seed: int, num_patients: int, held: int, hidden: float = 0.0) -> tuple[Task, Adapter]:
    """Draw a hospital where the network is overconfident; `hidden`: weight of a feature that the network does not use."""
    random = np.random.default_rng(seed)
    patient = np.repeat(np.arange(num_patients), random.integers(1, 4, num_patients)).astype(np.int32)
    logit, feature = random.normal(-1, 2, (len(patient), 1)), random.normal(size=(len(patient), 6))
    true = 0.5 * logit + 1 + hidden * feature[:, :1]
    label = (random.random(true.shape) < expit(true)).astype(np.int8)
    order, ids = random.permutation(num_patients), np.array([f"i{i}" for i in range(len(patient))], object)
    start = (Platt(1.0, 0.0),)
    task = Task(("Edema",), [0], ids, label, logit, patient, start, order[:held], order[held:])
    return task, Adapter(label, logit, start, feature=feature.astype(np.float32))


def changes(task: Task, adapter: Adapter, method: str, n: int, draws: int = 5) -> dict[str, Any]:
    """Return metric -> numbers of the mean over findings."""
    names = ("zero_shot", "value", "difference", "low", "high", "draws", "harmed")
    rows = points(task, adapter, method, n, draws)
    return {str(row[0]): dict(zip(names, row[2:], strict=True)) for row in rows if row[1] == MACRO}


def test_recalibration_lowers_the_brier_score_and_leaves_the_order_of_images() -> None:
    few, many = (changes(*hospital(0, 900, 400), "recalibration", n) for n in (20, 400))
    assert many["auroc"]["difference"] == pytest.approx(0, abs=1e-12)
    assert many["brier"]["high"] < 0 < many["brier"]["zero_shot"]
    assert many["brier"]["harmed"] == 0
    assert many["brier"]["value"] < few["brier"]["value"]


def test_a_refitted_head_uses_features_that_the_network_does_not() -> None:
    better, same = (changes(*hospital(1, 900, 400, hidden), "head", 400) for hidden in (1.5, 0.0))
    assert better["auroc"]["low"] > 0.03
    assert abs(same["auroc"]["difference"]) < 0.01


def test_a_finding_without_both_classes_stays_as_it_is() -> None:
    task, adapter = hospital(2, 200, 100)
    label = np.where(np.isin(task.patient, task.pool)[:, None], 0, task.label).astype(np.int8)
    one_class = Task(task.findings, task.columns, task.image_id, label, task.logit, task.patient, task.start, task.held, task.pool)  # fmt: skip
    for method in ("recalibration", "head"):
        found = changes(one_class, Adapter(label, task.logit, task.start, feature=adapter.feature), method, 50)
        assert {(row["difference"], row["low"], row["high"], row["draws"]) for row in found.values()} == {(0, 0, 0, 0)}


@pytest.mark.slow
def test_intervals_contain_the_mean_change_as_often_as_stated() -> None:
    found = [changes(*hospital(seed, 300, 150), "recalibration", 50)["brier"] for seed in range(300)]
    truth = np.mean([row["difference"] for row in found])
    assert 0.92 <= np.mean([row["low"] <= truth <= row["high"] for row in found]) <= 0.99


def rows(*points: tuple[str, str, int, float, float, float]) -> list[dict[str, Any]]:
    return [dict(zip(("metric", "method", "patients", "difference", "low", "high"), p, strict=True)) for p in points]


def test_the_answer_names_gain_and_harm() -> None:
    gain, harm = ("auroc", "lora", 500, 0.04, 0.02, 0.06), ("auroc", "head", 20, -0.05, -0.08, -0.02)
    said = answer(rows(gain, harm, ("brier", "head", 20, 0.03, 0.01, 0.05)))
    assert "AUROC: 500 labeled patients suffice for a clear gain, .040 [.020, .060] (LoRA); " in said
    assert "harm with 20 patients −.050 [−.080, −.020] (head)." in said
    assert "Brier score: no tried sample gains clearly; harm with 20 patients .030 [.010, .050] (head)." in said


def test_the_page_has_a_curve_for_each_method_and_the_zero_shot_line() -> None:
    study = synthetic.tables(synthetic.Invented(runs=4))
    run, dataset = synthetic.ranked_ids(study)[0], study.frames["cohorts"]["dataset"].iloc[1]
    numbers = (113, "auroc", MACRO, 0.7, 0.74, 0.04, 0.02, 0.06, 5, 0.2)
    table = pd.DataFrame(
        [
            (run, dataset, method, n, *numbers[:1], metric, *numbers[2:])
            for method in ("recalibration", "lora")
            for n in (20, 50)
            for metric in ("auroc", "brier")
        ],
        columns=list(SCHEMAS["adaptation"]),
    )
    page = render(Tables(study.meta, {**study.frames, "adaptation": table}))
    section = page.partition('<section id="adaptation"')[2].partition("</section>")[0]
    assert "AUROC: 20 labeled patients suffice for a clear gain, .040 [.020, .060] (recalibration)" in section
    assert section.count('class="le-l"') == 2 * (2 + 1)  # two panels and the legend
    assert section.count('class="z"') == 2
    assert 'id="adaptation"' not in render(study)


@pytest.mark.grid
def test_the_command_measures_other_patients_and_the_page_shows_the_curve(store_copy: Path, here: Command) -> None:
    run = Store.open(store_copy / "runs").run_ids()[0]
    options = ("adapt", run[:6], "--at", "nih", "--patients", "10,5000", "--quiet")
    found = json.loads(here(*options, "--json", cwd=store_copy).stdout)
    table = pd.DataFrame(found["rows"])
    assert set(table["method"]) == {"recalibration", "head", "lora"}
    assert set(table["patients"]) == {10}
    assert any("the curve stops at 10 (5000 asked)" in note for note in found["notes"])
    assert (table["low"] <= table["difference"]).all()
    again = pd.DataFrame(json.loads(here(*options, "--json", cwd=store_copy).stdout)["rows"])
    pd.testing.assert_frame_equal(table, again)
    said = " ".join(here(*options, cwd=store_copy).stdout.split())
    assert said.startswith("Synthetic images")
    assert "Hospital C (NIH layout)" in said
    here("report", cwd=store_copy)
    assert '<section id="adaptation"' in (store_copy / "runs" / "report" / "tiny" / "leaderboard.html").read_text()
    store = Store.open(store_copy / "runs")
    assert not list(cohorts.problems(store))
    (path,) = (store_copy / "runs" / "adaptation").glob("*.parquet")
    path.write_bytes(path.read_bytes() + b" ")
    assert [name for name, _, _ in cohorts.problems(store)] == [f"adaptation {path.stem}"]


@pytest.mark.grid
def test_measured_patients_are_never_drawn(finished: Path) -> None:
    manifest = read_manifest(Store.open(finished / "runs"), "tiny")
    task = Task.of(manifest, manifest.runs[0], "nih")
    assert len(task.held) > 5
    assert not set(task.held) & set(task.pool)
    of_images: NDArray[np.bool_] = np.isin(task.patient, [*task.held, *task.pool])
    assert of_images.all()


@pytest.mark.grid
@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("--at", "nhi"), "unknown value of --at: 'nhi'"),
        (("--at", "nih", "--patients", "few"), "'few' are not numbers of patients"),
        (("--at", "nih", "--patients", "1,20"), "'1,20' are not numbers of patients"),
    ],
)
def test_a_wrong_request_is_refused(arguments: tuple[str, ...], what: str, finished: Path, here: Command) -> None:
    run = Store.open(finished / "runs").run_ids()[0]
    assert what in here("adapt", run, *arguments, cwd=finished, code=2).stderr
