"""Source classifiers: what they find where the truth is known, and what their controls find."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score, log_loss, roc_auc_score

from bench.analyses.shortcuts.evaluation import confusion, difference, judge, judge_repeats
from bench.analyses.shortcuts.sample import draw_sample, shuffled
from bench.analyses.shortcuts.source import Source, source_probe
from reports.schemas.tables import SCHEMAS

FINDINGS = ("No Finding", "Cardiomegaly", "Edema")


def cohorts(separation: float, num: int = 60, width: int = 20, prevalence: float = 0.0) -> dict[str, Source]:
    """Four hospitals whose features lie apart by `separation`, and whose findings are rarer or commoner by `prevalence`."""
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
    found, _ = source_probe(sources, FINDINGS, **options)
    assert (*found.columns,) == SCHEMAS["sources"][1:]
    return found.set_index(["probe", "control", "shots", "metric"])["value"].sort_index()


def test_sources_that_leave_a_trace_are_found_and_shuffled_ones_are_not() -> None:
    found, named = source_probe(cohorts(2.0), FINDINGS)
    clear = found.set_index(["probe", "control", "shots", "metric"]).loc[("features", "none", 0, "balanced_accuracy")]
    assert clear.value > 0.9
    assert clear.low <= clear.value <= clear.high
    assert (clear.chance, clear.num_sources, clear.n) == (0.25, 4, 240)
    value = found.set_index(["probe", "control", "shots", "metric"])["value"]
    assert value["features", "none", 0, "auroc"] > 0.95
    assert value["features", "none", 0, "bits"] < 0.6
    assert value["features", "shuffled", 0, "balanced_accuracy"] == pytest.approx(0.25, abs=0.1)
    assert value["features", "shuffled", 0, "auroc"] == pytest.approx(0.5, abs=0.1)
    assert value["features", "shuffled", 0, "bits"] > 1.9
    assert named.groupby("source")["share"].sum().tolist() == pytest.approx([1.0] * 4)
    assert named["count"].sum() == 240


def test_of_six_hospitals_shuffled_names_are_guessed_one_time_in_six() -> None:
    generator = np.random.default_rng(1)
    places = 3 * np.eye(6)
    sources = {
        f"hospital{k}": Source(
            generator.normal(size=(300, 6)) + places[k], np.array([f"p{i}" for i in range(300)], object)
        )
        for k in range(6)
    }
    found, _ = source_probe(sources)
    value = found[found["metric"] == "balanced_accuracy"].set_index(["probe", "control", "shots"])["value"]
    assert value["features", "none", 0] > 0.9
    assert value["features", "shuffled", 0] == pytest.approx(1 / 6, abs=0.03)


def test_features_without_a_trace_are_at_chance_however_many_teach_the_probe() -> None:
    value = numbers(cohorts(0.0))
    for shots in (0, 8):
        assert value["features", "none", shots, "balanced_accuracy"] == pytest.approx(0.25, abs=0.1)
        assert value["features", "none", shots, "bits"] > 1.9


def test_more_shots_tell_more() -> None:
    value = numbers(cohorts(0.6, num=90))
    assert value["features", "none", 32, "bits"] < value["features", "none", 8, "bits"]


def test_what_the_findings_alone_tell_is_told_by_the_labels_probe_and_taken_external_by_matching() -> None:
    sources = cohorts(0.0, num=480, prevalence=0.25)
    sources = {  # features that hold the labels and nothing of the hospital
        name: Source(np.tile(s.label_NF, 4) * 3.0 + s.feature_ND[:, :12], s.patient_id, s.label_NF, s.logit_NF)
        for name, s in sources.items()
    }
    value = numbers(sources, most=480).xs("balanced_accuracy", level="metric")
    assert value["labels", "none", 0] > 0.32
    assert value["features", "none", 0] > 0.3
    assert value["features", "matched", 0] < value["features", "none", 0]
    assert value["features", "matched", 0] == pytest.approx(0.25, abs=0.08)
    assert value["features", "no_finding", 0] == pytest.approx(0.25, abs=0.1)


def test_labels_that_a_source_never_states_tell_nothing() -> None:
    sources = cohorts(0.0)
    silent = sources["hospital2"]
    unstated = silent.label_NF.copy()
    unstated[:, 1:] = -1
    sources["hospital2"] = Source(silent.feature_ND, silent.patient_id, unstated, silent.logit_NF)
    assert numbers(sources)["labels", "none", 0, "balanced_accuracy"] == pytest.approx(0.25, abs=0.1)


def test_each_patient_gives_one_image_and_each_source_equally_many() -> None:
    sources = cohorts(1.0)
    few = sources["hospital0"]
    sources["hospital0"] = Source(few.feature_ND, np.array([f"p{i % 25}" for i in range(60)], object))
    found, _ = source_probe(sources)
    assert (found["n"] == 4 * 25).all()
    assert (source_probe(sources, most=22)[0]["n"] == 4 * 22).all()


def test_folds_part_patients_and_shuffling_keeps_every_fold_balanced() -> None:
    sample = draw_sample({name: s.patient_id for name, s in cohorts(1.0).items()})
    assert not isinstance(sample, str)
    assert len(set(sample.ids)) == len(sample.ids)
    for number in range(5):
        inside = sample.fold == number
        assert np.bincount(sample.source[inside]).tolist() == [12] * 4
        assert np.bincount(shuffled(sample, 0)[inside]).tolist() == [12] * 4


def test_the_probe_gives_the_same_numbers_for_the_same_seed() -> None:
    first, again = (source_probe(cohorts(0.5), FINDINGS, seed=3) for _ in range(2))
    for one, two in zip(first, again, strict=True):
        pd.testing.assert_frame_equal(one, two)


def test_a_source_with_too_few_patients_is_left_out_and_too_few_sources_give_a_reason() -> None:
    sources = cohorts(1.0)
    small = sources["hospital3"]
    sources["hospital3"] = Source(small.feature_ND[:5], small.patient_id[:5], small.label_NF[:5], small.logit_NF[:5])
    assert (source_probe(sources, FINDINGS)[0]["num_sources"] == 3).all()
    nothing, named = source_probe({"hospital0": sources["hospital0"]})
    assert nothing.empty
    assert named.empty
    assert (*nothing.columns,) == SCHEMAS["sources"][1:]
    assert "hospital0 60" in nothing.attrs["reason"]
    assert source_probe({})[0].empty


def test_features_that_are_not_finite_are_refused_and_constant_ones_are_not() -> None:
    sources = cohorts(1.0)
    sources["hospital1"].feature_ND[3, 4] = np.nan
    with pytest.raises(ValueError, match=r"1 of 4800 features"):
        source_probe(sources)
    flat = {name: Source(np.ones((60, 20)), s.patient_id) for name, s in cohorts(1.0).items()}
    assert numbers(flat)["features", "none", 0, "bits"] == pytest.approx(2.0, abs=0.01)


def test_numbers_equal_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    prob = rng.dirichlet(np.ones(3), 90)
    source = np.repeat(np.arange(3), 30)
    found = judge(prob, source, np.array([f"p{i}" for i in range(90)], object)).value
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(source, prob.argmax(1)))
    assert found["bits"] == pytest.approx(log_loss(source, prob) / np.log(2), rel=1e-5)
    assert found["auroc"] == pytest.approx(roc_auc_score(source, prob, multi_class="ovr", average="macro"))
    table = confusion(prob, source, ("a", "b", "c"))
    hits = table[table["source"] == table["named"]]["share"].mean()
    assert hits == pytest.approx(found["balanced_accuracy"])


def test_a_difference_of_equal_classifiers_is_nothing_and_of_a_better_one_is_clear() -> None:
    rng = np.random.default_rng(2)
    source, ids = np.repeat(np.arange(3), 40), np.array([f"p{i}" for i in range(120)], object)
    guess, sure = rng.dirichlet(np.ones(3), 120), np.eye(3)[source] * 0.9 + 0.1 / 3
    first, second = judge(sure, source, ids), judge(guess, source, ids)
    assert difference(first, first) == (0.0, 0.0, 0.0)
    value, low, high = difference(first, second)
    assert 0 < low < value < high


def test_repeats_of_one_classifier_are_that_classifier() -> None:
    rng = np.random.default_rng(3)
    source, ids = np.repeat(np.arange(3), 30), np.array([f"p{i}" for i in range(90)], object)
    prob = rng.dirichlet(np.ones(3), 90)
    once, often = judge(prob, source, ids), judge_repeats(np.stack([prob] * 4), source, ids)
    for metric in ("balanced_accuracy", "bits"):
        assert often.value[metric] == pytest.approx(once.value[metric], rel=1e-6)
        assert often.replicates[metric] == pytest.approx(once.replicates[metric], rel=1e-5)
