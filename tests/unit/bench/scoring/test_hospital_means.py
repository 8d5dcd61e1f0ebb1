"""Macros over one set of findings where hospitals label different findings."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.cli.compare import lines
from bench.config.settings import Settings
from bench.results.compare_two_runs import Contrast
from bench.scoring.across_runs.paired_runs import GAP, ScoredRun, differences
from bench.scoring.gaps.hospital_means import hospital_macros, weights
from bench.scoring.metrics_of_split import AUROC, Key, measure
from bench.scoring.score_run import score_run
from bench.scoring.scored_split import ScoredSplit

FINDINGS = ("Edema", "Pneumonia", "Mass", "Nodule")
HOSPITALS = ("nih", "vindr", "brax", "mimic")
MEASURED = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [0, 1, 1, 0], [1, 0, 0, 1]], bool)
SETTINGS = Settings(min_count=3)


def split(dataset: str, name: str, seed: int, measured: np.ndarray | None = None) -> ScoredSplit:
    generator = np.random.default_rng(seed)
    positive = generator.random((300, 4)) < 0.3
    logit = (generator.normal(size=(300, 4)) + positive * np.array([2.0, 1.0, 0.5, 1.5]) - 1).astype(np.float32)
    state = positive.astype(np.int8)
    if measured is not None:
        state[:, ~measured] = -3
    ids = np.array([f"{dataset}{name}{i}" for i in range(300)], object)
    return ScoredSplit(dataset, name, "report", ids, np.array([f"p{i // 2}" for i in range(300)], object), logit, state)


def splits() -> list[ScoredSplit]:
    inside = [split("chexpert", "val", 1), split("chexpert", "test", 2)]
    return inside + [split(name, "all", 3 + h, MEASURED[h]) for h, name in enumerate(HOSPITALS)]


def fitted(value_HK: np.ndarray) -> np.ndarray:
    """Fit mean + hospital + finding by scipy's least squares, and return the macro of each hospital."""
    known = np.isfinite(value_HK)
    hospital, finding = np.nonzero(known)
    design = pd.concat(
        [
            pd.get_dummies(pd.Series(codes).astype(str), dtype=float).add_prefix(name)
            for codes, name in ((hospital, "h"), (finding, "f"))
        ],
        axis=1,
    )
    coefficients = dict(
        zip(design.columns, np.linalg.lstsq(design.to_numpy(), value_HK[known], rcond=None)[0], strict=True)
    )
    of_findings = np.mean([value for name, value in coefficients.items() if name.startswith("f")])
    return np.array([coefficients[f"h{h}"] + of_findings for h in range(len(value_HK))])


def test_macros_are_least_squares_means_and_the_external_mean_is_their_mean() -> None:
    found = score_run("r", FINDINGS, "chexpert", splits(), SETTINGS)
    rows = found.scores[(found.scores["metric"] == "auroc")].set_index(["dataset", "split", "finding"])["value"]
    table = np.array([[rows[name, "all", finding] for finding in FINDINGS] for name in HOSPITALS])
    assert (np.isfinite(table) == MEASURED).all()
    macros = [rows[name, "all", "macro"] for name in HOSPITALS]
    assert macros == pytest.approx(fitted(table), abs=1e-12)
    assert macros[0] == pytest.approx(table[0].mean(), abs=1e-12), "a complete hospital has its own mean"
    external = rows["external"].droplevel(0)["macro"]
    assert external == pytest.approx(np.mean(macros), abs=1e-12)
    gaps = found.gaps.set_index(["dataset", "finding"])
    inside = np.mean([rows["chexpert", "test", finding] for finding in FINDINGS])
    assert gaps.loc[("external", "macro"), "internal"] == pytest.approx(inside, abs=1e-12)
    assert gaps.loc[("external", "macro"), "value"] == pytest.approx(inside - external, abs=1e-12)
    parts = (
        found.detail["decomposition"].query("finding == 'macro' and metric == 'auroc'").set_index(["dataset", "part"])
    )
    for name in (*HOSPITALS, "external"):
        of_gap = gaps.loc[(name, "macro")]
        assert parts.loc[(name, "gap"), ["value", "low", "high"]].to_list() == pytest.approx(
            of_gap[["value", "low", "high"]].to_list(), abs=1e-12
        )
    estimate = found.estimates["auroc/external"]
    assert estimate.value == pytest.approx(external)
    assert len(estimate.influence.of) == len(HOSPITALS)


