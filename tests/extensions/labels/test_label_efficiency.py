"""The section on label efficiency: rows of each encoder by number of labels."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import synthetic
from bs4 import BeautifulSoup, Tag

from bench.config.run_config import RunConfig
from bench.extensions.labels.efficiency_section import label_efficiency
from bench.extensions.labels.label_efficiency import efficiency_table
from bench.extensions.labels.schemas import SCHEMAS
from bench.results.cross_run_tables import ScoredRuns
from bench.scoring.across_runs.covariances import StoredEstimates
from bench.scoring.across_runs.recipes import Recipes
from bench.store.store import Store
from reports.page import render
from reports.report_data.report_data import read
from reports.tables import Tables
from tests.manifests import invented_manifest, invented_run

STUDY = synthetic.tables(synthetic.Invented(runs=20))
RUNS = synthetic.ranked_ids(STUDY)
Row = tuple[str, str, int, float]


def section(rows: list[Row]) -> Tag | None:
    table = pd.DataFrame(rows, columns=list(SCHEMAS["label_efficiency"]))
    written = label_efficiency(read(Tables(STUDY.meta, {**STUDY.frames, "label_efficiency": table})))
    found = BeautifulSoup(f"<section>{written.html}</section>", "html.parser").section
    return found if written.html else None


def on_page(num_points: int) -> bool:
    """Return whether the page of four runs has the section, if so many runs are points of a line."""
    few = synthetic.tables(synthetic.Invented(runs=4))
    rows = [(run, "Encoder", 10 * k, 20.0 + k) for k, run in enumerate(synthetic.ranked_ids(few)[:num_points])]
    table = pd.DataFrame(rows, columns=list(SCHEMAS["label_efficiency"]))
    return 'id="labels"' in render(Tables(few.meta, {**few.frames, "label_efficiency": table}))


def lines(number: int) -> list[Row]:
    """Return lines with two points each: 20 labels, and 300 labels (all)."""
    rows = []
    for k in range(number):
        rows += [(RUNS[2 * k], f"Encoder {k}", 0, 300.0), (RUNS[2 * k + 1], f"Encoder {k}", 10, 19.5)]
    return rows


def test_each_encoder_has_rows_from_few_to_many_labels() -> None:
    found = section(lines(2))
    assert found is not None
    table = found.find("table")
    assert table is not None
    body = [[cell.get_text(" ") for cell in row.find_all(["th", "td"])] for row in table.find_all("tr")[1:]]
    assert [row[:4] for row in body] == [
        [f"Encoder {k}", shots, labels, "1"] for k in (0, 1) for shots, labels in (("10", "20"), ("all", "300"))
    ]
    scores = STUDY["scores"]
    of_run = scores[(scores["run_id"] == RUNS[1]) & (scores["finding"] == "macro") & (scores["metric"] == "auroc")]
    external = float(of_run.loc[of_run["dataset"] == "external", "value"].iloc[0])
    assert body[0][5].startswith(f"{external:.3f}".removeprefix("0"))


@pytest.mark.slow
def test_a_grid_without_label_efficiency_has_no_section_and_a_line_needs_two_points() -> None:
    assert section([]) is None
    assert not on_page(0)
    assert on_page(2)
    assert section([(RUNS[0], "Encoder", 0, 300.0)]) is None
    assert section([(RUNS[0], "Encoder", 0, 300.0), ("absent", "Encoder", 10, 20.0)]) is None
    assert section([(RUNS[0], "Encoder", 0, 300.0), (RUNS[1], "Encoder", 10, float("nan"))]) is None


def test_names_are_escaped() -> None:
    found = section(
        [(run, line.replace("Encoder 0", "<b>E</b>"), shots, labels) for run, line, shots, labels in lines(1)]
    )
    assert found is not None
    assert found.find("b") is None
    assert "<b>E</b>" in found.get_text()


BASE = RunConfig("net", "adamw", "bce", "u_ignore", "imagenet_64", head="probe")


def stored(configs: Mapping[str, RunConfig], labels: Mapping[str, Any], folder: Path) -> pd.DataFrame:
    """Return the table of runs with these configurations and numbers of labels."""
    runs = tuple(
        invented_run(run, config=config, titles={"architecture": config.architecture.upper()})
        for run, config in configs.items()
    )
    manifest = invented_manifest(Store.open(folder), runs=runs)
    estimates = StoredEstimates.of({run: {} for run in configs})
    recipes = Recipes.of_configs({run: asdict(config) for run, config in configs.items()}, estimates.values)
    for run in configs:
        path = manifest.store.run_dir(run) / "trained.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(labels.get(run, {})))
    runs_of_grid = ScoredRuns(manifest, {}, list(configs), [], recipes, recipes.covariances(estimates))
    return efficiency_table(runs_of_grid)


def test_the_points_of_a_line_differ_only_in_shots_and_average_labels_over_findings_and_seeds(tmp_path: Path) -> None:
    configs = {
        "a0": replace(BASE, shots=10),
        "a1": replace(BASE, shots=10, seed=1),
        "b0": BASE,
        "c0": replace(BASE, preprocessing="imagenet_224", shots=10),
        "d0": replace(BASE, preprocessing="imagenet_224"),
        "e0": replace(BASE, architecture="other", shots=10),  # no second point
        "f0": replace(BASE, head="own"),
    }
    labels = {
        "a0": {"probe": {"labels": [20, 20, 0]}},
        "a1": {"probe": {"labels": [20, 16, 0]}},
        "b0": {"probe": {"labels": [300, 100, 0]}},
        "c0": {"probe": {"labels": ["20", None]}},
    }
    table = stored(configs, labels, tmp_path).set_index("run_id")
    (recipe,) = [run for run in table.index if run.startswith("a0")]
    assert table.loc[recipe, "labels"] == 19
    assert table.loc[recipe, "shots"] == 10
    by_start = {run[:2]: row for run, row in table.iterrows()}
    assert sorted(by_start) == ["a0", "b0", "c0", "d0"]
    assert by_start["b0"]["labels"] == 200
    assert by_start["a0"]["line"] == by_start["b0"]["line"] == "NET · imagenet_64"
    assert by_start["c0"]["line"] == by_start["d0"]["line"] == "NET · imagenet_224"
    assert np.isnan(by_start["c0"]["labels"])  # damaged facts are no numbers
    assert re.fullmatch(r"NET · .*", by_start["d0"]["line"])


@pytest.mark.parametrize("shots", [[0, 0], [5]])
def test_without_different_shots_there_is_no_line(tmp_path: Path, shots: list[int]) -> None:
    configs = {f"{k}0": replace(BASE, shots=number, seed=k) for k, number in enumerate(shots)}
    assert stored(configs, {}, tmp_path).empty
