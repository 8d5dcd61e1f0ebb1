"""`bench compare --metric ece` states the direction of miscalibration."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from bench.store.store import Store

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.mark.grid
def test_slope_intercept_and_observed_over_expected_of_both_runs_are_medians_at_external_hospitals(
    finished: Path, here: Command
) -> None:
    store = Store.open(finished / "runs", create=False)
    first, second = store.run_ids()[:2]
    said = " ".join(here("compare", first, second, "--metric", "ece", cwd=finished).stdout.split())
    found = re.findall(r"slope (-?\d+\.\d+), intercept ([+-]\d+\.\d+), O:E (\d+\.\d+)", said)
    assert len(found) == 2
    for run_id, numbers in zip((first, second), found, strict=True):
        table = pd.read_parquet(store.root / "scores" / run_id / "calibration.parquet")
        rows = table.query("calibrator == 'platt' and dataset != 'chexpert'")
        medians = rows[["slope", "intercept", "observed_expected"]].median()
        assert [float(number) for number in numbers] == pytest.approx(medians.tolist(), abs=0.0051)
    assert "has no direction" not in here("compare", first, second, cwd=finished).stdout
