"""What a model had seen: its cell is not ranked, and the score without the listed images stands beside."""

import hashlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.metrics import roc_auc_score

from bench.cli.progress_bars import QuietDisplay
from bench.extensions.imported.evaluation import ModelEvaluation, evaluate
from bench.extensions.imported.request import EvaluationRequest
from bench.planning.manifest import read_manifest
from bench.results.cohort_tables import ExposureTable
from bench.results.read_predictions import load_scores
from bench.results.summary import summary
from bench.store.store import Store
from harmonize.errors import ConfigError, StoreError
from harmonize.labels.findings import space
from tests.conftest import Command

pytestmark = pytest.mark.grid
FINDINGS = list(space("shared-9"))


def perfect_on(manifest: Any, cohort: str, images: set[str]) -> dict[str, pd.DataFrame]:
    """Predictions of a model that is right on some images of a cohort, and guesses elsewhere."""
    tables = {}
    for entry in manifest.cohorts:
        table, draw = manifest.table(entry), np.random.default_rng(5)
        value_NK = draw.random((len(table), len(FINDINGS)))
        known = table["image_id"].isin(images).to_numpy() & (entry.name == cohort)
        value_NK[known] = (table[FINDINGS].fillna(0).to_numpy() == 1)[known]
        tables[entry.name] = pd.DataFrame(value_NK, columns=FINDINGS).assign(image_id=table["image_id"])
    return tables


def ask(folder: Path, seen: Any, tables: dict[str, pd.DataFrame] | None = None) -> ModelEvaluation:
    for name, table in (tables or {}).items():
        (folder / "p").mkdir(exist_ok=True)
        table.to_csv(folder / "p" / f"{name}.csv", index=False)
    content = {"name": "Saw some", "model": {"predictions": "p"}, "outputs": {"kind": "probability"}}
    (folder / "model.yaml").write_text(yaml.safe_dump({**content, "trained_on": {"seen": seen}}))
    request = EvaluationRequest.read(folder / "model.yaml", "tiny", None, None)
    return evaluate(request, Store.open(folder / "runs"), None, "cpu", 1, QuietDisplay())


