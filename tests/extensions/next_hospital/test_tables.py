"""The tables of the next hospital: from intervals of runs to predictions, or a reason in words."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from scipy.stats import norm

from bench.extensions.next_hospital.panels import VALUES, Measured, shared_by_seeds, with_variance
from bench.extensions.next_hospital.random_effects import Panels, bayes
from bench.extensions.next_hospital.report_tables import (
    LOGIT_SCALE,
    SHARE_SCALE,
    below,
    hospitals_once,
    left_out,
    pairs,
    predicted,
)
from bench.planning.planned_grid import Overlap
from bench.scoring.across_runs.recipes import Recipes
from reports.schemas.tables import SCHEMAS
from tests.drawn_scores import covariances, values

HOSPITALS = ["mimic", "nih", "padchest", "vindr", "brax"]
NUMBERS = [
    name for name in SCHEMAS["next_hospital"] if name not in ("run_id", "metric", "finding", "hospitals", "reason")
]


def single(*runs: str) -> Recipes:
    """Return recipes of one run each."""
    return Recipes.of([[run] for run in runs], {run: {} for run in runs})


def rows_of(run: str, metric: str, finding: str, logits: dict[str, float], error: float = 0.1) -> pd.DataFrame:
    """Return a row for each hospital, with an interval of this standard error on the logit scale."""
    half = 1.959964 * error
    rows = [
        (run, metric, finding, name, expit(value), expit(value - half), expit(value + half))
        for name, value in logits.items()
    ]
    return pd.DataFrame(rows, columns=list(VALUES))


def at(*logits: float) -> dict[str, float]:
    return dict(zip(HOSPITALS, logits, strict=False))


NO_INTERNAL = pd.DataFrame(columns=list(VALUES))


def test_a_prediction_is_that_of_the_model_on_the_logit_scale() -> None:
    logits = (1.0, 1.3, 0.7, 0.9, 1.6)
    internal = rows_of("a", "auroc", "macro", {"chexpert": 2.0})
    table = predicted(single("a"), rows_of("a", "auroc", "macro", at(*logits)), internal, HOSPITALS)
    assert tuple(table.columns) == SCHEMAS["next_hospital"]
    [row] = table.to_dict("records")
    fit = bayes(Panels.of(np.array(logits), np.full(5, 0.01)), LOGIT_SCALE)
    assert row["value"] == pytest.approx(expit(fit.mean[0]), abs=1e-6)
    assert (row["new_low"], row["new_high"]) == pytest.approx((expit(fit.new_low[0]), expit(fit.new_high[0])), abs=1e-6)
    assert row["below_internal"] == pytest.approx(fit.below(np.array([2.0]))[0], abs=1e-6)
    assert row["below_half"] == pytest.approx(fit.below(np.array([0.0]))[0], abs=1e-6)
    assert (row["num_hospitals"], row["num_left_out"], row["num_inside"], row["reason"]) == (5, 5, 5, "")
    assert row["hospitals"] == " ".join(HOSPITALS)


@pytest.mark.parametrize(
    ("num", "reason"),
    [
        (1, "too few hospitals: only one hospital has a value"),
        (2, "too few hospitals: only two hospitals have a value"),
        (0, "too few hospitals: no hospital has a value"),
    ],
)
def test_fewer_than_three_hospitals_have_a_reason_and_no_number(num: int, reason: str) -> None:
    values = at(*[1.0] * num, *[np.nan] * (5 - num))
    [row] = predicted(single("a"), rows_of("a", "auroc", "Edema", values), NO_INTERNAL, HOSPITALS).to_dict("records")
    assert row["reason"] == reason
    assert row["num_hospitals"] == num
    assert all(np.isnan(row[name]) for name in NUMBERS[1:-2])


def test_without_external_rows_the_table_is_empty() -> None:
    table = predicted(single("a"), rows_of("a", "auroc", "macro", {"chexpert": 1.0}), NO_INTERNAL, HOSPITALS)
    assert tuple(table.columns) == SCHEMAS["next_hospital"]
    assert not len(table)


def test_a_finding_that_some_hospitals_do_not_score_is_predicted_from_the_others() -> None:
    rows = pd.concat(
        [
            rows_of("a", "auroc", "Edema", at(1.0, np.nan, 1.2, 0.9, np.nan)),
            rows_of("a", "auroc", "macro", at(1.0, 1.1, 1.2, 0.9, 1.0)),
        ]
    )
    table = predicted(single("a"), rows, NO_INTERNAL, HOSPITALS).set_index("finding")
    assert table["num_hospitals"].to_dict() == {"Edema": 3, "macro": 5}
    assert np.isfinite(table[["value", "low", "high", "new_low", "new_high", "sd"]].to_numpy()).all()
    assert table["num_left_out"].to_dict() == {"Edema": 0, "macro": 5}  # two hospitals predict nothing
    assert table["below_internal"].isna().all()  # no internal score


def test_a_hospital_with_five_positive_patients_hardly_counts() -> None:
    few = pd.DataFrame([("a", "auroc", "Edema", "brax", 0.55, 0.05, 0.97)], columns=list(VALUES))
    rows = pd.concat([rows_of("a", "auroc", "Edema", at(1.0, 1.1, 0.9, 1.0)), few])
    both = [
        predicted(single("a"), given, NO_INTERNAL, HOSPITALS)["value"][0]
        for given in (rows, rows[rows["dataset"] != "brax"])
    ]
    assert both[0] == pytest.approx(both[1], abs=0.005)


def test_equal_values_and_perfect_separations_have_finite_numbers() -> None:
    equal = rows_of("a", "auroc", "macro", at(1.0, 1.0, 1.0, 1.0, 1.0), 0.0)
    perfect = pd.DataFrame([("a", "auroc", "Edema", name, 1.0, 0.9, 1.0) for name in HOSPITALS], columns=list(VALUES))
    table = predicted(single("a"), pd.concat([equal, perfect]), NO_INTERNAL, HOSPITALS)
    assert np.isfinite(table[["value", "low", "high", "new_low", "new_high"]].to_numpy()).all()
    assert (table["new_high"] <= 1).all()
    bounds = np.array([0.9, np.nan]), np.array([1.0, np.nan])
    value, variance = with_variance("auroc", np.array([1.0, 0.8]), *bounds)
    assert value[0] == pytest.approx(logit(0.95))
    assert variance[0] == pytest.approx(((logit(0.95) - logit(0.9)) / norm.ppf(0.975)) ** 2)
    assert np.isnan([value[1], variance[1]]).all()


@pytest.mark.slow
def test_equal_hospitals_have_no_inconsistency_in_59_percent_of_panels_with_two_seeds() -> None:
    """Cochran's Q of five equal hospitals is below its 4 degrees of freedom with this probability."""
    draw, found = np.random.default_rng(5), []
    for _ in range(150):
        runs = [["a", "b"], ["c", "d"]]
        patients = dict(zip("abcd", np.repeat(draw.normal(1.0, 0.1, (2, 5)), 2, 0), strict=True))  # shared by seeds
        logits = {run: patients[run] + draw.normal(0, 0.1, 5) for run in "abcd"}
        half = 1.959964 * 0.1
        rows = pd.DataFrame(
            [
                (run, "auroc", "macro", name, expit(value), *expit(value + half * np.array([-1, 1])))
                for run, of_run in logits.items()
                for name, value in zip(HOSPITALS, of_run, strict=True)
            ],
            columns=list(VALUES),
        )
        levels = {
            run: {f"auroc/{name}": np.array([expit(value)]) for name, value in zip(HOSPITALS, of_run, strict=True)}
            for run, of_run in logits.items()
        }
        found += predicted(Recipes.of(runs, values(levels)), rows, NO_INTERNAL, HOSPITALS)["inconsistency"].tolist()
    assert 0.5 < np.mean(np.array(found) == 0) < 0.68


