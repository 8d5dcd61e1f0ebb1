"""What `bench compare` says about the net benefit of two runs."""

from pathlib import Path

import pandas as pd
import pytest

from bench.extensions.decisions.notes import of_comparison
from bench.planning.manifest import read_manifest
from bench.results.compare_two_runs import GridRun
from bench.scoring.metrics_of_split import AUROC, Key
from bench.store.checked_folders import ScoresFolder
from bench.store.store import Store
from reports.formatting import number

pytestmark = pytest.mark.grid


def test_the_differences_are_those_of_the_table(finished: Path) -> None:
    manifest = read_manifest(Store.open(finished / "runs"), "tiny")
    runs = [GridRun(manifest, run) for run in manifest.runs]
    tables = [ScoresFolder(manifest.scores / run.run.id).table("net_benefit") for run in runs]
    first, second = (
        t[(t["finding"] == "macro") & (t["metric"] == "net_benefit")].set_index("dataset")["value"].dropna()
        for t in tables
    )
    shared = [name for name in first.index if name in second.index]
    assert "external" in shared
    [sentence] = of_comparison(runs, AUROC, pd.DataFrame({"dataset": [*shared, "other"]}))
    assert sentence.count("[") == len(shared)
    for name in shared:
        assert f" {number(first[name] - second[name], '+.4f')} [" in sentence
    assert of_comparison(runs, Key("ece"), pd.DataFrame({"dataset": shared})) == ()