@pytest.fixture(scope="module")
def asked(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, ModelEvaluation, set[str]]]:
    """The finished grid with a model that had seen 20 images of NIH, with their ids in a list."""
    folder = tmp_path_factory.mktemp("seen")
    shutil.copytree(finished, folder, symlinks=True, dirs_exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        manifest = read_manifest(Store.open(folder / "runs"), "tiny")
        nih = next(cohort for cohort in manifest.cohorts if cohort.name == "nih")
        listed = set(manifest.table(nih)["image_id"].astype(str)[:20])
        pd.DataFrame({"image_id": [f"train/{name}" for name in sorted(listed)]}).to_csv(folder / "ids.csv", index=False)
        seen = {"nih": {"answer": "images", "images": "ids.csv"}, "vindr": "unknown", "others": "no"}
        yield folder, ask(folder, seen, perfect_on(manifest, "nih", listed)), listed


def exposure(found: ModelEvaluation) -> pd.DataFrame:
    table = pd.read_parquet(found.report.page.parent / "tables" / "exposure.parquet")
    return table[table["run_id"] == found.run.id].set_index("dataset")


def test_only_cells_with_the_answer_no_are_ranked(asked: tuple[Path, ModelEvaluation, set[str]]) -> None:
    _, found, _ = asked
    table = exposure(found)
    assert table["answer"].to_dict() == {
        "mimic": "no",
        "nih": "images",
        "padchest": "no",
        "vindr": "unknown",
        "brax": "no",
    }
    assert ((table["rank"] > 0) == (table["answer"] == "no")).all()
    assert found.manifest.exposed(found.run) == ["nih", "vindr"]
    others = pd.read_parquet(found.report.page.parent / "tables" / "exposure.parquet")
    at_nih = others[(others["dataset"] == "nih") & (others["run_id"] != found.run.id)]
    assert sorted(at_nih["rank"]) == list(range(1, len(at_nih) + 1))


def test_the_clean_score_is_that_of_the_other_images(asked: tuple[Path, ModelEvaluation, set[str]]) -> None:
    _, found, listed = asked
    row = exposure(found).loc["nih"]
    nih = next(cohort for cohort in found.manifest.cohorts if cohort.name == "nih")
    table = found.manifest.table(nih)
    logits = pd.read_parquet(found.manifest.store.run_dir(found.run.id) / "predictions" / "nih.parquet")
    both = table[["image_id", *FINDINGS]].merge(logits, on="image_id", suffixes=("", " logit"))
    clean = both[~both["image_id"].isin(listed)]
    scores = load_scores(found.manifest, [found.run.id], "scores")
    own = scores[(scores["dataset"] == "nih") & (scores["metric"] == "auroc") & (scores["subgroup"] == "all")]
    scored = [name for name in own[np.isfinite(own["value"])]["finding"].unique() if name in FINDINGS]
    areas = []
    for name in scored:
        label = clean[name].astype("Float64")
        kept = label.isin([0, 1, -2])
        positive = (label[kept] == 1).to_numpy(bool)
        if min(positive.sum(), (~positive).sum()) >= found.manifest.settings.min_count:
            areas.append(roc_auc_score(positive, clean.loc[kept, f"{name} logit"]))
    assert (row["listed"], row["clean_n"]) == (20, len(clean))
    assert row["clean_value"] == pytest.approx(np.mean(areas), abs=1e-9)
    assert row["clean_value"] < row["value"]


def test_the_page_and_the_command_line_state_it(asked: tuple[Path, ModelEvaluation, set[str]]) -> None:
    _, found, _ = asked
    page = re.sub(r"\s+", " ", found.report.page.read_text())
    assert "What each model had seen of each external hospital before the test" in page
    assert "without listed images" in page
    assert "rank 1 of" in page
    assert "may have seen" in page


def test_a_changed_list_in_the_store_is_refused(asked: tuple[Path, ModelEvaluation, set[str]], tmp_path: Path) -> None:
    folder, found, _ = asked
    shutil.copytree(folder / "runs", tmp_path / "runs", symlinks=True)
    (path,) = (tmp_path / "runs" / "seen").iterdir()
    path.write_text("image_id\nother\n")
    manifest = read_manifest(Store.open(tmp_path / "runs"), "tiny")
    scores = load_scores(manifest, [found.run.id], "scores")
    with pytest.raises(StoreError, match="differs from its hash"):
        ExposureTable.of(manifest, {"scores": scores})


def test_a_bundle_keeps_the_answers_but_has_no_list(
    asked: tuple[Path, ModelEvaluation, set[str]], here: Command, tmp_path: Path
) -> None:
    pytest.importorskip("bench.extensions.bundles")
    folder, found, _ = asked
    here("export", found.run.id, "-o", str(tmp_path / "a.zip"), "--store", "runs", "--quiet", cwd=folder)
    here("merge", str(tmp_path / "a.zip"), "--store", str(tmp_path / "m"), "--quiet", cwd=folder)
    merged = read_manifest(Store.open(tmp_path / "m"), None)
    assert [merged.exposed(run) for run in merged.imported] == [["nih", "vindr"]]
    assert "nothing is ranked" in summary(merged)[0]
    scores = load_scores(merged, [found.run.id], "scores")
    assert ExposureTable.of(merged, {"scores": scores})["clean_value"].isna().all()


def test_files_can_be_named_by_their_hash(
    asked: tuple[Path, ModelEvaluation, set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, first, listed = asked
    monkeypatch.chdir(folder)
    nih = next(cohort for cohort in first.manifest.cohorts if cohort.name == "nih")
    table = first.manifest.table(nih)
    (root,) = (folder / "runs" / "phantom").glob("*/nih")
    paths = table.loc[table["image_id"].isin(listed), "path"]
    hashes = [hashlib.sha256((root / path).read_bytes()).hexdigest().upper() for path in paths]
    pd.DataFrame({"sha256": hashes}).to_csv(folder / "hashes.csv", index=False)
    found = ask(folder, {"nih": {"answer": "labels", "images": "hashes.csv"}, "others": "no"})
    assert exposure(found).loc["nih", "listed"] == len(set(hashes))
    assert exposure(found).loc["nih", "answer"] == "labels"


def test_a_list_of_other_ids_is_refused(
    asked: tuple[Path, ModelEvaluation, set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _, _ = asked
    monkeypatch.chdir(folder)
    pd.DataFrame({"image_id": ["abc", "def"]}).to_csv(folder / "wrong.csv", index=False)
    with pytest.raises(ConfigError, match="none of the 2 entries is an image of nih"):
        ask(folder, {"nih": {"answer": "images", "images": "wrong.csv"}})


def test_unknown_hospitals_in_seen_are_refused(
    asked: tuple[Path, ModelEvaluation, set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _, _ = asked
    monkeypatch.chdir(folder)
    with pytest.raises(ConfigError, match="no cohort 'nhi'"):
        ask(folder, {"nhi": "images"})
