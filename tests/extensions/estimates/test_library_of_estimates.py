"""`api.estimate`: wrong arguments are named before any work."""

from pathlib import Path

import pandas as pd
import pytest

from bench import api
from harmonize.errors import ConfigError

pytestmark = pytest.mark.grid


def test_wrong_arguments_are_named_before_any_work(finished: Path) -> None:
    grid, absent = api.open_grid(finished / "runs", "tiny"), finished / "absent.png"
    image = min((finished / "runs" / "phantom").glob("*/*/**/*.png"))
    run_id = grid.runs[0].id
    for call, what in (
        (lambda: api.estimate(grid, logits={run_id: pd.DataFrame(), run_id[:5]: pd.DataFrame()}), "the same run"),
        (lambda: api.estimate(grid, [image], logits={run_id: pd.DataFrame()}), "give only one of images and logits"),
        (lambda: api.estimate(grid, labels="labels.csv"), "labels need images or logits"),
        (lambda: api.estimate(grid, logits={"zzz": pd.DataFrame()}), "zzz"),
        (
            lambda: api.estimate(grid, logits={"zzz": pd.DataFrame()}, runs=["zzz"]),
            "give only one of images and logits",
        ),
        (lambda: api.estimate(grid, [absent], estimator="none"), "unknown estimator 'none'"),
    ):
        with pytest.raises(ConfigError, match=what):
            call()


def test_without_images_there_are_only_predictions(finished: Path) -> None:
    grid = api.open_grid(finished / "runs", "tiny")
    table = api.estimate(grid, runs=[grid.runs[0].id]).table
    assert set(table["run_id"]) == {grid.runs[0].id}
    assert table["value"].isna().all()
    macro = table[(table["finding"] == "macro") & (table["quantity"] == "auroc")].iloc[0]
    assert 0 < macro["predicted_low"] < macro["predicted"] < macro["predicted_high"] < 1


def test_scores_of_another_grid_do_not_change_an_estimate(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(finished)
    grid = api.open_grid("runs", "tiny")
    monkeypatch.chdir(tmp_path)  # a relative store is where it was
    run_id = api.finished(grid)[0]
    data = next((finished / "runs" / "phantom").iterdir())
    table = api.predict(api.load_run(finished / "runs", run_id), [*(data / "nih").glob("images_*")]).table
    wide = table.pivot(index="image", columns="finding", values="logit").rename_axis("image_id").reset_index()
    found = api.estimate(grid, logits={run_id[:6]: wide})
    assert found.run_ids == (run_id,)
    assert len(found.learned_from) == 5
