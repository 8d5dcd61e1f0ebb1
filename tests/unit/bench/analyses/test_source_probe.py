"""Source classifiers and their controls on simulated hospitals with known differences."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score, log_loss, roc_auc_score

from bench.analyses.shortcuts.evaluation import confusion, difference, score_probe, score_repeats
from bench.analyses.shortcuts.sample import draw_sample, shuffled
from bench.analyses.shortcuts.source import Source, source_probe
from bench.scoring.influence import error_of
from bench.scoring.metrics import auroc
from reports.schemas.tables import SCHEMAS
from tests.nonempty import nonempty
from tests.resampled import in_groups, resampled_error

FINDINGS = ("No Finding", "Cardiomegaly", "Edema")


def cohorts(separation: float, num: int = 60, width: int = 20, prevalence: float = 0.0) -> dict[str, Source]:
    """Return four hospitals: `separation` is the distance of their features, `prevalence` the step between their prevalences."""
    generator = np.random.default_rng(0)
    out = {}
    for k in range(4):
        edema = generator.random(num) < 0.4 + prevalence * (k - 1.5)
        label = np.stack([~edema, np.zeros(num), edema], axis=1).astype(np.int8)
        feature = generator.normal(size=(num, width)) + separation * generator.normal(size=width)
        logit = generator.normal(size=(num, 3)) + 2 * label
        out[f"hospital{k}"] = Source(feature, np.array([f"p{i}" for i in range(num)], object), label, logit)
    return out


def numbers(sources: dict[str, Source], **options: int) -> "pd.Series[float]":
    """Return the value of each (probe, control, shots, metric)."""
    table, _ = source_probe(sources, FINDINGS, **options)
    assert (*table.columns,) == SCHEMAS["sources"][1:]
    return table.set_index(["probe", "control", "shots", "metric"])["value"].sort_index()


@pytest.mark.slow
def test_sources_with_distinct_features_are_identified_and_shuffled_sources_are_not() -> None:
    table, confusion_table = source_probe(cohorts(2.0), FINDINGS)
    clear = table.set_index(["probe", "control", "shots", "metric"]).loc[("features", "none", 0, "balanced_accuracy")]
    assert clear.value > 0.9
    assert clear.low <= clear.value <= clear.high
    assert (clear.chance, clear.num_sources, clear.n) == (0.25, 4, 240)
    value = table.set_index(["probe", "control", "shots", "metric"])["value"]
    assert value["features", "none", 0, "auroc"] > 0.95
    assert value["features", "none", 0, "bits"] < 0.6
    assert value["features", "shuffled", 0, "balanced_accuracy"] == pytest.approx(0.25, abs=0.1)
    assert value["features", "shuffled", 0, "auroc"] == pytest.approx(0.5, abs=0.1)
    assert value["features", "shuffled", 0, "bits"] > 1.9
    assert confusion_table.groupby("source")["share"].sum().tolist() == pytest.approx([1.0] * 4)
    assert confusion_table["count"].sum() == 240


@pytest.mark.slow
def test_shuffled_sources_of_six_hospitals_are_predicted_at_chance() -> None:
    generator = np.random.default_rng(1)
    centers = 3 * np.eye(6)
    sources = {
        f"hospital{k}": Source(
            generator.normal(size=(300, 6)) + centers[k], np.array([f"p{i}" for i in range(300)], object)
        )
        for k in range(6)
    }
    table, _ = source_probe(sources)
    value = table[table["metric"] == "balanced_accuracy"].set_index(["probe", "control", "shots"])["value"]
    assert value["features", "none", 0] > 0.9
    assert value["features", "shuffled", 0] == pytest.approx(1 / 6, abs=0.03)


@pytest.mark.slow
def test_features_without_source_information_are_at_chance_for_any_training_size() -> None:
    value = numbers(cohorts(0.0))
    for shots in (0, 8):
        assert value["features", "none", shots, "balanced_accuracy"] == pytest.approx(0.25, abs=0.1)
        assert value["features", "none", shots, "bits"] > 1.9


@pytest.mark.slow
def test_more_training_images_give_a_better_probe() -> None:
    value = numbers(cohorts(0.6, num=90))
    assert value["features", "none", 32, "bits"] < value["features", "none", 8, "bits"]


@pytest.mark.slow
def test_the_labels_probe_detects_differences_in_findings_and_matching_removes_them() -> None:
    sources = cohorts(0.0, num=480, prevalence=0.25)
    sources = {  # features with the labels and without the hospital
        name: Source(np.tile(s.label_NF, 4) * 3.0 + s.feature_ND[:, :12], s.patient_id, s.label_NF, s.logit_NF)
        for name, s in sources.items()
    }
    value = numbers(sources, per_source=480).xs("balanced_accuracy", level="metric")
    assert value["labels", "none", 0] > 0.32
    assert value["features", "none", 0] > 0.3
    assert value["features", "matched", 0] < value["features", "none", 0]
    assert value["features", "matched", 0] == pytest.approx(0.25, abs=0.08)
    assert value["features", "no_finding", 0] == pytest.approx(0.25, abs=0.1)


def test_labels_that_one_source_never_states_do_not_identify_it() -> None:
    sources = cohorts(0.0)
    unlabeled = sources["hospital2"]
    unstated = unlabeled.label_NF.copy()
    unstated[:, 1:] = -1
    sources["hospital2"] = Source(unlabeled.feature_ND, unlabeled.patient_id, unstated, unlabeled.logit_NF)
    assert numbers(sources)["labels", "none", 0, "balanced_accuracy"] == pytest.approx(0.25, abs=0.1)


@pytest.mark.slow
def test_sources_have_equally_many_images_and_one_per_patient() -> None:
    sources = cohorts(1.0)
    small = sources["hospital0"]
    sources["hospital0"] = Source(small.feature_ND, np.array([f"p{i % 25}" for i in range(60)], object))
    table, _ = source_probe(sources)
    assert (table["n"] == 4 * 25).all()
    assert (source_probe(sources, per_source=22)[0]["n"] == 4 * 22).all()


def test_folds_separate_patients_and_shuffling_keeps_every_fold_balanced() -> None:
    sample = draw_sample({name: s.patient_id for name, s in cohorts(1.0).items()})
    assert not isinstance(sample, str)
    assert len(set(sample.ids)) == len(sample.ids)
    for number in range(5):
        inside = sample.fold == number
        assert np.bincount(sample.source[inside]).tolist() == [12] * 4
        assert np.bincount(shuffled(sample, 0)[inside]).tolist() == [12] * 4


@pytest.mark.slow
def test_the_probe_is_reproducible_for_a_seed() -> None:
    first, second = (source_probe(cohorts(0.5), FINDINGS, seed=3) for _ in range(2))
    for a, b in nonempty(zip(first, second, strict=True)):
        pd.testing.assert_frame_equal(a, b)


@pytest.mark.slow
def test_a_source_with_too_few_patients_is_left_out_and_too_few_sources_give_a_reason() -> None:
    sources = cohorts(1.0)
    small = sources["hospital3"]
    sources["hospital3"] = Source(small.feature_ND[:5], small.patient_id[:5], small.label_NF[:5], small.logit_NF[:5])
    assert (source_probe(sources, FINDINGS)[0]["num_sources"] == 3).all()
    table, confusion_table = source_probe({"hospital0": sources["hospital0"]})
    assert table.empty
    assert confusion_table.empty
    assert (*table.columns,) == SCHEMAS["sources"][1:]
    assert "hospital0 60" in table.attrs["reason"]
    assert source_probe({})[0].empty


def test_nonfinite_features_are_rejected_and_constant_features_are_accepted() -> None:
    sources = cohorts(1.0)
    sources["hospital1"].feature_ND[3, 4] = np.nan
    with pytest.raises(ValueError, match=r"1 of 4800 values"):
        source_probe(sources)
    flat = {name: Source(np.ones((60, 20)), s.patient_id) for name, s in cohorts(1.0).items()}
    assert numbers(flat)["features", "none", 0, "bits"] == pytest.approx(2.0, abs=0.01)


def test_scores_equal_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    prob = rng.dirichlet(np.ones(3), 90)
    source = np.repeat(np.arange(3), 30)
    scores = score_probe(prob, source, np.array([f"p{i}" for i in range(90)], object)).value
    assert scores["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(source, prob.argmax(1)))
    assert scores["bits"] == pytest.approx(log_loss(source, prob) / np.log(2), rel=1e-5)
    assert scores["auroc"] == pytest.approx(roc_auc_score(source, prob, multi_class="ovr", average="macro"))
    table = confusion(prob, source, ("a", "b", "c"))
    hits = table[table["source"] == table["named"]]["share"].mean()
    assert hits == pytest.approx(scores["balanced_accuracy"])


def test_equal_classifiers_differ_by_zero_and_a_better_classifier_by_a_positive_amount() -> None:
    rng = np.random.default_rng(2)
    source, ids = np.repeat(np.arange(3), 40), np.array([f"p{i}" for i in range(120)], object)
    guess, sure = rng.dirichlet(np.ones(3), 120), np.eye(3)[source] * 0.9 + 0.1 / 3
    first, second = score_probe(sure, source, ids), score_probe(guess, source, ids)
    value, low, high = difference(second, second)
    assert value == 0
    assert -0.05 < low < 0 < high < 0.05
    value, low, high = difference(first, second)
    assert 0 < low < value < high


def test_the_difference_of_two_nearly_perfect_classifiers_holds_the_truth() -> None:
    """Of such samples, percentiles held it in 58 %, and half of them had no width."""
    rng = np.random.default_rng(5)
    source, ids = np.repeat([0, 1], 20), np.arange(40).astype(str).astype(object)
    held = 0
    for _ in range(80):
        correct = rng.random((2, 40)) < [[0.99], [0.98]]
        probs = np.where(correct[..., None], np.eye(2)[source], np.eye(2)[1 - source])
        _, low, high = difference(*(score_probe(prob, source, ids) for prob in probs))
        assert low < high
        held += low <= 0.01 <= high
    assert held >= 0.93 * 80


@pytest.mark.parametrize("accuracy", [0.5, 0.6])
def test_the_difference_of_two_classifiers_that_nearly_always_agree_holds_the_truth(accuracy: float) -> None:
    """With the correlation of the resamples alone, 61 to 79 % of such samples held it."""
    rng = np.random.default_rng(6)
    source, ids = np.repeat([0, 1], 30), np.arange(60).astype(str).astype(object)
    held = 0
    for _ in range(80):
        rank = rng.random(60)
        correct = rank < [[accuracy + 0.03], [accuracy]]
        probs = np.where(correct[..., None], np.eye(2)[source], np.eye(2)[1 - source])
        _, low, high = difference(*(score_probe(prob, source, ids) for prob in probs))
        held += low <= 0.03 <= high
    assert held >= 0.93 * 80


def test_repeats_of_one_classifier_have_its_scores() -> None:
    rng = np.random.default_rng(3)
    source, ids = np.repeat(np.arange(3), 30), np.array([f"p{i}" for i in range(90)], object)
    prob = rng.dirichlet(np.ones(3), 90)
    once, repeated = score_probe(prob, source, ids), score_repeats(np.stack([prob] * 4), source, ids)
    for metric in ("balanced_accuracy", "bits"):
        assert repeated.value[metric] == pytest.approx(once.value[metric], rel=1e-6)
        assert repeated.influence[metric][:90] == pytest.approx(once.influence[metric][:90], rel=1e-5, abs=1e-9)
        assert repeated.influence[metric][90:] == pytest.approx(0, abs=1e-9)


@pytest.mark.slow
def test_standard_errors_equal_those_of_resampled_patients() -> None:
    """Patients have 1 to 4 images, with equal probabilities among them, and images of several sources."""
    rng = np.random.default_rng(4)
    patient = in_groups(120, 4, rng)
    n = len(patient)
    source = np.where(rng.random(n) < 0.9, patient % 3, rng.integers(0, 3, n))
    own = rng.dirichlet(np.ones(3), 120)[patient]
    prob = np.maximum((0.5 * own + 0.3 * rng.dirichlet(np.ones(3), n) + 0.2 * np.eye(3)[source]).round(1), 0.05)

    def scores(rows: np.ndarray) -> list[float]:
        drawn = prob[rows], source[rows]
        areas = [auroc(drawn[1] == k, drawn[0][:, k]) for k in range(3)]
        hits, bits = drawn[0].argmax(1) == drawn[1], -np.log2(drawn[0][np.arange(len(rows)), drawn[1]])
        of_sources = [[x[drawn[1] == k].mean() for k in range(3)] for x in (hits, bits)]
        return [*np.mean(of_sources, 1), np.mean(areas)]

    expected = resampled_error(scores, patient)
    influence = score_probe(prob, source, patient.astype(str).astype(object)).influence
    error = [error_of(influence[metric]) for metric in ("balanced_accuracy", "bits", "auroc")]
    assert error / expected == pytest.approx(np.ones(3), abs=0.1)


@pytest.mark.slow
def test_repeats_add_the_variance_over_classifiers() -> None:
    rng = np.random.default_rng(5)
    source, ids = np.repeat([0, 1], 40), np.arange(80).astype(str).astype(object)
    hit = rng.random((6, 80)) < np.linspace(0.5, 0.95, 6)[:, None]
    hit &= rng.random(80) < 0.9
    prob = np.where(hit[..., None], np.eye(2)[source], np.eye(2)[1 - source])
    prob[np.arange(6), [3, 10, 11, 50, 60, 70]] = np.nan
    drawn = [
        np.mean([[np.nanmean(of[rows[source[rows] == k]]) for k in (0, 1)] for of in known[rng.integers(0, 6, 6)]])
        for known in [np.where(np.isnan(prob[..., 0]), np.nan, hit)]
        for rows in rng.integers(0, 80, (2000, 80))
    ]
    scores = score_repeats(prob, source, ids)
    assert error_of(scores.influence["balanced_accuracy"]) / np.std(drawn) == pytest.approx(1, abs=0.1)


def test_a_perfect_classifier_and_equal_probabilities_have_intervals_or_none_but_never_of_no_width() -> None:
    source, ids = np.repeat([0, 1], [1, 19]), np.arange(20).astype(str).astype(object)
    for prob in (np.eye(2)[source], np.full((20, 2), 0.5)):
        rows = score_probe(prob, source, ids).rows().set_index("metric")
        for metric in ("balanced_accuracy", "auroc"):
            assert 0 <= rows.loc[metric, "low"] < rows.loc[metric, "high"] <= 1
        assert np.isnan(rows.loc["bits", ["low", "high"]].to_numpy(float)).all(), "no patient has another value"
