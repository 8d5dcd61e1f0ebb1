"""`bench compare`, as a user starts it."""

import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.scoring.across_runs.paired_runs import COLUMNS
from bench.store.store import Store

pytestmark = pytest.mark.grid
Command = Callable[..., "subprocess.CompletedProcess[str]"]


def ids(folder: Path) -> list[str]:
    return Store(folder / "runs").run_ids()


def test_two_runs_are_compared_by_the_beginning_of_their_ids(finished: Path, here: Command) -> None:
    first, second = ids(finished)
    answer = here("compare", first[:6], second, cwd=finished).stdout
    assert len(answer.splitlines()) < 25
    assert "external mean" in answer.splitlines()[6]  # the answer first
    assert "Pleural Effusion" not in answer
    said = here("compare", first[:6], second, "--cohort", "vindr", "--all", cwd=finished).stdout
    assert f"first   {first}" in said
    assert "Hospital E (VinDr layout), test  auroc" in said
    assert "Pleural Effusion" in said
    assert "nih" not in said
    table = pd.read_csv(io.StringIO(here("compare", first, second, "--csv", cwd=finished).stdout))
    assert tuple(table.columns) == (*COLUMNS, "synthetic")
    assert table["synthetic"].all()
    scores = pd.read_parquet(finished / "runs" / "scores" / first / "scores.parquet")
    external = scores.query("dataset == 'external' and metric == 'auroc' and finding == 'macro'")["value"].item()
    assert table.query("dataset == 'external'")["first"].item() == pytest.approx(external)


def test_a_comparison_can_be_read_by_programs(finished: Path, here: Command) -> None:
    options = ("--metric", "sensitivity", "--at", "youden", "--json")
    found = json.loads(here("compare", *ids(finished), *options, cwd=finished).stdout)
    assert found["metric"] == "sensitivity"
    rows = found["rows"]
    assert {"chexpert", "mimic", "external"} <= {row["dataset"] for row in rows}
    titles = {row["dataset"]: row["hospital"] for row in rows}
    assert (titles["mimic"], titles["external"]) == ("Hospital B (MIMIC layout)", "external mean")
    known = [row for row in rows if row["difference"] is not None]
    assert all(np.isclose(row["difference"], row["first"] - row["second"]) for row in known)


@pytest.mark.parametrize(
    ("arguments", "what", "fix"),
    [
        (["{first}", "nonsense"], "no run 'nonsense'", "bench list runs"),
        (["{first}", "{first}"], "both ids belong to run", "bench list runs"),
        (["{first}", ""], "2 runs begin with", "{second}"),
        (["{first}", "{second}", "--cohort", "brix"], "unknown value of --cohort: 'brix'", "brax"),
        (["{first}", "{second}", "--metric", "accuracy"], "unknown value of --metric: 'accuracy'", "auroc"),
        (["{first}", "{second}", "--calibrator", "platt"], "does not depend", "remove the option"),
    ],
)
def test_a_wrong_comparison_says_what_to_do(
    arguments: list[str], what: str, fix: str, finished: Path, here: Command
) -> None:
    first, second = ids(finished)
    said = here("compare", *(a.format(first=first, second=second) for a in arguments), cwd=finished, code=2).stderr
    assert what in said
    assert fix.format(second=second) in said
    assert "Traceback" not in said