def test_influences_of_an_estimated_macro_are_those_of_its_cells() -> None:
    external = [measure(one, None, SETTINGS, only=AUROC) for one in splits()[2:]]
    macros = hospital_macros(AUROC, external, np.ones(4, bool))
    of_cells = weights(MEASURED)
    for macro, weight in zip(macros[1:], of_cells[1:], strict=True):
        for h, one in enumerate(external):
            expected = weight[h][MEASURED[h]] @ one.influence[AUROC][MEASURED[h]]
            if np.any(weight[h]):
                assert macro.influence.of[one.sample.key] == pytest.approx(expected, abs=1e-15)
        assert macro.bounds is not None
        assert macro.bounds[0] < macro.value < macro.bounds[1]


@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.integers(2, 6))
def test_an_additive_table_with_holes_gives_back_its_complete_means(seed: int, hospitals: int, findings: int) -> None:
    draw = np.random.default_rng(seed)
    table = draw.random((hospitals, 1)) + draw.random(findings)
    scored = draw.random((hospitals, findings)) < 0.7
    scored[0] = scored[:, 0] = True  # in one connected part
    macros = (weights(scored) * table).sum((1, 2))
    assert macros == pytest.approx(table.mean(1), abs=1e-9)


def test_hospitals_without_a_common_finding_have_no_mean() -> None:
    apart = [
        split("nih", "all", 3, np.array([1, 1, 0, 0], bool)),
        split("vindr", "all", 4, np.array([0, 0, 1, 1], bool)),
    ]
    found = score_run("r", FINDINGS, "chexpert", [*splits()[:2], *apart], SETTINGS).scores
    auroc = found[(found["metric"] == "auroc") & (found["split"] != "val")].set_index(["dataset", "finding"])["value"]
    assert np.isnan(auroc["external", "macro"])
    for name, own in (("nih", FINDINGS[:2]), ("vindr", FINDINGS[2:])):
        assert auroc[name, "macro"] == pytest.approx(np.mean([auroc[name, finding] for finding in own]))
    alone = score_run("r", FINDINGS, "chexpert", [*splits()[:2], apart[0]], SETTINGS).scores
    row = alone[(alone["metric"] == "auroc") & (alone["finding"] == "macro") & (alone["dataset"] == "external")]
    assert row["num_findings"].tolist() == [2], "the findings of the only hospital"


def test_the_largest_connected_part_decides() -> None:
    measured = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 1]], bool)
    external = [split(name, "all", 3 + h, measured[h]) for h, name in enumerate(HOSPITALS[:3])]
    found = score_run("r", FINDINGS, "chexpert", [*splits()[:2], *external], SETTINGS).scores
    rows = found[(found["metric"] == "auroc") & (found["finding"] == "macro")].set_index(["dataset", "split"])
    assert rows.loc[("nih", "all"), "num_findings"] == 2
    assert np.isnan(rows.loc[("brax", "all"), "value"])
    assert np.isfinite(rows.loc["external", "value"]).all()


def test_a_loss_that_is_impossible_is_unknown_as_is_the_mean_over_hospitals() -> None:
    """The hospital without one finding has so few positives that its Brier score would be negative."""
    prevalences, pairs = {"nih": (0.5, 0.05), "vindr": (0.5, 0.05), "brax": (0.02, np.nan)}, []
    for separation in (1.0, 0.9):
        draw, external = np.random.default_rng(0), []
        for name, of in prevalences.items():
            positive = draw.random((400, 2)) < of
            prior = np.nan_to_num(np.log(of) - np.log1p(-np.array(of)))
            logit = prior + separation * (positive - 0.5) + draw.normal(size=(400, 2))
            state = np.where(np.isnan(of), -3, positive).astype(np.int8)
            ids = np.array([f"{name}{i}" for i in range(400)], object)
            external.append(ScoredSplit(name, "all", "report", ids, ids, logit.astype(np.float32), state))
        pairs.append(ScoredRun(FINDINGS[:2], "chexpert", external))
    found = score_run("r", FINDINGS[:2], "chexpert", pairs[0].scored_splits, SETTINGS).scores
    rows = found.query("finding == 'macro' and metric == 'brier' and calibrator == 'none'").set_index("dataset")[
        "value"
    ]
    assert rows[["brax", "external"]].isna().all()
    assert rows[["nih", "vindr"]].notna().all()
    notes = differences(*pairs, Key("brier"), SETTINGS).query("finding == 'macro'").set_index("dataset")["note"]
    assert notes[["brax", "external"]].str.startswith("an impossible estimate").all()