def test_forty_hospitals_and_metrics_on_other_scales_have_finite_numbers() -> None:
    names = [f"hospital{k}" for k in range(40)]
    value = np.random.default_rng(0).normal(0.9, 0.2, 40)
    many = [
        pd.DataFrame({"run_id": "a", "metric": metric, "finding": "Edema", "dataset": names, "value": value}).assign(
            low=value - 0.1, high=value + 0.1
        )
        for metric in ("calibration_slope", "calibration_intercept", "log_observed_expected", "net_benefit")
    ]
    for rows in many:
        [row] = predicted(single("a"), rows[list(VALUES)], NO_INTERNAL, names).to_dict("records")
        assert (row["num_hospitals"], row["reason"], row["num_left_out"]) == (40, "", 0)
        assert row["value"] == pytest.approx(value.mean(), abs=0.02)
        assert row["new_low"] == pytest.approx(value.mean() - 2 * 0.2, abs=0.12)


def test_an_auprc_lies_between_0_and_1() -> None:
    rows = pd.DataFrame([("a", "auprc", "Edema", name, 0.04, 0.01, 0.1) for name in HOSPITALS], columns=list(VALUES))
    [row] = predicted(single("a"), rows, NO_INTERNAL, HOSPITALS).to_dict("records")
    assert row["new_low"] == 0


