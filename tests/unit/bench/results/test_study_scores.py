"""With the unit study, a study is scored by the highest probability of its images, and patients stay the clusters."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from bench.config.grid import Grid
from bench.config.grid_file import find, load
from bench.config.registry import Registry
from bench.planning.manifest import Manifest, read_manifest
from bench.results.compare_two_runs import contrast
from bench.results.read_predictions import load_scored_splits, load_scores
from bench.results.score_runs import rescored, score_all
from bench.results.summary import summary
from bench.results.write_report import write_report
from bench.scoring.studies import Studies
from bench.store.store import Store
from harmonize.errors import ConfigError
from harmonize.labels.findings import ABSENT, NOT_MENTIONED, PRESENT, UNCERTAIN, UNMAPPED_CODE
from tests.conftest import Command

TABLE = pd.DataFrame(
    {
        "image_id": list("abcde"),
        "patient_id": ["1", "2", "1", "2", "1"],
        "study_id": ["x", "x", "x", "y", "z"],  # "x" of patient 1 is another study than "x" of patient 2
        "view": ["PA", "AP", "AP", "AP", "PA"],
        "device": ["A", "A", "A", None, "B"],
        "sex": ["F", "M", "F", "M", "F"],
    }
)


def test_the_state_of_a_study_is_present_if_an_image_has_the_finding() -> None:
    states = [PRESENT, UNCERTAIN, ABSENT, NOT_MENTIONED, UNMAPPED_CODE]
    for k, stronger in enumerate(states):
        for weaker in states[k:]:
            of_images = np.array([[weaker], [ABSENT], [stronger], [PRESENT], [UNMAPPED_CODE]], np.int8)
            expected = [[stronger], [ABSENT], [PRESENT], [UNMAPPED_CODE]]
            assert Studies.of(TABLE).states(of_images).tolist() == expected


def test_a_study_has_the_attributes_that_all_its_images_share() -> None:
    studies = Studies.of(TABLE)
    assert studies.order.tolist() == [0, 2, 1, 3, 4]
    rows = studies.attributes(TABLE)
    assert rows["image_id"].tolist() == ["a", "b", "d", "e"]
    assert rows["view"].tolist() == ["", "AP", "AP", "PA"]
    assert rows["device"].fillna("").tolist() == ["A", "A", "", "B"]
    assert rows["sex"].tolist() == ["F", "M", "M", "F"]


@pytest.mark.grid
def test_scores_of_studies_are_those_of_the_highest_probability(
    store_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(store_copy / "runs")
    first = read_manifest(store, "tiny")
    table = Manifest.table
    # one study of each patient: synthetic studies have one frontal image
    monkeypatch.setattr(Manifest, "table", lambda grid, cohort: table(grid, cohort).assign(study_id="only"))
    manifest = rescored(first, "tiny-study", {"unit": "study"}, "bench")
    assert json.loads((store.root / "grids" / "tiny-study.json").read_text())["settings"]["unit"] == "study"
    assert score_all(manifest, lambda *_: None, processes=1)
    run = manifest.ranked[0]
    scores = load_scores(manifest, [run.id], "scores").query("metric == 'auroc' and subgroup == 'all'")
    compared = 0
    for split in load_scored_splits(first, run, run.config, {}):
        for k, finding in enumerate(run.config.findings):
            images = pd.DataFrame(
                {"patient": split.patient_id, "logit": split.logit[:, k], "label": split.labels()[:, k]}
            )
            studies = images.groupby("patient").max()
            # a study with an uncertain image and no present one is not scored
            mixed = images[images["label"] < 0]["patient"].unique()
            studies = studies.drop(index=[p for p in mixed if studies.loc[p, "label"] < 1])
            row = scores[
                (scores["dataset"] == split.dataset) & (scores["split"] == split.split) & (scores["finding"] == finding)
            ]
            if len(row) and np.isfinite(row["value"].item()):
                assert row["value"].item() == pytest.approx(roc_auc_score(studies["label"], studies["logit"]), abs=1e-9)
                assert row["n"].item() == row["num_patients"].item() == len(studies)
                compared += 1
    assert compared > 10
    assert "scores of images at chexpert" not in "\n".join(summary(manifest))  # it has patients with several images
    page = write_report(manifest, None, lambda *_: None).page.read_text()
    assert "scores of studies" in page
    assert "the probability of a study is the highest of its images" in page
    monkeypatch.setattr("bench.results.compare_two_runs.read_manifest", lambda _store, name: of_unit(first, name))
    with pytest.raises(ConfigError, match="scored by study, the second by image") as refused:
        contrast(store, first.runs[0].id, first.runs[1].id, "auroc", grid=None)
    assert "same `unit`" in refused.value.fix


def of_unit(manifest: Manifest, name: str) -> Manifest:
    """Return the grid with one of its two runs; the grid tiny-study is scored by study."""
    if name == "tiny-study":
        settings = replace(manifest.settings, unit="study")
        return replace(manifest, runs=manifest.runs[:1], derived=(), settings=settings, scored_from="")
    return replace(manifest, runs=manifest.runs[1:], derived=())


@pytest.mark.grid
def test_one_image_per_study_has_the_scores_of_images(store_copy: Path) -> None:
    store = Store.open(store_copy / "runs")
    first = read_manifest(store, "tiny")
    manifest = rescored(first, "tiny-study", {"unit": "study"}, "bench")
    score_all(manifest, lambda *_: None, processes=1)
    ids = [run.id for run in manifest.ranked]
    for name in ("scores", "gaps", "subgroups"):
        pd.testing.assert_frame_equal(load_scores(manifest, ids, name), load_scores(first, ids, name))


@pytest.mark.grid
def test_wrong_units_and_bundles_of_studies_are_refused(store_copy: Path, command: Command) -> None:
    refused = command("score", "--grid", "tiny", "--as", "x", "--unit", "visit", cwd=store_copy, code=2).stderr
    assert "unknown value of --unit: 'visit'" in refused
    words = ("score", "--grid", "tiny", "--as", "by-study", "--unit", "study", "--quiet")
    assert "scores of images at chexpert, " in command(*words, cwd=store_copy).stdout
    refused = command("export", "--grid", "by-study", "-o", "x.zip", cwd=store_copy, code=2).stderr
    assert "a bundle cannot hold scores of studies" in refused
    assert "--unit image" in refused


def test_the_unit_of_a_grid_changes_no_run_id() -> None:
    registry = Registry.read()
    path = find("tiny")
    raw = load(path)
    by_image, by_study = (Grid.of(raw | more, path, registry) for more in ({}, {"unit": "study"}))
    assert (by_image.settings.unit, by_study.settings.unit) == ("image", "study")
    assert by_image.configs == by_study.configs
    with pytest.raises(ConfigError, match="unit must be one of image, study, not 'patient'"):
        Grid.of(raw | {"unit": "patient"}, path, registry)
