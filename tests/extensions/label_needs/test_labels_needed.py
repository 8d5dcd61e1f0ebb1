"""`bench labels-needed`, as a user starts it."""

import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench import api
from bench.extensions.label_needs.draws import CURVES, NEEDS
from bench.store.store import Store
from harmonize.errors import ConfigError

pytestmark = pytest.mark.grid
Command = Callable[..., "subprocess.CompletedProcess[str]"]


def ids(folder: Path) -> list[str]:
    return Store(folder / "runs").run_ids()


def test_the_answers_of_a_grid_and_the_findings_without_an_answer(finished: Path, here: Command) -> None:
    said = here("labels-needed", "--quiet", cwd=finished).stdout
    assert said.startswith("Synthetic images")
    assert all(f"run     {run_id}" in said for run_id in ids(finished))
    assert "Recalibrate to an ECE of at most 0.05 in 80 % of the draws" in said
    assert "Each share is over the draws at all hospitals and of all runs listed above." in " ".join(said.split())
    assert "Left out at Hospital C (NIH layout): " in said
    assert "fewer than 10 patients" in said  # 2 x min_count of this grid


def test_a_run_a_finding_and_its_curve(finished: Path, here: Command) -> None:
    options = ("--run", ids(finished)[0][:6], "--finding", "No Finding", "--quiet")
    said = here("labels-needed", *options, "--ece", ".2", cwd=finished).stdout
    assert "10-90 %" in said
    read = json.loads(here("labels-needed", *options, "--json", cwd=finished).stdout)
    assert [name.split()[0] for name in read["runs"]] == ids(finished)[:1]
    assert all(tuple(row) == NEEDS for row in read["needed"])
    table = pd.read_csv(io.StringIO(here("labels-needed", *options, "--csv", cwd=finished).stdout))
    assert tuple(table.columns) == (*CURVES, "synthetic")
    assert table["share"].between(0, 1).all()
    assert set(table["finding"]) == {"No Finding"}


def test_the_library_gives_the_same_and_twice_the_same(finished: Path, here: Command) -> None:
    run_id = ids(finished)[0]
    answer = api.labels_needed(api.open_grid(finished / "runs"), run_id, findings=["No Finding"])
    options = ("--run", run_id, "--finding", "No Finding", "--quiet", "--csv")
    table = pd.read_csv(io.StringIO(here("labels-needed", *options, cwd=finished).stdout))
    np.testing.assert_allclose(table["median"], answer.curves["median"], atol=1e-12)
    np.testing.assert_array_equal(table["draws"], answer.curves["draws"])


@pytest.mark.parametrize(
    ("arguments", "what", "fix"),
    [
        (["--finding", "Edem"], "no finding 'Edem'", "Edema"),
        (["--run", "nonsense"], "no run 'nonsense'", "bench list runs"),
        (["--finding", "Pneumothorax"], "no finding has 10 patients", "choose other runs or findings"),
    ],
)
def test_a_wrong_request_is_refused_with_a_fix(
    arguments: list[str], what: str, fix: str, finished: Path, here: Command
) -> None:
    said = here("labels-needed", *arguments, cwd=finished, code=2).stderr
    assert what in said
    assert fix in said.split("fix:")[1]


def test_wrong_arguments_of_the_library_are_named(finished: Path) -> None:
    store = finished / "runs"
    grid = api.open_grid(store)
    with pytest.raises(ConfigError, match="findings must be a list"):
        api.labels_needed(grid, findings="Edema")
