"""Intervals, reasons and ranks of expected scores."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import t

from bench.extensions.estimates.expected_scores import (
    ExpectedDifferences,
    ExpectedValues,
    Macros,
    expected,
    half_widths,
    left_out,
    macros,
    sampling_variance,
    why_not_estimated,
    widening,
)
from bench.extensions.estimates.known_values import KnownValues
from bench.scoring.metrics import auroc
from tests.extensions.estimates.hospitals import known

Array = NDArray[np.float64]
GAP = "mean_gap"


def no_reason(values: KnownValues) -> NDArray[np.object_]:
    return np.full(values.internal.shape, "", object)


def of_truth(truth: Array, internal: float = 0.9) -> KnownValues:
    return KnownValues(np.full(truth.shape[1:], internal), truth, {})


def ranked(
    values: KnownValues, here: dict[str, Array] | None = None, name: str = "mean_gap", **options: bool
) -> Macros:
    none = no_reason(values)
    result = expected(name, values, here or {}, none)
    return macros(values, result, none == "", **options)


def test_half_widths_equal_the_formula_written_out() -> None:
    error = np.random.default_rng(0).normal(0, [0.02, 0.1], (5, 3, 2))
    error[1, 2, 0] = np.nan
    squares = [[e**2 for e in error[:, :, k].ravel() if np.isfinite(e)] for k in (0, 1)]
    pooled = np.mean(squares[0] + squares[1])
    for k in (0, 1):
        expected_half = np.sqrt((np.mean(squares[k]) + pooled) / 2) * t(df=8).ppf(0.95)
        assert half_widths(error)[k] == pytest.approx(expected_half, rel=1e-12)


def test_half_widths_need_two_hospitals_and_an_error_of_the_finding() -> None:
    error = np.full((3, 2, 2), 0.1)
    assert np.isnan(half_widths(error[:1])).all()
    assert np.isnan(half_widths(error[:0])).all()
    error[:, :, 1] = np.nan
    assert half_widths(error) == pytest.approx(np.array([0.1 * t(df=4).ppf(0.95), np.nan]), nan_ok=True)
    error[1:] = np.nan
    assert np.isnan(half_widths(error)).all()


def test_intervals_contain_about_90_percent_of_new_hospitals() -> None:
    inside = []
    for seed in range(60):
        draw = np.random.default_rng(seed)
        fall = draw.normal(0.1, 0.03, (7, 1, 4))
        truth = 0.85 - np.broadcast_to(fall, (7, 3, 4))
        values = KnownValues(np.full((3, 4), 0.85), truth[:6], {})
        result = expected(GAP, values, {}, no_reason(values))
        inside.append(((result.low <= truth[6]) & (truth[6] <= result.high)).mean())
    assert 0.85 <= np.mean(inside) <= 0.97


@pytest.mark.parametrize("num_hospitals", [3, 5])
def test_intervals_of_one_run_and_one_finding_hold(num_hospitals: int) -> None:
    draw, inside, num = np.random.default_rng(num_hospitals), 0, 400
    for _ in range(num):
        truth = 0.8 - 0.05 * draw.normal(size=(num_hospitals + 1, 1, 1))
        found = expected(GAP, of_truth(truth[1:], 0.8), {}, np.array([[""]], object))
        inside += bool((found.low <= truth[0]) & (truth[0] <= found.high))
    assert 0.87 <= inside / num <= 0.96


def test_one_finding_has_as_many_degrees_of_freedom_as_hospitals_minus_1() -> None:
    truth = np.array([0.7, 0.8, 0.75])[:, None, None]
    values = of_truth(truth, 0.75)
    error = (left_out(GAP, values) - values.truth).ravel()
    half = expected(GAP, values, {}, no_reason(values)).half.item()
    assert half == pytest.approx(np.sqrt((error**2).mean()) * t(df=2).ppf(0.95))


def test_the_internal_hospital_is_one_more_hospital_for_the_bound_on_its_side() -> None:
    error = np.random.default_rng(0).normal(0, 0.03, (5, 2, 3))
    value = np.full((2, 3), 0.6)
    internal = np.array([[0.95, 0.62, 0.3], [np.nan, 0.61, 0.6]])
    growth = np.array([[1.0, 2.0, 1.5], [1.0, 1.0, 1.0]])
    wrong, away = value - internal, internal - value
    extra = ExpectedValues.toward_internal(error, wrong, away, growth)
    with_internal = half_widths(np.concatenate([error, (value - internal)[None]])) * growth
    half = half_widths(error) * growth
    assert extra[0, 0] == pytest.approx(with_internal[0, 0] - half[0, 0])  # the upper bound, below the internal value
    assert 0 < extra[0, 0] < 0.35 - half[0, 0]
    assert extra[0, 2] == pytest.approx(-(min(with_internal[0, 2], 0.3) - half[0, 2]))  # the lower bound
    # the interval contains the internal value anyway, or there is none
    assert extra[0, 1] == 0
    assert (extra[1] == 0).all()
    # the estimator is right at the internal hospital
    assert (ExpectedValues.toward_internal(error, 0 * wrong, away, growth) == 0).all()
    near = ExpectedValues.toward_internal(error, value - 0.75, 0.75 - value, 3 * growth)
    assert (
        0.6 + half_widths(error) * 3 * growth + near <= np.maximum(0.75, 0.6 + half_widths(error) * 3 * growth)
    ).all()
    error[:, :, 0] = np.nan
    assert (ExpectedValues.toward_internal(error, wrong, away, growth)[:, 0] == 0).all()
    assert (ExpectedValues.toward_internal(error[:1], wrong, away, growth) == 0).all()


def test_intervals_contain_scores_of_a_hospital_where_a_shortcut_of_the_internal_hospital_works() -> None:
    inside, plain, usual = [], [], []
    for seed in range(40):
        draw = np.random.default_rng(seed)
        fall = draw.normal([0.3, 0.05, 0.05, 0.05], 0.03, (7, 1, 4)) * np.ones((7, 2, 1))
        fall[6, :, 0] -= 0.1  # the shortcut works a third as often as at the internal hospital
        internal = np.full((2, 4), 0.92)
        values = of_truth(internal - fall[:6], 0.92)
        result = expected(GAP, values, {}, no_reason(values))
        truth = internal - fall[6]
        inside.append(((result.low <= truth) & (truth <= result.high))[:, 0].mean())
        plain.append((np.abs(truth - result.value) <= result.half)[:, 0].mean())
        usual.append(np.abs(result.extra)[:, 1:].mean())
    assert np.mean(inside) >= 0.85
    assert np.mean(plain) < 0.5
    assert np.mean(usual) < 0.01  # findings with a small gap


def test_bounds_are_within_0_and_1() -> None:
    result = ExpectedValues(
        np.array([[0.02, 0.98]]),
        np.array([[0.1, 0.1]]),
        np.zeros((1, 2)),
        np.array([["", ""]], object),
        np.empty((0, 1, 2)),
        np.zeros((1, 2)),
        np.ones((1, 2)),
    )
    assert result.low == pytest.approx(np.array([[0.0, 0.88]]))
    assert result.high == pytest.approx(np.array([[0.12, 1.0]]))
    assert result.stated.all()


def test_each_cell_without_a_number_has_its_reason() -> None:
    truth = np.full((4, 2, 3), 0.8)
    truth[:2, :, 1] = np.nan  # two labeled hospitals
    truth[:, :, 2] = np.nan  # none
    truth[:, :, 0] += [[0.001], [0.0], [-0.001], [0.0]]
    values = of_truth(truth)
    result = expected(GAP, values, {}, no_reason(values))
    assert (result.reason[:, 0] == "").all()
    assert result.value[:, 0] == pytest.approx(0.8)
    assert (result.reason[:, 1] == "2 of 3 labeled hospitals needed").all()
    assert (result.reason[:, 2] == "0 of 3 labeled hospitals needed").all()


def test_a_reason_that_is_known_already_is_kept_unless_hospitals_are_missing() -> None:
    values, before = of_truth(np.full((3, 1, 1), 0.8)), np.array([["few images"]], object)
    assert expected(GAP, values, {}, before).reason.item() == "few images"
    assert expected(GAP, values.without(0), {}, before).reason.item() == "2 of 3 labeled hospitals needed"
    assert before.item() == "few images"


def test_an_estimator_without_a_value_says_so() -> None:
    values = known()
    result = expected("cbpe", values, {}, no_reason(values))
    assert np.isnan(result.value).all()
    assert set(result.reason.ravel()) == {"the estimator has no value"}
    assert not result.stated.any()


def test_too_few_images_are_a_reason_for_every_cell() -> None:
    values = known()
    both = {"auroc": values, "prevalence": values}
    here = {name: {key: value[0] for key, value in values.estimates.items()} for name in both}
    assert set(why_not_estimated(both, here, 49).ravel()) == {"49 of 50 images needed"}
    assert set(why_not_estimated(both, here, 50).ravel()) == {""}


@pytest.mark.parametrize("quantity", ["auroc", "prevalence"])
def test_logits_outside_the_widened_range_of_the_labeled_hospitals_are_a_reason(quantity: str) -> None:
    labeled = np.array([0.4, 0.5, 0.6]).reshape(3, 1, 1) * np.ones((3, 2, 5))
    labeled[:, :, 4] = np.nan
    usual = KnownValues(np.full((2, 5), 0.8), np.full((3, 2, 5), 0.8), {"cbpe": labeled})
    both = {"auroc": usual, "prevalence": usual}
    inside = np.array([[0.36, 0.64, 0.5, 0.5, 0.1], [0.5, 0.5, 0.5, 0.5, np.nan]])
    here = {name: {"cbpe": inside} for name in both}
    assert set(why_not_estimated(both, here, 60).ravel()) == {""}
    here[quantity] = {"cbpe": np.array([[0.34, 0.5, 0.5, 0.5, 0.1], [0.34, 0.66, 0.5, np.nan, 0.5]])}
    unlike = why_not_estimated(both, here, 60) == "logits unlike those at the labeled hospitals"
    # one of four findings of the first run is outside, and two of four of the second run, so all its findings count
    assert unlike.tolist() == [[True, False, False, False, False], [True, True, True, True, False]]
    one = {name: values.without(0).without(0) for name, values in both.items()}
    assert set(why_not_estimated(one, here, 60).ravel()) == {""}  # one hospital has no range


def test_a_run_that_is_better_by_far_is_alone_at_rank_1() -> None:
    fall = np.random.default_rng(0).uniform(0.05, 0.1, (6, 1, 3))
    own = 0.002 * np.random.default_rng(1).normal(size=(6, 4, 3))
    values = KnownValues(np.array([0.7, 0.95, 0.8, 0.8])[:, None] * np.ones(3), np.zeros((6, 4, 3)), {})
    values = replace(values, truth=values.internal - fall + own)
    found = ranked(values)
    assert found.best.tolist() == [False, True, False, False]
    assert (found.rank_low.tolist(), found.rank_high.tolist()) == ([4, 1, 2, 2], [4, 1, 3, 3])
    worst = ranked(values, smallest_first=True)
    assert worst.best.tolist() == [True, False, False, False]
    assert worst.rank_high.tolist() == [1, 4, 3, 3]


def test_equal_runs_share_their_ranks_and_noise_separates_no_runs() -> None:
    truth = 0.8 - np.random.default_rng(0).uniform(0, 0.1, (5, 1, 2)) * np.ones((5, 3, 2))
    found = ranked(of_truth(truth))
    assert found.best.all()
    assert set(found.rank_high) == {3}
    noisy = known(noise=0.1, seed=3)
    assert ranked(noisy).best.sum() > 1


def test_a_common_error_of_all_runs_does_not_hide_their_order() -> None:
    fall = np.random.default_rng(0).uniform(0.0, 0.4, (5, 1, 2))  # hospitals differ much, runs do not
    internal = np.array([0.8, 0.85])[:, None] * np.ones(2)
    found = ranked(KnownValues(internal, internal - fall, {}))
    assert (found.value - found.low > 0.2).all()
    assert found.best.tolist() == [False, True]


def test_the_mean_is_over_findings_with_a_value_for_every_run() -> None:
    values = known(num_hospitals=5, num_findings=4, noise=0.01)
    values.truth[:3, :, 1] = np.nan  # two hospitals
    none = no_reason(values)
    none[2, 3] = "logits unlike those at the labeled hospitals"
    result = expected(GAP, values, {}, none)
    found = macros(values, result, none == "")
    assert found.findings == (0, 2)
    assert found.value == pytest.approx(result.value[:, [0, 2]].mean(1))
    error = (left_out(GAP, values) - values.truth)[:, :, [0, 2]].mean(2)
    assert found.value - found.low == pytest.approx(np.sqrt((error**2).mean()) * t(df=8).ppf(0.95))


def test_without_findings_there_is_no_mean_and_no_order() -> None:
    values = known(num_hospitals=2)
    found = ranked(values)
    assert found.findings == ()
    assert np.isnan(found.value).all()
    assert np.isnan(found.low).all()
    assert np.isnan(found.high).all()
    assert found.best.all()
    assert set(found.rank_high) == {len(values.internal)}


def test_one_run_has_rank_1() -> None:
    found = ranked(known(num_runs=1, noise=0.01))
    assert (found.rank_low.tolist(), found.rank_high.tolist()) == ([1], [1])


def described(values: KnownValues, prevalence: Array, auroc: Array) -> dict[str, KnownValues]:
    """Return what is known if `cbpe` describes the logits of the labeled hospitals [H, R, K] in this way."""
    return {
        "auroc": KnownValues(values.internal, values.truth, {"cbpe": auroc}),
        "prevalence": KnownValues(values.internal, np.full(values.truth.shape, 0.2), {"cbpe": prevalence}),
    }


def test_intervals_are_as_many_times_wider_as_the_logits_are_standard_deviations_away() -> None:
    values = known(num_hospitals=3, num_runs=2, num_findings=2, noise=0.02)
    three = np.array([0.1, 0.2, 0.3])[:, None, None] + np.zeros((3, 2, 2))  # mean .2, standard deviation .1
    of = described(values, three, three + 0.4)
    at_mean = {"prevalence": {"cbpe": np.full((2, 2), 0.2)}, "auroc": {"cbpe": np.full((2, 2), 0.6)}}
    assert widening(of, at_mean).tolist() == [[1, 1], [1, 1]]
    far = {**at_mean, "prevalence": {"cbpe": np.array([[0.8, 0.2], [0.2, 0.25]])}}  # 6 and .5 standard deviations
    own, other = np.sqrt((18 + 9) / 2), np.sqrt((0 + 9) / 2)  # means over 2 quantities and over 2 findings
    assert widening(of, far) == pytest.approx(np.array([[own, other], [1.0, 1.0]]))
    differing = ExpectedDifferences.of(GAP, of, far, [100_000] * 3, 100_000)
    plain = expected(GAP, of["auroc"], {}, no_reason(values))
    wide = expected(GAP, of["auroc"], {}, no_reason(values), quantity="auroc", differing=differing)
    assert wide.half / plain.half == pytest.approx(differing.widening, rel=0.02)
    assert wide.half == pytest.approx(half_widths(wide.error) * wide.growth)


def test_hospitals_without_a_description_or_without_spread_do_not_widen() -> None:
    values = known(num_hospitals=3)
    here: dict[str, dict[str, Array]] = {"prevalence": {}, "auroc": {}}
    nothing = {name: KnownValues(values.internal, values.truth, {}) for name in here}
    assert (widening(nothing, here) == 1).all()
    constant = np.full(values.truth.shape, 0.3)
    new = {name: {"cbpe": constant[0] + 0.1} for name in here}
    assert (widening(described(values, constant, constant), new) == 1).all()
    missing = np.full(values.truth.shape, np.nan)
    assert (widening(described(values, missing, missing), new) == 1).all()


@pytest.mark.slow
def test_the_sampling_variance_is_that_of_drawn_hospitals() -> None:
    draw, share, num, distance = np.random.default_rng(0), 0.15, 200, 1.2
    drawn: dict[str, list[float]] = {}
    for _ in range(2000):
        label = (draw.random(num) < share).astype(np.int8)
        logit = draw.normal(distance * label)
        called = logit > 0.6
        scores = {
            "auroc": auroc(label, logit),
            "sensitivity": called[label == 1].mean(),
            "specificity": 1 - called[label == 0].mean(),
            "accuracy": (called == label).mean(),
            "prevalence": label.mean(),
        }
        for quantity, value in scores.items():
            drawn.setdefault(quantity, []).append(value)
    for quantity, values in drawn.items():
        variance = sampling_variance(quantity, np.array([np.mean(values)]), np.array([share]), np.array([num]))
        # Hanley and McNeil assume exponential densities: for two normal densities, their value is up to a fifth too large
        most = 1.2 if quantity == "auroc" else 1.07
        assert 0.93 <= np.sqrt(variance[0]) / np.std(values) <= most, quantity


def test_few_images_widen_the_interval_and_many_images_make_it_narrower() -> None:
    draw = np.random.default_rng(3)
    truth = 0.8 + draw.normal(
        0, np.sqrt(sampling_variance("auroc", np.array(0.8), np.array(0.2), np.array(400.0))), (6, 2, 3)
    )
    values = KnownValues(np.full((2, 3), 0.8), truth, {})
    of = {"auroc": values, "prevalence": KnownValues(np.full((2, 3), 0.2), np.full(truth.shape, 0.2), {})}
    here: dict[str, dict[str, Array]] = {"auroc": {}, "prevalence": {}}

    def half(images: int) -> float:
        differing = ExpectedDifferences.of(GAP, of, here, [400] * 6, images)
        result = expected(GAP, values, {}, no_reason(values), quantity="auroc", differing=differing)
        mean = macros(values, result, no_reason(values) == "")
        assert mean.value - mean.low == pytest.approx(
            half_widths(result.error.mean(2, keepdims=True))[0] * np.sqrt((result.growth**2).mean(1))
        )
        return float(result.half.mean())

    plain = float(expected(GAP, values, {}, no_reason(values)).half.mean())
    assert half(400) == pytest.approx(plain, rel=0.15)
    assert half(100) > 1.5 * plain
    assert plain > half(100_000) > 0.4 * plain  # at least a quarter of the mean square error remains


def test_intervals_contain_measured_scores_of_hospitals_with_fewer_images() -> None:
    inside: list[float] = []
    plain: list[float] = []
    for seed in range(60):
        draw = np.random.default_rng(seed)
        num, share = np.array([800.0] * 6 + [150.0])[:, None, None], 0.1
        fair = 0.85 - draw.normal(0.1, 0.01, (7, 1, 4)) + np.zeros((7, 3, 4))
        truth = fair + draw.normal(size=(7, 1, 4)) * np.sqrt(sampling_variance("auroc", fair, np.array(share), num))
        values = KnownValues(np.full((3, 4), 0.85), truth[:6], {})
        of = {"auroc": values, "prevalence": KnownValues(np.full((3, 4), share), np.full((6, 3, 4), share), {})}
        differing = ExpectedDifferences.of(GAP, of, {"auroc": {}, "prevalence": {}}, [800] * 6, 150)
        wide = expected(GAP, values, {}, no_reason(values), quantity="auroc", differing=differing)
        usual = expected(GAP, values, {}, no_reason(values))
        for into, result in ((inside, wide), (plain, usual)):
            into.append(float((np.abs(result.value - truth[6]) <= result.half).mean()))
    assert 0.86 <= np.mean(inside) <= 0.98
    assert np.mean(plain) < 0.75


def test_the_mean_gap_is_the_internal_value_plus_the_mean_change() -> None:
    inside = np.array([[0.9, 0.8]])
    truth = np.array([[[0.8, 0.75]], [[0.7, np.nan]]])
    assert KnownValues(inside, truth, {}).mean_gap() == pytest.approx(np.array([[0.75, 0.75]]))
    assert KnownValues(np.array([[0.1]]), np.array([[[0.0]], [[0.2]]]) - 0.3, {}).mean_gap().item() == 0.0
    assert np.isnan(KnownValues(inside, np.full((2, 1, 2), np.nan), {}).mean_gap()).all()


@pytest.mark.parametrize("name", ["mean_gap", "cbpe", "atc"])
def test_the_truth_of_the_hospital_that_is_left_out_has_no_effect_on_its_estimates(name: str) -> None:
    values = known()
    before = left_out(name, values)[2].copy()
    values.truth[2] = 0.123
    assert np.array_equal(left_out(name, values)[2], before, equal_nan=True)
