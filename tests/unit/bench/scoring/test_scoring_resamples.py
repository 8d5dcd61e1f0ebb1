import numpy as np
import pytest

from bench.scoring.bootstrap import bootstrap, intervals
from bench.scoring.bootstrap.resamples import LANES, Resamples, draw_index
from bench.scoring.metrics import auroc
from harmonize.seeds import stream


def test_each_replicate_has_as_many_patients_as_the_cohort_with_all_their_images() -> None:
    patient = np.repeat(np.array(["a", "b", "c", "d"], object), [1, 2, 3, 4])
    resamples = Resamples.draw(patient, 130, "x")
    for replicate in range(130):
        counts = resamples.counts(replicate)
        assert sum(counts[[0, 1, 3, 6]]) == 4
        assert all(len(set(counts[patient == name])) == 1 for name in "abcd")


def test_draws_depend_on_name_and_seed_and_not_on_the_order_of_images() -> None:
    patient = np.array([f"p{i}" for i in range(50)], object)
    order = np.random.default_rng(0).permutation(50)
    first, again = Resamples.draw(patient, 20, "nih"), Resamples.draw(patient[order], 20, "nih")
    for replicate in range(20):
        np.testing.assert_array_equal(first.counts(replicate)[order], again.counts(replicate))
    assert first.digest == again.digest
    other, reseeded = Resamples.draw(patient, 20, "brax"), Resamples.draw(patient, 20, "nih", seed=1)
    assert len({first.digest, other.digest, reseeded.digest}) == 3
    assert not np.array_equal(first.weight, other.weight)
    assert not np.array_equal(first.weight, reseeded.weight)


def test_the_first_replicates_do_not_depend_on_the_number_of_replicates() -> None:
    patient = np.arange(40).astype(object)
    few, many = Resamples.draw(patient, 10, "x"), Resamples.draw(patient, 200, "x")
    assert all(np.array_equal(few.counts(b), many.counts(b)) for b in range(10))


@pytest.mark.parametrize("bound", [1, 2, 3, 2**16 + 1, 2**31 + 1, 3 * 2**30, 2**32 - 1])
def test_an_index_is_drawn_as_numpy_draws_it(bound: int) -> None:
    halves = np.random.default_rng(bound).bit_generator.random_raw(1000).view(np.uint32)
    drawn = np.array([index for half in halves if (index := draw_index(half, bound)) >= 0])
    expected = np.random.default_rng(bound).integers(0, bound, len(drawn), np.uint32)
    np.testing.assert_array_equal(drawn, expected)
    assert len(drawn) == pytest.approx(2000 * (1 - 2**32 % bound / 2**32), abs=100)  # the others are rejected


