"""Counts in place of predictions: no small count, and true scores within the bounds that follow."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench.extensions.board.aggregate import BINS, Histogram, _merged, histograms, read_aggregate
from bench.results.prediction_files import LabeledPredictions
from bench.scoring.across_runs.paired_runs import ScoredRun
from bench.scoring.metrics import auroc
from bench.scoring.scored_split import ScoredSplit
from harmonize.errors import ConfigError, StoreError
from tests.conftest import Command
from tests.extensions.decisions.plain_net_benefit import net_benefit


def predictions(seed: int, num: int, share: float, pull: float) -> LabeledPredictions:
    draw = np.random.default_rng(seed)
    state_NK = (draw.random((num, 1)) < share).astype(np.int8)
    logit_NK = (pull * state_NK - 1 + draw.normal(size=(num, 1))).astype(np.float32)
    ids = np.array([str(i) for i in range(num)], object)
    split = ScoredSplit("table", "all", "stated", ids, ids, logit_NK, state_NK)
    return LabeledPredictions(ScoredRun(["Edema"], "", [split]), "logit", True, ())


def true_scores(given_: LabeledPredictions, threshold: float) -> tuple[NDArray[np.int8], NDArray[np.float64], float]:
    [split] = given_.run.scored_splits
    label, probability = split.state[:, 0], 1 / (1 + np.exp(-split.logit[:, 0].astype(np.float64)))
    return label, probability, net_benefit(label, probability, threshold)


@settings(max_examples=40, derandomize=True)
@given(st.integers(0, 1000), st.integers(80, 600), st.floats(0.2, 0.8), st.floats(-1, 4), st.floats(0.01, 0.99))
def test_the_true_score_is_within_the_bounds(seed: int, num: int, share: float, pull: float, threshold: float) -> None:
    made = predictions(seed, num, share, pull)
    label, probability, benefit = true_scores(made, threshold)
    found = histograms(made, {}, 5)["Edema"]["all"]
    assert found.positive.sum() == (label == 1).sum()
    assert found.negative.sum() == (label == 0).sum()
    some = found.positive + found.negative > 0
    assert (np.minimum(found.positive, found.negative)[some] >= 5).all(), "no bin states the labels of its images"
    slack = 1e-9
    bounds = found.auroc()
    assert bounds.low - slack <= auroc(label, probability.astype(np.float32)) <= bounds.high + slack
    bounds = found.net_benefit(threshold)
    assert bounds.low - slack <= benefit <= bounds.high + slack
    bounds = found.mean_error()
    assert bounds.low - slack <= probability.mean() - label.mean() <= bounds.high + slack
    index = np.clip(np.searchsorted(found.edges, probability, side="right") - 1, 0, len(found.positive) - 1)
    ece = sum(abs(label[index == i].mean() - probability[index == i].mean()) * (index == i).mean() for i in set(index))
    bounds = found.calibration_error()
    assert bounds.low - slack <= ece <= bounds.high + slack


def test_bounds_can_be_computed_by_hand() -> None:
    found = Histogram(np.array([0, 0.5, 1]), np.array([2, 6]), np.array([8, 2]))
    assert (found.auroc().low, found.auroc().high) == (48 / 80, (48 + 16 + 12) / 80)
    at_edge = found.net_benefit(0.5)
    assert at_edge.low == at_edge.high == pytest.approx((6 - 2) / 18)
    inside = found.net_benefit(0.6)
    assert (inside.low, inside.high) == (pytest.approx((0 - 1.5 * 2) / 18), pytest.approx(6 / 18))


@settings(max_examples=60, derandomize=True)
@given(st.lists(st.lists(st.integers(0, 12), min_size=24, max_size=24), min_size=1, max_size=3), st.integers(2, 10))
def test_merged_bins_have_no_small_count_and_never_one_class_alone(counts: list[list[int]], least: int) -> None:
    table = np.array(counts, np.int64).reshape(-1, 12)  # two rows for each group
    edges = _merged(table, least)
    assert (edges[0], edges[-1]) == (0, table.shape[1])
    merged = np.stack([np.add.reduceat(row, edges[:-1]) for row in table]).reshape(-1, 2, len(edges) - 1)
    small, some = (merged < least).any(1), (merged > 0).any(1)
    assert not (small & some).any() or (len(edges) == 2 and (table.sum(1) < least).any())


def test_groups_share_their_bins_and_small_groups_are_left_out() -> None:
    made = predictions(1, 600, 0.4, 2.0)
    draw = np.random.default_rng(2)
    sex = draw.choice(["F", "M", ""], 600, p=[0.5, 0.45, 0.05])
    rare = np.where(np.arange(600) < 8, "rare", "common")
    found = histograms(made, {"sex": list(sex), "device": list(rare)}, 10)["Edema"]
    assert list(found) == ["all", "sex=F", "sex=M"], "eight images of a device would be a small count"
    assert found["all"].positive.tolist() == (found["sex=F"].positive + found["sex=M"].positive).tolist()
    assert found["all"].positive.sum() < 0.5 * 600
    with pytest.raises(ConfigError, match="no finding has 400 images"):
        histograms(made, {}, 400)
    assert BINS == 100


def test_the_commands_write_counts_and_compute_bounds(tmp_path: Path, here: Command) -> None:
    draw = np.random.default_rng(4)
    label = (draw.random(800) < 0.3).astype(int)
    ids = [f"i{i}" for i in range(800)]
    probability = 1 / (1 + np.exp(-(2 * label - 1 + draw.normal(size=800))))
    pd.DataFrame({"image_id": ids, "Edema": probability}).to_csv(tmp_path / "own.csv", index=False)
    table = pd.DataFrame({"image_id": ids, "Edema": label, "sex": draw.choice(["F", "M"], 800)})
    table.to_csv(tmp_path / "labels.csv", index=False)
    words = ("--predictions", "own.csv", "--labels", "labels.csv", "--group-by", "sex", "-o", "h.json")
    assert "Edema (3 groups)" in here("board", "sealed", "aggregate", *words, cwd=tmp_path).stdout
    assert "i17" not in (tmp_path / "h.json").read_text()
    rows = json.loads(here("board", "sealed", "bounds", "h.json", "--json", cwd=tmp_path).stdout)["rows"]
    low, high = rows[0]["auroc"]
    assert low < auroc(label.astype(np.int8), probability.astype(np.float32)) < high
    assert high - low < 0.2
    here("board", "sealed", "aggregate", *words[:4], "-o", "all.json", cwd=tmp_path)
    [alone] = json.loads(here("board", "sealed", "bounds", "all.json", "--json", cwd=tmp_path).stdout)["rows"]
    assert alone["auroc"][1] - alone["auroc"][0] < 0.7 * (high - low), "fewer groups, smaller bins"
    assert "sex=F" in here("board", "sealed", "bounds", "h.json", "--call-at", ".3", cwd=tmp_path).stdout
    content = json.loads((tmp_path / "h.json").read_text())
    content["findings"]["Edema"]["all"]["positive"][0] = 3
    (tmp_path / "h.json").write_text(json.dumps(content))
    with pytest.raises(StoreError, match="below the least count"):
        read_aggregate(tmp_path / "h.json")
    assert "no column 'device'" in here(
        "board", "sealed", "aggregate", *words[:-3], "device", "-o", "x.json", cwd=tmp_path, code=2
    ).stderr  # fmt: skip
