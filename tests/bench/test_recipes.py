"""Each recipe in small, from the command to the page: everything it names works together."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

Command = Callable[..., Any]


@pytest.mark.grid
@pytest.mark.parametrize("recipe", ["main-study", "xand-ray", "chexvision", "chexpert-poc", "chexnet"])
def test_a_recipe_runs_in_small_on_synthetic_images(recipe: str, tmp_path: Path, command: Command) -> None:
    name = f"{recipe}-smoke"
    command("run", "--grid", name, "--quiet", cwd=tmp_path)
    report = tmp_path / "runs" / "report" / name
    runs = pd.read_parquet(report / "tables" / "runs.parquet")
    assert set(runs["state"]) == {"done"}
    assert set(runs["reason"]) == {""}
    kinds = runs["kind"].value_counts().to_dict()
    if recipe == "chexvision":
        assert kinds == {"run": 2, "tta": 2, "ensemble": 1}
    page = (report / "leaderboard.html").read_text()
    assert "On synthetic images" in page or "synthetic" in page
    assert "Published, not re-run" in page
    scored = pd.read_parquet(report / "tables" / "scores.parquet")
    assert set(scored["run_id"]) == set(runs["run_id"])
