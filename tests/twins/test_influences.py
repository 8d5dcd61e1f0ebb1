"""Standard errors in closed form equal those of a plain bootstrap of patients; derivatives equal finite differences."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.metrics import average_precision_score, roc_auc_score

from bench.config.registry import Entry
from bench.config.settings import Settings
from bench.scoring import influence
from bench.scoring.calibration_metrics import bin_of, equal_mass_bin_of
from bench.scoring.column import Column
from bench.scoring.gaps import decomposition
from bench.scoring.gaps.case_mix import case_mix_factor, mix_of, prevalence_factor
from bench.scoring.gaps.gap import MACRO, gaps
from bench.scoring.influence import Influence, error_of
from bench.scoring.means import macro, mean_of_macros
from bench.scoring.metrics_of_split import AUROC, Key, OperatingPoints, SplitMetrics, measure
from bench.scoring.patient_groups import NUM_CELLS, PatientGroups
from bench.scoring.scored_split import ScoredSplit
from bench.scoring.thresholds import RULES
from tests.nonempty import nonempty
from tests.resampled import in_groups, resampled_error

Array = NDArray[np.float64]
RULE = "youden"
# name -> number of patients, largest number of images of a patient, share of positives, distinct scores per unit (0: no ties)
COHORTS = {"one image": (500, 1, 0.08, 0), "clusters": (200, 30, 0.06, 0), "ties": (300, 4, 0.2, 2)}
THOROUGH = [
    pytest.param(300, 0.8, id="300 draws"),
    pytest.param(2000, 0.9, id="2000 draws", marks=pytest.mark.thorough),
]


def spread_of_scores(label: NDArray[np.int8], score: NDArray[np.floating]) -> float:
    """Return a metric that only the jackknife knows."""
    return float((score[label == 1].mean() - score[label == 0].mean()) / (1 + score.std()))


METRIC = Entry("metrics", "spread", f"{__name__}:spread_of_scores", facts={"given": "logit"})
SETTINGS = Settings(min_count=1, custom_metrics=(METRIC,))


def cohort(name: str, seed: int = 0, num_findings: int = 1, dataset: str = "there") -> ScoredSplit:
    """Return images whose patients have effects of their own on labels and logits; the logits are overconfident."""
    num, most, share, distinct = COHORTS[name]
    draw = np.random.default_rng(seed)
    patient = in_groups(num, most, draw)
    shape = (len(patient), num_findings)
    of_patient = draw.normal(size=(2, num, num_findings))[:, patient]
    latent = (of_patient[0] + draw.normal(size=shape)) / np.sqrt(2)
    label = (latent > np.quantile(latent, 1 - share)).astype(np.int8)
    score = 1.5 * (1.2 * label + (of_patient[1] + draw.normal(size=shape)) / np.sqrt(2)) + 0.3
    if distinct:
        score = np.round(score * distinct) / distinct
    sex = np.where(draw.random(num) < 0.3 + 0.3 * (dataset == "internal"), "F", "M").astype(object)[patient]
    who = PatientGroups(sex, np.full(len(patient), 50.0), np.full(len(patient), "PA", object), sex)
    ids = [
        np.array([f"{letter}{i}" for i in of], object)
        for letter, of in (("i", np.arange(len(patient))), ("p", patient))
    ]
    return ScoredSplit(dataset, "test", "report", *ids, score.astype(np.float32), label, patient_groups=who)


def measured(scored: ScoredSplit) -> SplitMetrics:
    """Return the metrics of a split, with thresholds that it chose itself."""
    return measure(scored, OperatingPoints.choose(scored, scored.logit.shape[1]), SETTINGS)


def plainly(split: SplitMetrics, k: int = 0) -> tuple[list[Key], NDArray[np.integer], object]:
    """Return the metrics of a finding, and a function of rows that computes them with scikit-learn and loops over bins."""
    label, logit = split.label[:, k].astype(int), split.scored.logit[:, k].astype(np.float64)
    prob, called = expit(logit), logit >= split.threshold[list(RULES).index(RULE), k]
    wide, mass = bin_of(prob, 15), equal_mass_bin_of(prob, 15)
    errors = ("brier", "nll", "ece", "ace", "brier_reliability", "brier_resolution", "brier_uncertainty")
    calls = ("sensitivity", "specificity", "precision", "npv", "f1")
    keys = [AUROC, Key("auprc"), *map(Key, errors), *(Key(name, operating_point=RULE) for name in calls), Key("spread")]

    def of(rows: NDArray[np.intp]) -> list[float]:
        y, p, c = label[rows], prob[rows], called[rows]
        rates = [
            [(y[index[rows] == b] - p[index[rows] == b]).mean() for b in np.unique(index[rows])]
            for index in (wide, mass)
        ]
        num = np.bincount(wide[rows], minlength=15)
        share = num[num > 0] / len(rows)
        brier, uncertainty = ((p - y) ** 2).mean(), y.mean() * (1 - y.mean())
        reliability = (share * np.square(rates[0])).sum()
        hit, either = (y & c).sum(), (y | c).sum()
        return [
            roc_auc_score(y, p),
            average_precision_score(y, p),
            brier,
            -np.log(np.where(y == 1, p, 1 - p)).mean(),
            (share * np.abs(rates[0])).sum(),
            np.abs(rates[1]).mean(),
            reliability,
            reliability + uncertainty - brier,
            uncertainty,
            c[y == 1].mean(),
            1 - c[y == 0].mean(),
            y[c].mean(),
            1 - y[~c].mean(),
            2 * hit / (either + hit),
            spread_of_scores(y, logit[rows]),
        ]

    return keys, split.sample.patient, of


@pytest.mark.parametrize(("draws", "bound"), THOROUGH)
@pytest.mark.parametrize("name", COHORTS)
def test_standard_errors_equal_those_of_a_bootstrap_of_patients(name: str, draws: int, bound: float) -> None:
    split = measured(cohort(name))
    keys, patient, of = plainly(split)
    np.testing.assert_allclose([split.value[key][0] for key in keys], of(np.arange(len(patient))), rtol=1e-6)
    ratio = [error_of(split.influence[key])[0] for key in keys] / resampled_error(of, patient, draws)
    found = dict(zip((key.metric for key in keys), ratio.tolist(), strict=True))
    for metric, of_metric in nonempty(found.items()):
        least = bound - 0.15 * (metric == "spread")  # 50 groups alone have an error of 10 %
        assert least < of_metric < 1 / least, found


@pytest.mark.thorough
def test_the_error_of_the_largest_calibration_error_is_that_of_its_bin() -> None:
    scored = cohort("clusters")
    prob = expit(scored.logit[:, 0].astype(np.float64))
    state = (np.random.default_rng(0).random(scored.state.shape) < prob[:, None]).astype(np.int8)
    far = bin_of(prob, 15) == 5
    state[far, 0] = np.arange(far.sum()) % 10 > 0  # .9 instead of .37
    split = measured(replace(scored, state=state))

    def largest(rows: NDArray[np.intp]) -> float:
        excess = np.bincount(bin_of(prob[rows], 15), state[rows, 0] - prob[rows], 15)
        return float(np.abs(excess / np.maximum(np.bincount(bin_of(prob[rows], 15), minlength=15), 1))[5])

    assert split.value[Key("mce")][0] == pytest.approx(largest(np.arange(len(prob))))
    ratio = error_of(split.influence[Key("mce")])[0] / resampled_error(largest, split.sample.patient)
    assert 0.9 < ratio < 1.1


@pytest.mark.parametrize(("draws", "bound"), THOROUGH)
def test_macros_gaps_and_means_over_hospitals_have_the_variances_of_sums(draws: int, bound: float) -> None:
    splits = [measured(cohort("ties", seed, 3, f"h{seed}")) for seed in range(3)]
    errors = []
    for split in splits:

        def mean_area(rows: NDArray[np.intp], split: SplitMetrics = split) -> float:
            return float(np.mean([roc_auc_score(split.label[rows, k], split.scored.logit[rows, k]) for k in range(3)]))

        errors.append(resampled_error(mean_area, split.sample.patient, draws))
    macros = [macro(split, AUROC) for split in splits]
    of_gaps = [gap for gap in gaps("abc", splits[0], splits[1:]) if gap.finding == MACRO]
    expected = [
        *zip(macros, errors, strict=True),
        (mean_of_macros(AUROC, macros), np.sqrt(np.square(errors).sum()) / 3),
        (of_gaps[0], np.hypot(errors[0], errors[1])),
        (of_gaps[2], np.sqrt(errors[0] ** 2 + (errors[1] ** 2 + errors[2] ** 2) / 4)),
    ]
    for number, error in nonempty(expected):
        assert bound < number.influence.error / error < 1 / bound


def case_mix(internal: SplitMetrics, external: SplitMetrics, name: str) -> decomposition.ComponentEstimate:
    mix = mix_of(internal, external, 0, 1)
    weights = mix.label if name.endswith("of prevalence") else mix.group
    sizes = decomposition.ClassSizes.of(external.images_of_patients[:, [0]])
    return decomposition._weighted(name.split(maxsplit=1)[0], internal, external, 0, mix, weights, sizes, 15)


@pytest.mark.parametrize(("draws", "bound"), THOROUGH)
@pytest.mark.parametrize("name", ["auroc", "auprc", "ece", "auprc of prevalence"])
def test_metrics_of_weighted_images_have_the_errors_of_a_bootstrap_of_both_hospitals(
    name: str, draws: int, bound: float
) -> None:
    splits = [
        measured(cohort(of, seed, 1, dataset))
        for of, seed, dataset in (("ties", 1, "internal"), ("clusters", 2, "there"))
    ]
    groups = [2 * split.scored.patient_groups.cells + split.label[:, 0] for split in splits]
    label, logit = splits[1].label[:, 0], splits[1].scored.logit[:, 0].astype(np.float64)
    factor = prevalence_factor if name.endswith("prevalence") else case_mix_factor
    num = len(groups[0])

    def of(rows: NDArray[np.intp]) -> float:
        inside, outside = rows[rows < num], rows[rows >= num] - num
        totals = [
            np.bincount(groups[0][inside], minlength=2 * NUM_CELLS),
            np.bincount(groups[1][outside], minlength=2 * NUM_CELLS),
        ]
        weight, y, score = (
            factor(*(t.astype(np.float64) for t in totals))[groups[1][outside]],
            label[outside],
            logit[outside],
        )
        if name == "ece":
            prob = expit(score)
            return float(np.abs(np.bincount(bin_of(prob, 15), weight * (y - prob))).sum())
        return float((roc_auc_score if name == "auroc" else average_precision_score)(y, score, sample_weight=weight))

    patient = np.concatenate([splits[0].sample.patient, splits[0].sample.num_patients + splits[1].sample.patient])
    found = case_mix(*splits, name)
    assert found.value == pytest.approx(of(np.arange(len(patient))), abs=1e-9)
    ratio = float(found.influence.error) / float(resampled_error(of, patient, draws))
    assert bound < ratio < 1 / bound


images = st.lists(
    st.tuples(st.integers(0, 4), st.booleans(), st.sampled_from([-2.0, -0.5, 0.0, 0.5, 3.0]), st.integers(1, 3)),
    min_size=2,
    max_size=25,
)


@settings(max_examples=60)
@given(images)
def test_the_influences_of_all_patients_sum_to_zero(rows: list[tuple[int, bool, float, int]]) -> None:
    patient, label, score, _ = map(np.array, zip(*rows, strict=True))
    ids = np.array([f"i{i}" for i in range(len(rows))], object)
    split = measured(
        ScoredSplit(
            "there",
            "test",
            "report",
            ids,
            np.array([f"p{i}" for i in patient], object),
            score[:, None].astype(np.float32),
            label[:, None].astype(np.int8),
        )
    )
    for key, of_patients in nonempty(split.influence.items()):
        total = of_patients.sum()  # NaN: unknown
        assert np.isnan(total) or abs(total) < 1e-9, key
        assert not np.isnan(total) or key.metric in {"mce", "ace", "spread"} or np.isnan(split.value[key][0]), key


@settings(max_examples=60)
@given(images)
def test_weights_of_images_count_as_copies_and_influences_are_derivatives(
    rows: list[tuple[int, bool, float, int]],
) -> None:
    patient, label, score, times = map(np.array, zip(*rows, strict=True))
    if label.all() or not label.any():
        return
    column = Column.of(patient.astype(np.int32), label.astype(np.int8), score)
    weight, copies = times[column.rows].astype(np.float64), np.repeat(np.arange(len(rows)), times)
    again = Column.of(patient[copies].astype(np.int32), label[copies].astype(np.int8), score[copies])
    for function, peer in (
        (Column.auroc, roc_auc_score),
        (Column.average_precision, average_precision_score),
    ):
        area, slope = function(column, weight)
        assert area == pytest.approx(function(again)[0], abs=1e-12)
        assert area == pytest.approx(peer(label[copies], score[copies]), abs=1e-12)
        of_copies = np.bincount(again.patient, function(again)[1], 5)
        np.testing.assert_allclose(np.bincount(column.patient, weight * slope, 5), of_copies, atol=1e-9)
        step = 1e-5
        for i in range(len(rows)):
            up, down = (function(column, weight + sign * step * (np.arange(len(rows)) == i))[0] for sign in (1, -1))
            assert slope[i] == pytest.approx((up - down) / (2 * step), abs=1e-6)


def test_images_of_weight_zero_change_nothing() -> None:
    draw = np.random.default_rng(3)
    label, score = (draw.random(60) < 0.4).astype(np.int8), draw.normal(size=60).round(1)
    column = Column.of(np.arange(60, dtype=np.int32), label, score)
    weight = (np.arange(60) >= 7).astype(np.float64)  # the highest scores have no weight
    for function in (Column.auroc, Column.average_precision):
        assert function(column, weight)[0] == pytest.approx(function(column.within(weight > 0))[0], abs=1e-12)
        assert np.isfinite(function(column, weight)[1]).all()
        assert np.isnan(function(column, np.zeros(60))[0])


def test_sums_differences_and_means_of_scores_have_those_of_their_influences() -> None:
    draw = np.random.default_rng(0)
    one, two = (Influence({"a": draw.normal(size=9), name: draw.normal(size=5)}) for name in "bc")
    total = one - two
    expected = ((one.of["a"] - two.of["a"]) ** 2).sum() + (one.of["b"] ** 2).sum() + (two.of["c"] ** 2).sum()
    assert total.error**2 == pytest.approx(expected)
    covariance = Influence.stack([one, two]).covariance
    assert covariance[0, 1] == pytest.approx((one.of["a"] * two.of["a"]).sum()), "different samples are independent"
    assert total.error**2 == pytest.approx(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert Influence.mean([one, two]).error == pytest.approx((0.5 * (one + two)).error)


def test_the_jackknife_of_a_mean_has_its_closed_form() -> None:
    draw = np.random.default_rng(1)
    value, group = draw.normal(size=400), in_groups(40, 9, draw)
    value = np.resize(value, len(group))
    mean, of_patients = influence.jackknife(lambda rows: value[rows].mean(), group, 40)
    exact = np.bincount(group, influence.ratio(value, np.ones(len(value)))[1])
    assert mean == pytest.approx(value.mean())
    np.testing.assert_allclose(error_of(of_patients), error_of(exact), rtol=0.06)
