"""Runs that had seen a hospital: what they scored there says nothing about a new hospital, and they are not ranked."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.extensions.estimates.expected_at_hospital import expected_scores, runs_to_estimate
from bench.planning.manifest import Manifest, read_manifest
from bench.results.summary import summary
from bench.store.store import Store
from harmonize.errors import ConfigError, StoreError

pytestmark = pytest.mark.grid
EXTERNAL = ("mimic", "nih", "padchest", "vindr", "brax")


def exposed(finished: Path, *answers: Mapping[str, str]) -> Manifest:
    """Return the finished grid; `answers` has what each run had seen, {} for nothing."""
    manifest = read_manifest(Store.open(finished / "runs"), "tiny")
    runs = tuple(
        replace(run, exposure={name: {"answer": own} for name, own in seen.items()})
        for run, seen in zip(manifest.runs, answers, strict=True)
    )
    return replace(manifest, runs=runs)


def logits(manifest: Manifest) -> dict[str, pd.DataFrame]:
    """Return the logits of a new hospital: those of MIMIC, mixed with noise."""
    out = {}
    for run in manifest.runs:
        table = pd.read_parquet(manifest.store.run_dir(run.id) / "predictions" / "mimic.parquet")
        findings = list(run.config.findings)
        noise = np.random.default_rng(0).normal(size=(len(table), len(findings)))
        changed = table[findings] + 1.5 * table[findings].std().to_numpy() * noise
        out[run.id] = changed.astype(np.float32).assign(image_id=[f"new{i}" for i in range(len(table))])
    return out


def test_scores_at_a_seen_hospital_are_not_used_to_estimate(finished: Path) -> None:
    clean, one = exposed(finished, {}, {}), exposed(finished, {"nih": "labels"}, {"vindr": "unknown"})
    given = logits(clean)
    assert len(expected_scores(clean, given).learned_from) == 5
    found = expected_scores(one, given)
    assert list(found.learned_from) == [clean.titles[name] for name in ("mimic", "padchest", "brax")]
    first, second = given
    assert f"Not used: scores at {clean.titles['nih']}, which run {first} had seen, or may have seen." in found.notes
    assert f"Not used: scores at {clean.titles['vindr']}, which run {second} had seen, or may have seen." in found.notes
    few = expected_scores(exposed(finished, dict.fromkeys(EXTERNAL[:3], "labels"), {}), given)
    assert (few.table["reason"] != "").all()
    assert few.table["reason"].str.contains("2 of 3 labeled hospitals needed").any()
    assert (expected_scores(exposed(finished, dict.fromkeys(EXTERNAL, "text"), {}), given).table["reason"] != "").all()


def test_without_a_ranked_run_the_reason_is_exposure(finished: Path) -> None:
    both = exposed(finished, {"nih": "labels"}, {"nih": "unknown"})
    with pytest.raises(ConfigError, match="no finished run is ranked") as raised:
        runs_to_estimate(both)
    assert all(run.id in raised.value.fix for run in both.runs)
    assert summary(both) == ["  nothing is ranked: each model had seen an external hospital, or may have seen it"]


def test_an_unfinished_clean_run_is_not_said_to_have_seen_a_hospital(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "runs", tmp_path / "runs", symlinks=True)
    one = exposed(tmp_path, {"nih": "labels"}, {})
    shutil.rmtree(one.store.run_dir(one.runs[1].id))
    shutil.rmtree(one.store.root / "scores" / one.runs[1].id)
    again = replace(one)
    expected = "nothing is ranked yet: the runs that had seen no external hospital have no score"
    assert [line.strip() for line in summary(again)] == [expected]
    with pytest.raises(ConfigError) as raised:
        runs_to_estimate(again)
    assert "bench run --grid tiny" in raised.value.fix


def test_labels_are_not_drawn_at_a_seen_hospital(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "runs", tmp_path / "runs", symlinks=True)
    one = exposed(tmp_path, {"mimic": "labels"}, {})
    one.write()
    labels_needed = pytest.importorskip("bench.extensions.label_needs.needs").labels_needed
    first, second = (run.id for run in one.runs)
    found = labels_needed(one.store, "tiny", first, findings=["No Finding"])
    clean = labels_needed(one.store, "tiny", second, findings=["No Finding"])
    assert "mimic" not in set(found.curves["dataset"])
    assert "mimic" in set(clean.curves["dataset"])
    assert f"Not measured at {one.titles['mimic']}: run {first}, which had or may have seen it." in found.left_out
    exposed(tmp_path, dict.fromkeys(EXTERNAL, "labels"), {}).write()
    with pytest.raises(StoreError, match="that is new to the runs"):
        labels_needed(one.store, "tiny", first)
