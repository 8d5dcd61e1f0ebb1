"""The paired difference of TTA and ensembles from the runs that they combine."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.results import derived_differences as table
from bench.scoring.across_runs.covariances import StoredEstimates
from bench.scoring.influence import Estimate, Influence


def test_without_external_hospitals_the_intervals_are_those_of_the_test_split(monkeypatch: pytest.MonkeyPatch) -> None:
    rng, values = np.random.default_rng(0), {"e": 0.84, "a": 0.8, "b": 0.81}
    of_runs = {
        run: {"auroc/nih": Estimate(value, Influence({"nih/test": rng.normal(size=200) / 2000}))}
        for run, value in values.items()
    }
    monkeypatch.setattr(table, "load_estimates", lambda *_: StoredEstimates.of(of_runs))
    row = {"dataset": "nih", "metric": "auroc", "finding": "macro", "calibrator": "none", "subgroup": "all"}
    of_test, of_val = (
        pd.DataFrame(
            {**row, "split": split, "run_id": run, "value": value, "low": value - width, "high": value + width}
            for run, value in values.items()
        )
        for split, width in (("test", 0.02), ("val", 0.1))
    )
    manifest: Any = SimpleNamespace(derived=[SimpleNamespace(id="e", kind="ensemble", of=("a", "b"))], source="nih")
    (expected,) = table.derived_differences(manifest, of_test).to_numpy().tolist()
    assert expected[:2] == ["e", pytest.approx(0.035)]
    (found,) = table.derived_differences(manifest, pd.concat([of_val, of_test])).to_numpy().tolist()
    assert found == expected
