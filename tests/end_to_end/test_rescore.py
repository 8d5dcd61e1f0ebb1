"""A finished grid scored in another way, from its store alone, as docs/one-run.md shows it."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.planning.manifest import read_manifest
from bench.results.score_runs import rescored
from bench.store.store import Store
from harmonize.errors import ConfigError

pytestmark = pytest.mark.grid
Command = Callable[..., "subprocess.CompletedProcess[str]"]
DOCUMENT = Path(__file__).parents[2] / "docs" / "one-run.md"


def words(line: str) -> list[str]:
    return [part.strip('"') for part in re.findall(r'"[^"]*"|\S+', line)][1:]


def tables(folder: Path, grid: str, name: str) -> pd.DataFrame:
    found = [pd.read_parquet(p) for p in sorted((folder / "runs" / "scores" / grid).glob(f"*/{name}.parquet"))]
    return pd.concat(found, ignore_index=True)


def test_the_examples_of_the_documents_score_again_without_data_and_leave_the_first_scores_alone(
    store_copy: Path, command: Command
) -> None:
    """The commands of the documents on `bench score`."""
    before = {p: p.read_bytes() for p in (store_copy / "runs" / "scores").glob("*/*")}
    for part in ("phantom", "cache"):
        shutil.rmtree(store_copy / "runs" / part)
    section = DOCUMENT.read_text().partition("## Score again in another way\n")[2].partition("\n## ")[0]
    (block,) = re.findall(r"```bash\n(.*?)```", section, re.DOTALL)
    for line in block.splitlines():
        command(*words(line), "--quiet", cwd=store_copy)
    assert {p: p.read_bytes() for p in before} == before
    first, strict, two = (tables(store_copy, grid, "scores") for grid in ("", "as-tiny-strict", "as-tiny-two"))
    assert (set(first["mapping"]), set(strict["mapping"])) == ({"default"}, {"strict"})
    scored = two[two["value"].notna() & ~two["finding"].isin(["macro"])]
    assert set(scored["finding"]) <= {"Pleural Effusion", "Edema"}
    assert (two.loc[two["finding"] == "macro", "num_findings"] <= 2).all()
    page = (store_copy / "runs" / "report" / "tiny-strict" / "leaderboard.html").read_text()
    assert "Scored again from the stored predictions of the grid tiny: label mapping strict, calls at youden" in page
    assert len(pd.read_parquet(store_copy / "runs" / "report" / "tiny-strict" / "tables" / "recipes.parquet")) == 2


def test_only_what_another_mapping_changes_changes(store_copy: Path, command: Command) -> None:
    command("score", "--grid", "tiny", "--as", "again", "--mapping", "strict", "--quiet", cwd=store_copy)
    keys = ["run_id", "dataset", "split", "finding", "metric", "calibrator", "operating_point"]
    first, strict = (tables(store_copy, grid, "scores").set_index(keys)["value"] for grid in ("", "as-again"))
    changed = (first - strict.reindex(first.index)).abs() > 1e-12
    named = changed[changed].index.to_frame()
    named = named[named["finding"] != "macro"]  # may contain findings that are estimated from other hospitals
    assert set(named["dataset"]) <= {"padchest", "vindr", "external"}, (
        "CheXpert, MIMIC, NIH and BRAX have no strict words"
    )
    mapped = tables(store_copy, "", "mappings").set_index(["run_id", "dataset", "mapping", "finding"])["value"]
    for (run, dataset, mapping, finding), value in mapped.items():
        if mapping == "strict" and finding != "macro":
            np.testing.assert_allclose(
                strict[run, dataset, "all" if dataset != "vindr" else "test", finding, "auroc", "none", ""], value
            )


def test_a_wrong_choice_is_refused_before_anything_is_written(finished: Path) -> None:
    store = Store.open(finished / "runs", create=False)
    manifest = read_manifest(store, "tiny")
    for name, change, what in (
        ("tiny", {"mapping": "strict"}, "is the name of a grid"),
        ("demo", {"mapping": "strict"}, "is the name of a grid"),
        ("x", {}, "would equal those of the grid"),
        ("a/b", {"mapping": "strict"}, "invalid name"),
        ("x" * 300, {"mapping": "strict"}, "too long"),
        ("x", {"mapping": "stric"}, "unknown value of --mapping: 'stric'"),
        ("x", {"findings": ("Edma",)}, "unknown value of --findings: 'Edma'"),
        ("x", {"reading": "absent"}, "unknown value of --labels-read: 'absent'"),
        ("x", {"min_count": 0}, "--min-count is 0"),
        ("x", {"threshold": "best"}, "unknown value of --threshold: 'best'"),
    ):
        with pytest.raises(ConfigError, match=what):
            rescored(manifest, name, change, "bench score")
    assert not (finished / "runs" / "grids" / "x.json").exists()


def test_findings_that_name_nothing_are_no_findings(finished: Path, here: Command) -> None:
    asked = ("score", "--grid", "tiny", "--as", "x", "--findings", " ,")
    assert "names no finding" in here(*asked, cwd=finished, code=2).stderr
    assert not (finished / "runs" / "grids" / "x.json").exists()


def test_a_name_stands_for_one_way_of_scoring(finished: Path) -> None:
    manifest = read_manifest(Store.open(finished / "runs", create=False), "tiny")
    try:
        strict = rescored(manifest, "mine", {"mapping": "strict"}, "bench score")
        assert rescored(manifest, "mine", {"mapping": "strict"}, "again").scored_how == "label mapping strict"
        for other in (
            {"mapping": "broad"},
            {"mapping": "strict", "reading": "uncertain-absent"},
            {"mapping": "strict", "min_count": 3},
            {"findings": ("Edema",)},
        ):
            with pytest.raises(
                ConfigError, match="'mine' has other scores already: those of tiny, label mapping strict"
            ):
                rescored(manifest, "mine", other, "bench score")
            with pytest.raises(ConfigError, match="has other scores already"):
                rescored(strict, "mine", other, "bench score")
    finally:
        (finished / "runs" / "grids" / "mine.json").unlink(missing_ok=True)