@pytest.mark.parametrize("num_patients", [1, 2, 37, 4096, 5001])
def test_patients_are_drawn_as_numpy_draws_them(num_patients: int) -> None:
    """Also if several blocks of random numbers are needed, the last only partly."""
    generator = stream(3, "resamples", "x")
    resamples = Resamples.draw(np.arange(num_patients).astype(object), 70, "x", seed=3)
    for replicate in range(70):
        drawn = generator.integers(0, num_patients, num_patients, np.uint32)
        weight = resamples.weight[replicate // LANES, :, replicate % LANES]
        np.testing.assert_array_equal(weight, np.bincount(drawn, minlength=num_patients))
    assert not resamples.weight[1, :, 70 - LANES :].any()


def test_intervals_over_patients_are_twice_as_wide_as_over_images_when_patients_differ() -> None:
    # 150 patients x 6 images with a patient effect; plain loops of 500 and 4,000 replicates gave ratios of 2.19 and 2.34
    generator = np.random.default_rng(3)
    patient = np.repeat(np.arange(150), 6)
    effect = generator.normal(0, 1, 150)[patient]
    label = (generator.normal(0, 1, 150) > 0.5).astype(np.int8)[patient]
    score = (label + effect + generator.normal(0, 0.3, 900))[:, None]
    value = auroc(label, score[:, 0])
    assert value == pytest.approx(0.697, abs=0.001)
    widths = []
    for ids in (patient, np.arange(900)):
        replicates, _ = bootstrap.rank_metrics(Resamples.draw(ids, 1000, "w"), label[:, None], score)
        low, high = intervals.normal_interval(np.array([value]), replicates)
        widths.append(float(high[0] - low[0]))
        if ids is patient:
            np.testing.assert_allclose([low[0], high[0]], [0.616, 0.774], atol=0.02)
    assert 2.0 < widths[0] / widths[1] < 2.7


def test_an_interval_needs_ninety_five_percent_of_the_replicates() -> None:
    replicates = np.tile(np.linspace(0.4, 0.6, 100), (2, 1))
    replicates[0, :5] = np.nan
    replicates[1, :6] = np.nan
    low, high = intervals.normal_interval(np.array([0.5, 0.5]), replicates)
    assert np.isfinite([low[0], high[0]]).all()
    assert np.isnan([low[1], high[1]]).all()


def test_equal_replicates_give_no_interval() -> None:
    value, replicates = np.full(2, 0.3), np.full((2, 50), 0.3)
    for rule in (intervals.normal_interval, intervals.positive_interval):
        assert np.isnan(rule(value, replicates)).all()
    no_bias = np.zeros(2)
    assert np.isnan(intervals.distance_difference(value, replicates, no_bias, no_bias)).all()


def test_an_interval_of_a_loss_is_normal_on_the_logarithmic_scale_and_holds_more_often() -> None:
    draw = np.random.default_rng(0)
    held = {intervals.normal_interval: 0, intervals.positive_interval: 0}
    probability = np.array([0.02, 0.1, 0.3])
    truth = float((probability * (1 - probability)).mean())  # the Brier score of true probabilities
    for _ in range(400):
        own = draw.choice(probability, 60)
        loss = (own - (draw.random(60) < own)) ** 2
        value = np.array([loss.mean()])
        drawn = draw.multinomial(60, np.full(60, 1 / 60), 200) @ loss / 60
        for rule in held:
            (low,), (high,) = rule(value, drawn[None])
            held[rule] += low <= truth <= high
        assert [low, high] == pytest.approx(
            value[0] * np.exp(np.array([-1, 1]) * 1.959964 * drawn.std(ddof=1) / value[0])
        )
    assert held[intervals.positive_interval] >= max(0.93 * 400, held[intervals.normal_interval])


def test_a_nan_replicate_of_one_cell_does_not_move_the_mean() -> None:
    value = np.array([0.9, 0.5])
    replicates = np.repeat(value[:, None], 100, axis=1)
    replicates[0, :4] = np.nan
    mean, resampled = intervals.mean_of(value, replicates)
    assert mean == 0.7
    np.testing.assert_allclose(resampled, 0.7)
    replicates[0, :6] = np.nan
    assert np.isnan(intervals.mean_of(value, replicates)[1]).all()


def test_a_cell_without_value_is_left_out_of_the_mean() -> None:
    replicates = np.array([[np.nan] * 10, [0.5] * 10])
    mean, resampled = intervals.mean_of(np.array([np.nan, 0.5]), replicates)
    assert mean == 0.5
    assert (resampled == 0.5).all()
    nothing, all_nan = intervals.mean_of(np.full(2, np.nan), replicates)
    assert np.isnan(nothing)
    assert np.isnan(all_nan).all()


def test_the_interval_of_a_calibration_error_surrounds_the_estimate_and_is_never_negative() -> None:
    rng = np.random.default_rng(0)
    # replicates of an error that is all noise lie above the estimate; those of a large error lie around the estimate
    value = np.array([0.05, 0.05, 0.2, np.nan])
    replicates = np.stack([rng.normal(mean, 0.01, 1000) for mean in (0.05 * np.sqrt(2), 0.055, 0.2, 0.2)])
    low, high = intervals.distance_interval(value, replicates)
    assert low[0] == 0
    assert low[1] == pytest.approx(0.05 - (1 + np.sqrt(2)) * 0.005 - 0.0196, abs=0.002)
    assert high[:3] == pytest.approx(value[:3] + 0.0196, abs=0.002)
    assert np.isnan([low[3], high[3]]).all()


def test_the_interval_of_a_resolution_below_0_contains_it() -> None:
    replicates = np.random.default_rng(0).normal(0.004, 0.002, (1, 1000))
    low, high = intervals.distance_interval(np.array([-0.001]), replicates)
    assert low[0] == -0.001 < high[0]


def test_the_interval_of_a_difference_of_calibration_errors_allows_for_the_bias_of_each_error() -> None:
    """Equal excesses cancel in the replicates, but may belong to different biases: so both bounds move."""
    replicates = np.random.default_rng(0).normal(0, 0.01, 1000) + np.zeros((3, 1))
    first, second = np.array([0.02, 0.0, 0.02]), np.array([0.0, 0.02, 0.02])
    low, high = intervals.distance_difference(np.zeros(3), replicates, first, second)
    assert low == pytest.approx([-0.0679, -0.0196, -0.0679], abs=0.002)
    assert high == pytest.approx([0.0196, 0.0679, 0.0679], abs=0.002)


def test_the_excess_is_the_mean_of_the_valid_replicates_above_the_value() -> None:
    replicates = np.array([[0.3, 0.5, np.nan], [0.1, 0.1, 0.1]])
    np.testing.assert_allclose(intervals.excess(np.array([0.2, 0.1]), replicates), [0.2, 0.0], atol=1e-15)


def test_the_interval_of_a_calibration_error_ignores_a_few_missing_replicates_and_needs_most_of_them() -> None:
    replicates = np.linspace(0.1, 0.3, 100)[None].repeat(2, 0)
    replicates[0, 0], replicates[1, :50] = np.nan, np.inf
    low, high = intervals.distance_interval(np.full(2, 0.2), replicates)
    assert low[0] < 0.2 < high[0]
    assert np.isnan([low[1], high[1]]).all()