def test_net_benefit_has_the_same_marginal_mean() -> None:
    table = score_run("r", FINDINGS, "chexpert", splits(), SETTINGS).detail["net_benefit"]
    rows = table[table["metric"] == "net_benefit"].set_index(["dataset", "finding"])
    values = rows["value"].reindex(pd.MultiIndex.from_product([HOSPITALS, FINDINGS])).to_numpy().reshape(4, 4)
    expected = fitted(np.where(MEASURED, values, np.nan))
    assert [rows.loc[(name, "macro"), "value"] for name in HOSPITALS] == pytest.approx(expected, abs=1e-12)
    mean = rows.loc[("external", "macro")]
    assert mean["value"] == pytest.approx(expected.mean(), abs=1e-12)
    assert mean["low"] < mean["value"] < mean["high"]


ONE = np.array([[1, 0, 0, 0], [1, 0, 0, 1], [1, 0, 1, 0], [1, 1, 0, 0]], bool)
HALF = np.array([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1], [1, 0, 0, 0], [0, 0, 0, 1]], bool)


@pytest.mark.parametrize("key", [Key("auroc"), GAP])
@pytest.mark.parametrize(
    ("measured", "reason"), [(ONE, "too few findings: only one is"), (HALF, "too few AUROCs: the hospitals score less")]
)
def test_a_comparison_says_why_there_is_no_external_mean(measured: np.ndarray, reason: str, key: Key) -> None:
    hospitals = (*HOSPITALS, "padchest")[: len(measured)]
    external = [split(name, "all", 3 + h, measured[h]) for h, name in enumerate(hospitals)]
    runs = [ScoredRun(FINDINGS, "chexpert", [*splits()[:2], *external]) for _ in range(2)]
    table = differences(*runs, key, SETTINGS)
    row = table[(table["dataset"] == "external") & (table["finding"] == "macro")].iloc[0]
    assert np.isnan(row["first"])
    assert row["note"].startswith(reason)
    result = Contrast("a", "b", key, SETTINGS, table, False, dict.fromkeys(table["dataset"], "H"))
    said = " ".join(lines(result))
    assert f"There is no mean over findings and hospitals, because of {reason}" in " ".join(said.split())


@pytest.mark.parametrize("measured", [ONE, HALF], ids=["one finding", "less than half"])
def test_below_the_floors_there_is_no_mean_but_hospitals_and_findings(measured: np.ndarray) -> None:
    hospitals = (*HOSPITALS, "padchest")[: len(measured)]
    external = [split(name, "all", 3 + h, measured[h]) for h, name in enumerate(hospitals)]
    found = score_run("r", FINDINGS, "chexpert", [*splits()[:2], *external], SETTINGS)
    macros = found.scores[found.scores["finding"] == "macro"]
    assert macros.loc[macros["dataset"] == "external", "value"].isna().all()
    rows = (
        found.scores[found.scores["metric"] == "auroc"].set_index(["dataset", "split", "finding"])["value"].sort_index()
    )
    gaps = found.gaps.set_index(["dataset", "finding"]).sort_index()
    assert np.isnan(gaps.loc[("external", "macro"), "value"])
    assert np.isnan(found.detail["decomposition"].query("finding == 'macro'")["value"]).all()
    for h, name in enumerate(hospitals):
        own = [finding for finding, is_scored in zip(FINDINGS, measured[h], strict=True) if is_scored]
        inside, outside = (rows[key][own].mean() for key in (("chexpert", "test"), (name, "all")))
        assert rows[name, "all", "macro"] == pytest.approx(outside, abs=1e-12)
        assert gaps.loc[(name, "macro"), "value"] == pytest.approx(inside - outside, abs=1e-12)
    assert np.isfinite(gaps.loc[("external", FINDINGS[0]), "value"])
    assert {"auroc/external", "gap/external", "net_benefit/external"}.isdisjoint(found.estimates)
    assert f"auroc/external/{FINDINGS[0]}" in found.estimates
    benefit = found.detail["net_benefit"].set_index(["dataset", "finding", "metric"])["value"].sort_index()
    assert np.isnan(benefit.get(("external", "macro", "net_benefit"), np.nan))
