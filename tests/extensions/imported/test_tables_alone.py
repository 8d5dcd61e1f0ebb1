"""`bench evaluate` of predictions where only tables are at hand: no image files, and no predictions on the internal cohort."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from bench import api
from bench.cli.progress_bars import QuietDisplay
from bench.extensions.imported.evaluation import ModelEvaluation, evaluate
from bench.extensions.imported.request import EvaluationRequest
from bench.results.read_predictions import load_scores
from bench.store.store import Store
from harmonize.errors import CxrError, DatasetError
from tests.conftest import Command
from tests.unit.bench.results.test_compare_across import GRID, MAPPING, write_data, write_hospital

HOSPITALS = ("east", "west", "north")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with tables of three hospitals, a grid and a model.yaml, without any image file."""
    for seed, name in enumerate(HOSPITALS):
        write_hospital(tmp_path / name, seed)
        for image in (tmp_path / name).glob("*.png"):
            image.unlink()
    (tmp_path / "mapping.yaml").write_text(MAPPING)
    write_data(tmp_path / "data.yaml")
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump({**GRID, "name": "review"}))
    model = {
        "name": "Theirs",
        "model": {"predictions": "p"},
        "outputs": {"kind": "logit"},
        "trained_on": {"cohorts": []},
    }
    (tmp_path / "model.yaml").write_text(yaml.safe_dump(model))
    (tmp_path / "p").mkdir()
    for name in HOSPITALS:
        table, draw = pd.read_csv(tmp_path / name / "table.csv"), np.random.default_rng(1)
        frame = pd.DataFrame({"image_id": table["file"]})
        for finding, column in (("Edema", "edema"), ("Cardiomegaly", "cardiomegaly")):
            frame[finding] = 2 * table[column] - 1 + draw.normal(size=len(table))
        frame.to_csv(tmp_path / "p" / f"{name}.csv", index=False)
    return tmp_path


def evaluated(folder: Path) -> ModelEvaluation:
    grid, data = str(folder / "grid.yaml"), folder / "data.yaml"
    store = Store.open(folder / "runs")
    request = EvaluationRequest.read(folder / "model.yaml", grid, None, data)
    return evaluate(request, store, data, "cpu", 1, QuietDisplay())


def macros(result: ModelEvaluation) -> dict[str, float]:
    scores = load_scores(result.manifest, [result.run.id], "scores")
    chosen = scores.query("finding == 'macro' and metric == 'auroc' and calibrator == 'none'")
    return {f"{row['dataset']}/{row['split']}": row["value"] for row in chosen.to_dict("records")}


def test_predictions_need_no_images_and_the_internal_cohort_is_optional(folder: Path, here: Command) -> None:
    complete = macros(evaluated(folder))
    assert {"east/val", "east/test", "west/all", "north/all"} <= set(complete)
    (folder / "p" / "east.csv").unlink()
    result = evaluated(folder)
    external = macros(result)
    assert not [name for name in external if name.startswith("east")]
    assert {name: external[name] for name in ("west/all", "north/all")} == pytest.approx(
        {name: complete[name] for name in ("west/all", "north/all")}
    )
    assert any("no predictions on the internal hospital east" in remark for remark in result.remarks)
    assert load_scores(result.manifest, [result.run.id], "gaps").empty
    assert "Theirs" in result.report.page.read_text()
    here("check", "--store", "runs", "--quick", cwd=folder)


def test_predictions_for_one_hospital_give_a_row_and_a_rank_there_and_no_mean(folder: Path, here: Command) -> None:
    table = pd.read_csv(folder / "west" / "table.csv")  # so the means are over the finding that both hospitals score
    table.assign(cardiomegaly="").to_csv(folder / "west" / "table.csv", index=False)
    complete = macros(evaluated(folder))
    (folder / "p" / "west.csv").unlink()
    result = evaluated(folder)
    assert {name: value for name, value in macros(result).items() if value == value} == {
        name: value for name, value in complete.items() if not name.startswith(("west", "external"))
    }
    assert any("no predictions on west" in remark for remark in result.remarks)
    stated = {"date": "2026-11-30", "paper": "doi:10.1/x", "code": "https://example.org", "contact": "a@example.org"}
    model = yaml.safe_load((folder / "model.yaml").read_text()) | {"name": "Partner", "stated": stated}
    (folder / "model.yaml").write_text(yaml.safe_dump(model))
    words = (
        "evaluate",
        "--model",
        "model.yaml",
        "--grid",
        "grid.yaml",
        "--data",
        "data.yaml",
        "--store",
        "runs",
        "--json",
    )
    said = json.loads(here(*words, cwd=folder).stdout)
    ranks = {row["dataset"]: (row["rank"], row["num_ranked"]) for row in said["rows"] if row["value"] is not None}
    assert ranks["north"] == (1, 2)
    runs = pd.read_parquet(folder / "runs" / "report" / "review" / "tables" / "runs.parquet").set_index("name")
    assert "stated: date 2026-11-30, stated: paper doi:10.1/x" in runs.loc["Partner", "what"]
    assert (
        "stated: contact a@example.org"
        in Path(said["page"] if Path(said["page"]).is_absolute() else folder / said["page"]).read_text()
    )
    (folder / "p" / "north.csv").unlink()
    with pytest.raises(DatasetError, match="no predictions on an external hospital"):
        evaluated(folder)


def test_a_partner_with_one_hospital_is_ranked_there_among_the_runs(store_copy: Path, here: Command) -> None:
    grid = api.open_grid(store_copy / "runs", "tiny")
    logits = api.load_logits(grid, api.finished(grid)[0])
    (nih,) = (scored for scored in logits.scored_splits if scored.dataset == "nih")
    (store_copy / "p").mkdir()
    pd.DataFrame(nih.logit, nih.image_id, logits.findings).to_csv(store_copy / "p" / "nih.csv", index_label="image_id")
    model = {
        "name": "Partner",
        "model": {"predictions": "p"},
        "outputs": {"kind": "logit"},
        "trained_on": {"cohorts": []},
    }
    (store_copy / "model.yaml").write_text(yaml.safe_dump(model))
    said = json.loads(here("evaluate", "--model", "model.yaml", "--grid", "tiny", "--json", cwd=store_copy).stdout)
    (run,) = (row for row in said["rows"] if row["dataset"] == "nih")
    assert run["num_ranked"] == 2  # although its macro is over more findings


def test_a_network_needs_images(folder: Path) -> None:
    model = yaml.safe_load((folder / "model.yaml").read_text())
    model |= {
        "model": {"function": "tests.networks:Flat"},
        "preprocessing": {"size": 32, "channels": 1, "range": [-1024, 1024]},
    }
    model["outputs"]["names"] = ["Edema", "Atelectasis", "Pneumonia"]
    (folder / "model.yaml").write_text(yaml.safe_dump(model))
    with pytest.raises(CxrError, match="the cohort has no images"):
        evaluated(folder)


def test_cohorts_with_some_images_keep_these_images(folder: Path) -> None:
    (folder / "west" / "west0.png").touch()
    result = evaluated(folder)
    cohort = next(c for c in result.manifest.cohorts if c.name == "west")
    assert cohort.flow["kept"] == 1
