"""Each recipe in small, from the command to the page: everything it names works together."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest


@pytest.mark.grid
@pytest.mark.parametrize("recipe", ["main-study", "xand-ray", "chexvision", "chexpert-poc", "chexnet"])
def test_a_recipe_runs_in_small_on_synthetic_images(recipe: str, small: Callable[[str], Path]) -> None:
    """The networks, losses and combinations that only this recipe names, together."""
    report = small(recipe) / "runs" / "report" / f"{recipe}-smoke"
    runs = pd.read_parquet(report / "tables" / "runs.parquet")
    assert set(runs["state"]) == {"done"}
    kinds = runs["kind"].value_counts().to_dict()
    assert set(runs.loc[runs["kind"] != "run" if recipe == "xand-ray" else slice(None), "reason"]) == {""}
    if recipe == "chexvision":
        assert kinds == {"run": 2, "tta": 2, "ensemble": 1}
    if recipe == "xand-ray":
        assert kinds == {"run": 4, "panel": 3}
    page = (report / "leaderboard.html").read_text()
    # synthetic images beside published numbers
    assert "cannot be compared with the synthetic images of this page" in page
    assert "Results as reported by their authors" in page
    scored = pd.read_parquet(report / "tables" / "scores.parquet")
    assert set(scored["run_id"]) == set(runs["run_id"])