def test_the_table_of_thresholds_has_the_probabilities_of_the_model() -> None:
    logits = (1.0, 1.3, 0.7, 0.9, 1.6)
    table = below(single("a"), rows_of("a", "auroc", "macro", at(*logits)), NO_INTERNAL, HOSPITALS)
    assert tuple(table.columns) == SCHEMAS["next_hospital_below"]
    fit = bayes(Panels.of(np.array(logits), np.full(5, 0.01)), LOGIT_SCALE)
    assert table["threshold"].to_numpy() == pytest.approx(np.arange(1, 100) / 100)
    for threshold in (0.5, 0.7, 0.75):
        found = table.loc[np.isclose(table["threshold"], threshold), "below"].item()
        assert found == pytest.approx(fit.below(np.array([logit(threshold)]))[0], abs=1e-4)
    two = rows_of("a", "auroc", "macro", at(1.0, 1.1))
    assert not len(below(single("a"), two, NO_INTERNAL, HOSPITALS))


def test_the_error_of_the_internal_score_is_no_difference_between_hospitals() -> None:
    """Gaps share the internal score: hospitals with equal external scores have equal gaps, however large its error is."""
    gaps = pd.DataFrame(
        [("a", "gap", "macro", name, 0.1, 0.1 - 0.0784, 0.1 + 0.0784) for name in HOSPITALS], columns=list(VALUES)
    )
    sure, unsure = (
        predicted(
            single("a"),
            gaps,
            pd.DataFrame([("a", "auroc", "macro", "chexpert", 0.8, 0.8 - half, 0.8 + half)], columns=list(VALUES)),
            HOSPITALS,
        ).iloc[0]
        for half in (1e-9, 0.07)
    )
    assert sure["sd"] > unsure["sd"]
    assert unsure["high"] - unsure["low"] > 1.5 * (sure["high"] - sure["low"])
    expected = bayes(Panels.of(np.full(5, 0.1), np.full(5, 0.04**2), (0.07 / 1.959964) ** 2), SHARE_SCALE)
    assert unsure["new_low"] == pytest.approx(expected.new_low[0], abs=1e-5)


def test_hospitals_share_the_error_of_a_weak_seed() -> None:
    draw = np.random.default_rng(0)
    runs = [[f"r{recipe}s{seed}" for seed in range(3)] for recipe in range(300)]
    names = [run for group in runs for run in group]
    logits = 1 + draw.normal(0, 0.3, (len(names), 1)) + draw.normal(0, 0.2, (len(names), 5))
    keys = {"run_id": np.repeat(names, 5), "metric": "auroc", "finding": "macro", "dataset": HOSPITALS * len(names)}
    values = {name: expit(logits.ravel() + shift) for name, shift in (("value", 0), ("low", -0.2), ("high", 0.2))}
    rows = pd.DataFrame({**keys, **values})
    recipes = Recipes.of(runs, {run: {} for run in names})
    shared = shared_by_seeds(Measured.of(rows, HOSPITALS), recipes)
    assert shared["macro"] == pytest.approx(0.09, rel=0.15)
    assert shared_by_seeds(Measured.of(rows[:5], HOSPITALS), single("r0s0")) == {}


def manifest(external: list[str], shared: tuple[tuple[str, str], ...] = ()) -> SimpleNamespace:
    layouts = ("table", "table")
    overlaps = [Overlap(pair, layouts, (9, 9), None, 3) for pair in shared]
    overlaps.append(Overlap(("nih", "brax"), layouts, (9, 9)))  # compared, nothing shared
    return SimpleNamespace(
        external=[SimpleNamespace(of_children=False, name=name) for name in external],
        left_out=[],
        runs=[],
        trained_at=lambda *_: [SimpleNamespace(name="chexpert")],
        compared=SimpleNamespace(external=overlaps),
    )


