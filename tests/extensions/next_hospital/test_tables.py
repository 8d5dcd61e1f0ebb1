"""The tables of the next hospital: from intervals of runs to predictions, or a reason in words."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from scipy.stats import norm

from bench.extensions.next_hospital.areas import HEAVY, SCALE
from bench.extensions.next_hospital.panels import VALUES, Measured, shared_by_seeds, with_variance
from bench.extensions.next_hospital.random_effects import Panels, bayes
from bench.extensions.next_hospital.report_tables import (
    SHARE_SCALE,
    hospitals_once,
    of_areas,
    predicted,
)
from bench.planning.planned_grid import Overlap
from bench.scoring.across_runs.recipes import Recipes
from reports.schemas.tables import SCHEMAS
from tests.drawn_scores import values

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


def of_auroc(recipes: Recipes, rows: pd.DataFrame, internal: pd.DataFrame = NO_INTERNAL) -> pd.DataFrame:
    return of_areas(recipes, rows, internal, HOSPITALS)["next_hospital"]


def with_macro(rows: pd.DataFrame, error: float) -> pd.DataFrame:
    """Return rows of AUROCs with their macros, whose intervals have this standard error on the logit scale."""
    macro = logit(rows.astype({"value": float}).groupby(["run_id", "dataset"])["value"].mean())
    of_runs = [rows_of(run, "auroc", "macro", dict(of.droplevel(0)), error) for run, of in macro.groupby("run_id")]
    return pd.concat([rows, *of_runs], ignore_index=True)


def test_a_prediction_of_one_finding_is_that_of_the_model_on_the_logit_scale() -> None:
    logits = (1.0, 1.3, 0.7, 0.9, 1.6)
    internal = rows_of("a", "auroc", "Edema", {"chexpert": 2.0})
    table = of_auroc(single("a"), with_macro(rows_of("a", "auroc", "Edema", at(*logits)), 0.1), internal)
    assert tuple(table.columns) == SCHEMAS["next_hospital"]
    slope = expit(logits) * expit(-np.array(logits))
    fit = bayes(Panels.of(np.array(logits), 0.01 * slope / slope.mean()), SCALE, HEAVY)
    for row in table.to_dict("records"):
        assert row["value"] == pytest.approx(expit(fit.mean[0]), abs=1e-6)
        assert (row["new_low"], row["new_high"]) == pytest.approx(
            (expit(fit.new_low[0]), expit(fit.new_high[0])), abs=1e-6
        )
        assert row["below_internal"] == pytest.approx(fit.below(np.array([2.0]))[0], abs=1e-6)
        assert row["below_half"] == pytest.approx(fit.below(np.array([0.0]))[0], abs=1e-6)
        assert (row["num_hospitals"], row["num_left_out"], row["num_inside"], row["reason"]) == (5, 5, 5, "")
        assert row["hospitals"] == " ".join(HOSPITALS)


def drawn_areas(tau: float, tau_v: float, holes: dict[str, tuple[str, ...]] | None = None) -> pd.DataFrame:
    """Return rows of AUROCs of six findings with errors of .1; holes: findings that a hospital does not score."""
    draw = np.random.default_rng(8)
    effect = tau * draw.standard_normal(5)
    parts = []
    for k, finding in enumerate("ABCDEF"):
        logits = 0.4 + 0.25 * k + effect + tau_v * draw.standard_normal(5) + 0.1 * draw.standard_normal(5)
        scored = {name: value for name, value in at(*logits).items() if finding not in (holes or {}).get(name, ())}
        parts.append(rows_of("a", "auroc", finding, scored))
    return pd.concat(parts, ignore_index=True)


def test_the_macro_of_a_full_table_is_that_of_the_macros_of_hospitals() -> None:
    rows = with_macro(drawn_areas(0.3, 0.1), 0.1 / np.sqrt(6))
    table = of_auroc(single("a"), rows).set_index("finding")
    macros = rows[rows["finding"] == "macro"]
    fit = bayes(Panels.of(logit(macros["value"]).to_numpy(), np.full(5, 0.01 / 6)), SCALE, HEAVY)
    ends = {name: expit(getattr(fit, name)[0]) for name in ("low", "high", "new_high")} | {"value": expit(fit.mean[0])}
    assert table.loc["macro", list(ends)].to_dict() == pytest.approx(ends, abs=0.005)
    # v is normal, so less of the lower tail is heavy
    assert 0 < table.loc["macro", "new_low"] - expit(fit.new_low[0]) < 0.012
    assert table.loc["macro", "num_hospitals"] == 5


def test_findings_that_hospitals_do_not_score_are_no_differences_between_hospitals() -> None:
    """The hard finding A is missing at one hospital, and the easy finding F at another one: both are equally hard hospitals."""
    whole = with_macro(drawn_areas(0.0, 0.0), 0.1 / np.sqrt(6))
    holes = with_macro(drawn_areas(0.0, 0.0, {"mimic": ("A", "B"), "nih": ("E", "F")}), 0.1 / np.sqrt(5))
    both = [of_auroc(single("a"), rows).set_index("finding").loc["macro"] for rows in (whole, holes)]
    assert both[1]["value"] == pytest.approx(both[0]["value"], abs=0.01)
    assert both[1]["new_high"] - both[1]["new_low"] == pytest.approx(both[0]["new_high"] - both[0]["new_low"], abs=0.02)
    # a model of the macros takes the findings for differences between hospitals
    macros = logit(holes[holes["finding"] == "macro"]["value"]).to_numpy()
    plain = bayes(Panels.of(macros, np.full(5, 0.01 / 5)), SCALE, HEAVY)
    assert expit(plain.new_high[0]) - expit(plain.new_low[0]) > 1.5 * (both[1]["new_high"] - both[1]["new_low"])


@pytest.mark.parametrize(
    ("holes", "reason"),
    [
        ({name: tuple("BCDEF") for name in HOSPITALS}, "too few findings: only one is scored by enough hospitals"),
        (
            dict(zip(HOSPITALS, ("CDEF", "ADEF", "ABEF", "ABCF", "BCDF"), strict=True)),
            "too few AUROCs: the hospitals score less than half of the findings",
        ),
    ],
)
def test_too_few_findings_have_no_macro_but_findings_one_by_one(holes: dict[str, tuple[str, ...]], reason: str) -> None:
    rows = drawn_areas(0.2, 0.1, holes)
    if "B" in holes["mimic"]:  # one hospital alone scores a second finding
        rows = pd.concat([rows, rows_of("a", "auroc", "B", {"mimic": 1.0})])
    table = of_auroc(single("a"), with_macro(rows, 0.1)).set_index("finding")
    assert table.loc["macro", "reason"] == reason
    assert np.isnan(table.loc["macro", "new_low"])
    assert (table["reason"] == "").any() == ("B" in holes["mimic"])


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
    for row in of_auroc(single("a"), with_macro(rows_of("a", "auroc", "Edema", values), 0.1)).to_dict("records"):
        assert row["reason"] == reason
        assert row["num_hospitals"] == num
        assert all(np.isnan(row[name]) for name in NUMBERS[1:-2])


def test_without_external_rows_the_table_is_empty() -> None:
    table = of_auroc(single("a"), rows_of("a", "auroc", "macro", {"chexpert": 1.0}))
    assert tuple(table.columns) == SCHEMAS["next_hospital"]
    assert not len(table)


def test_a_finding_that_some_hospitals_do_not_score_is_predicted_from_the_others() -> None:
    table = of_auroc(single("a"), with_macro(drawn_areas(0.2, 0.1, {"mimic": ("A",), "brax": ("A",)}), 0.1)).set_index(
        "finding"
    )
    assert table["num_hospitals"].to_dict() == dict.fromkeys("BCDEF", 5) | {"A": 3, "macro": 5}
    assert np.isfinite(table[["value", "low", "high", "new_low", "new_high", "sd"]].to_numpy()).all()
    assert table["num_left_out"].to_dict() == {"A": 0, "macro": 3} | dict.fromkeys(
        "BCDEF", 5
    )  # three macros are of all findings
    assert table["below_internal"].isna().all()  # no internal score


def test_a_hospital_with_five_positive_patients_hardly_counts() -> None:
    few = pd.DataFrame([("a", "auroc", "Edema", "brax", 0.55, 0.05, 0.97)], columns=list(VALUES))
    rows = pd.concat([rows_of("a", "auroc", "Edema", at(1.0, 1.1, 0.9, 1.0)), few])
    both = [
        of_auroc(single("a"), with_macro(given, 0.1))["value"][0] for given in (rows, rows[rows["dataset"] != "brax"])
    ]
    assert both[0] == pytest.approx(both[1], abs=0.005)


def test_an_interval_without_width_at_1_has_no_variance() -> None:
    value, variance = with_variance("sensitivity", *np.array([[1.0, 0.5], [1.0, 0.4], [1.0, 0.6]]))
    assert np.isnan([value[0], variance[0]]).all()
    assert value[1] == 0
    assert variance[1] > 0


def test_equal_values_and_perfect_separations_have_finite_numbers() -> None:
    equal = rows_of("a", "auroc", "Pneumonia", at(1.0, 1.0, 1.0, 1.0, 1.0), 0.0)
    perfect = pd.DataFrame([("a", "auroc", "Edema", name, 1.0, 0.9, 1.0) for name in HOSPITALS], columns=list(VALUES))
    table = of_auroc(single("a"), with_macro(pd.concat([equal, perfect]), 0.0))
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
    runs = [[f"{recipe} a", f"{recipe} b"] for recipe in range(60)]
    for _ in range(5):
        patients = {recipe[0]: draw.normal(1.0, 0.1, 5) for recipe in runs}  # shared by seeds
        logits = {run: patients[recipe[0]] + draw.normal(0, 0.1, 5) for recipe in runs for run in recipe}
        half = 1.959964 * 0.1
        rows = pd.DataFrame(
            [
                (run, "auroc", "Edema", name, expit(value), *expit(value + half * np.array([-1, 1])))
                for run, of_run in logits.items()
                for name, value in zip(HOSPITALS, of_run, strict=True)
            ],
            columns=list(VALUES),
        )
        levels = {
            run: {f"auroc/{name}": np.array([expit(value)]) for name, value in zip(HOSPITALS, of_run, strict=True)}
            for run, of_run in logits.items()
        }
        table = of_auroc(Recipes.of(runs, values(levels)), with_macro(rows, 0.1))
        found += table[table["finding"] == "macro"]["inconsistency"].tolist()
    assert 0.5 < np.mean(np.array(found) == 0) < 0.68


def test_forty_hospitals_have_finite_numbers() -> None:
    names = [f"hospital{k}" for k in range(40)]
    value = np.random.default_rng(0).normal(0.3, 0.05, 40)
    rows = pd.DataFrame({"run_id": "a", "metric": "gap", "finding": "Edema", "dataset": names, "value": value})
    rows = rows.assign(low=value - 0.02, high=value + 0.02)[list(VALUES)]
    [row] = predicted(single("a"), rows, NO_INTERNAL, names).to_dict("records")
    assert (row["num_hospitals"], row["reason"], row["num_left_out"]) == (40, "", 0)
    assert row["value"] == pytest.approx(value.mean(), abs=0.01)
    assert row["new_low"] == pytest.approx(value.mean() - 2 * 0.05, abs=0.03)


def test_the_table_of_scales_has_the_numbers_of_the_model() -> None:
    logits = (1.0, 1.3, 0.7, 0.9, 1.6)
    made = of_areas(single("a"), with_macro(rows_of("a", "auroc", "Edema", at(*logits)), 0.1), NO_INTERNAL, HOSPITALS)
    slope = expit(logits) * expit(-np.array(logits))
    panels = Panels.of(np.array(logits), 0.01 * slope / slope.mean())
    scales = made["next_hospital_scales"]
    assert scales["scale"].tolist() == [0.25, 0.5, 1.0]
    lows = [expit(bayes(panels, scale, HEAVY).new_low[0]) for scale in scales["scale"]]
    assert scales["new_low"].to_numpy() == pytest.approx(lows, abs=1e-6)


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
    expected = bayes(Panels.of(np.full(5, 0.1), np.full(5, 0.04**2), (0.07 / 1.959964) ** 2), SHARE_SCALE, "high")
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
    assert shared.loc["macro", "macro"] == pytest.approx(0.09, rel=0.15)
    assert not shared_by_seeds(Measured.of(rows[:5], HOSPITALS), single("r0s0")).any(axis=None)


def manifest(external: list[str], shared: tuple[tuple[str, str], ...] = ()) -> SimpleNamespace:
    layouts = ("table", "table")
    overlaps = [Overlap(pair, layouts, (9, 9), None, 3) for pair in shared]
    overlaps.append(Overlap(("nih", "brax"), layouts, (9, 9)))  # compared, nothing shared
    return SimpleNamespace(
        averaged=[SimpleNamespace(of_children=False, name=name) for name in external],
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
    rows = with_macro(rows_of("a", "auroc", "Edema", at(1.0, 1.02, 0.98, 1.01, 2.9), 0.01), 0.01)
    [row, _] = of_auroc(single("a"), rows).to_dict("records")
    assert (row["num_left_out"], row["num_inside"]) == (5, 4)


@pytest.mark.slow
def test_left_out_hospitals_of_one_population_are_inside_in_97_percent() -> None:
    """The heavier lower tail adds 1 to 2 % to the level of 95 %."""
    draw, found = np.random.default_rng(5), []
    for _ in range(20):
        logits = draw.normal(1, 0.3, (20, 5)) + 0.1 * draw.standard_normal((20, 5))
        rows = pd.concat([rows_of(f"r{k}", "auroc", "Edema", at(*of_run)) for k, of_run in enumerate(logits)])
        found.append(of_auroc(single(*(f"r{k}" for k in range(20))), with_macro(rows, 0.1)))
    table = pd.concat(found)
    assert table["num_inside"].sum() / table["num_left_out"].sum() == pytest.approx(0.97, abs=0.02)