def test_two_cohorts_of_one_hospital_count_once() -> None:
    assert hospitals_once(manifest(["mimic", "nih", "mimic-gold"])) == ["mimic", "nih"]
    assert hospitals_once(manifest(["nih", "chexpert-gold"])) == ["nih"]  # a part of the internal hospital
    assert hospitals_once(manifest(["padchest-gold", "nih"])) == [
        "padchest-gold",
        "nih",
    ]  # the only cohort of its hospital
    assert hospitals_once(manifest(["nih", "brax", "other"], (("nih", "other"),))) == ["nih", "brax"]
    assert hospitals_once(manifest(["nih", "brax"], ())) == ["nih", "brax"]


def test_an_outlier_is_outside_the_interval_of_the_other_hospitals() -> None:
    value = np.array([[1.0, 1.02, 0.98, 1.01, 0.99, 2.5], [1.0, 1.1, 0.9, np.nan, np.nan, np.nan]])
    num, inside = left_out(Panels.of(value, np.full(value.shape, 1e-4)), LOGIT_SCALE)
    assert num.tolist() == [6, 0]
    assert inside.tolist() == [5, 0]


def test_left_out_hospitals_of_one_population_are_inside_in_95_percent() -> None:
    draw = np.random.default_rng(5)
    error = draw.uniform(0.05, 0.2, (400, 6))
    value = draw.normal(1, 0.3, error.shape) + error * draw.standard_normal(error.shape)
    num, inside = left_out(Panels.of(value, error**2), LOGIT_SCALE)
    assert inside.sum() / num.sum() == pytest.approx(0.95, abs=0.03)


def drawn(value: dict[str, float], errors: np.ndarray) -> dict[str, np.ndarray]:
    return {f"auroc/{name}": number + errors[k] for k, (name, number) in enumerate(value.items())}


@pytest.mark.slow
def test_pairs_are_over_the_hospitals_that_both_recipes_have() -> None:
    draw = np.random.default_rng(2)
    own = draw.normal(0, 0.01, (3, 5, 2000))
    patients = draw.normal(
        0, 0.05, (5, 2000)
    )  # both recipes have the same patients: this error is not one of the difference
    table_of = pd.DataFrame(
        [[0.80, 0.75, 0.78, 0.70, 0.72], [0.75, 0.71, 0.72, 0.66, np.nan], [0.81, np.nan, np.nan, np.nan, 0.72]],
        index=["a", "b", "c"],
        columns=HOSPITALS,
    )
    covariance = covariances(
        {
            name: drawn(dict(table_of.loc[name].dropna()), (patients + own[k])[np.isfinite(table_of.loc[name])])
            for k, name in enumerate(table_of.index)
        }
    )
    table = pairs(table_of, covariance)
    [row] = table.to_dict("records")  # c shares two hospitals with a, and one with b
    assert (row["first"], row["second"], row["num_hospitals"]) == ("a", "b", 4)
    assert row["value"] == pytest.approx(0.05, abs=0.005)
    assert row["above"] > 0.9
    assert row["new_low"] < row["low"] < row["value"] < row["high"] < row["new_high"]
    assert not len(pairs(table_of.loc[["a", "c"]], covariance))


@pytest.mark.slow
def test_an_error_that_hospitals_share_stays_in_the_difference_of_two_recipes() -> None:
    draw = np.random.default_rng(3)
    seed = draw.normal(0, 0.05, 2000)
    table_of = pd.DataFrame([[0.8] * 5, [0.75] * 5], index=["a", "b"], columns=HOSPITALS)
    errors = draw.normal(0, 0.01, (2, 5, 2000))
    alone, shared = (
        pairs(
            table_of,
            covariances({"a": drawn(at(*[0.8] * 5), errors[0] + extra), "b": drawn(at(*[0.75] * 5), errors[1])}),
        ).iloc[0]
        for extra in (0.0, seed)
    )
    assert alone["above"] > 0.95
    assert shared["above"] == pytest.approx(norm.cdf(1), abs=0.06)  # .05 is one standard error
