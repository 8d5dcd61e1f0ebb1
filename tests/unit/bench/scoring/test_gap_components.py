"""Decomposition of gaps whose causes are simulated."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import average_precision_score, roc_auc_score

from bench.config.settings import Settings
from bench.scoring.area_intervals import ClassSizes
from bench.scoring.calibration_metrics import BinnedProbabilities, bin_of, weighted_ece
from bench.scoring.calibrators import sigmoid
from bench.scoring.column import Column
from bench.scoring.gaps import decomposition
from bench.scoring.gaps.case_mix import case_mix_factor, effective_numbers, mix_of, prevalence_factor
from bench.scoring.gaps.gap_component import GapComponent, GapComponents, mean, remainder, unknown
from bench.scoring.gaps.label_mappings import sensitivity
from bench.scoring.influence import Influence
from bench.scoring.metrics_of_split import OperatingPoints, measure
from bench.scoring.patient_groups import PatientGroups
from bench.scoring.score_run import RunScores, score_run
from bench.scoring.scored_split import ScoredSplit
from tests.nonempty import nonempty

QUICK = Settings()


def patient_groups(female: np.ndarray, age: np.ndarray) -> PatientGroups:
    """Return the patient attributes of the images; all views are PA."""
    sex = np.where(female, "F", "M").astype(object)
    return PatientGroups(sex, age.astype(float), np.full(len(sex), "PA", object), np.full(len(sex), "", object))


def part(
    dataset: str,
    split: str,
    seed: int,
    prevalence: float = 0.3,
    women: float = 0.5,
    harder: float = 0.0,
    num: int = 2500,
    reference: str = "report",
    shift: float = 0.0,
) -> ScoredSplit:
    """Return a split with one finding. Its logit is lower by `harder` in women and by `shift` in all images."""
    draw = np.random.default_rng(seed)
    female = draw.random(num) < women
    positive = draw.random(num) < prevalence
    logit = draw.normal(size=num) + positive * (1.8 - harder * female - shift)
    ids = np.array([f"{dataset}{split}{i}" for i in range(num)], object)
    patient = np.array([f"{dataset}{split}p{i // 2}" for i in range(num)], object)
    known = patient_groups(female, draw.integers(40, 60, num))
    return ScoredSplit(
        dataset,
        split,
        reference,
        ids,
        patient,
        logit[:, None].astype(np.float32),
        positive[:, None].astype(np.int8),
        patient_groups=known,
    )


def scored(
    *external: ScoredSplit, internal: ScoredSplit | None = None, settings: Settings = QUICK, **more: ScoredSplit
) -> RunScores:
    test = internal or part("internal", "test", 1, num=4000)
    return score_run(
        "r", ("Edema",), "internal", [part("internal", "val", 2, num=600), test, *more.values(), *external], settings
    )


def parts_of(
    found: RunScores, metric: str = "auroc", dataset: str = "external", finding: str = "macro"
) -> pd.DataFrame:
    table = found.detail["decomposition"]
    rows = table[(table["metric"] == metric) & (table["dataset"] == dataset) & (table["finding"] == finding)]
    return rows.set_index("part")


def test_a_simulated_difference_in_case_mix_explains_the_entire_gap() -> None:
    internal = part("internal", "test", 1, women=0.2, harder=1.5, num=6000)
    found = parts_of(scored(part("there", "all", 3, women=0.8, harder=1.5, num=6000), internal=internal))
    truth = found.loc["gap", "value"]
    assert truth > 0.08
    assert found.loc["case_mix", "low"] > 0
    assert found.loc["case_mix", "value"] == pytest.approx(truth, abs=0.03)
    assert abs(found.loc["remainder", "value"]) < 0.03
    assert found.loc["remainder", "low"] < 0 < found.loc["remainder", "high"]


def test_equal_case_mix_explains_nothing() -> None:
    internal = part("internal", "test", 1, women=0.5, harder=1.5, num=6000)
    found = parts_of(scored(part("there", "all", 3, women=0.5, harder=1.5, shift=0.8, num=6000), internal=internal))
    assert found.loc["gap", "value"] > 0.08
    assert abs(found.loc["case_mix", "value"]) < 0.01
    assert found.loc["case_mix", "low"] < 0 < found.loc["case_mix", "high"]
    assert found.loc["remainder", "value"] == pytest.approx(found.loc["gap", "value"], abs=0.01)


def test_a_lower_prevalence_reduces_precision_but_not_the_ranking() -> None:
    found = scored(part("there", "all", 3, prevalence=0.05, num=12000), internal=part("internal", "test", 1, num=12000))
    ranked, precise, calibrated = (parts_of(found, metric) for metric in ("auroc", "auprc", "ece"))
    assert ranked.loc["prevalence", "value"] == ranked.loc["prevalence", "low"] == 0
    assert abs(ranked.loc["gap", "value"]) < 0.02
    assert precise.loc["gap", "value"] > 0.2
    assert precise.loc["prevalence", "value"] == pytest.approx(precise.loc["gap", "value"], abs=0.03)
    assert calibrated.loc["prevalence", "value"] == pytest.approx(calibrated.loc["gap", "value"], abs=0.03)


def test_components_of_perfect_separations_have_widths_and_the_prevalence_never_changes_the_auroc() -> None:
    """No patient has an influence on a perfect separation."""
    perfect = [
        replace(p, logit=np.where(p.state == 1, 9, -9).astype(np.float32))
        for p in (part("internal", "test", 1, num=120), part("there", "all", 3, women=0.7, num=120))
    ]
    found = scored(perfect[1], internal=perfect[0])
    for metric, names in {
        "auroc": ("gap", "case_mix", "remainder"),
        "auprc": ("gap", "prevalence", "case_mix"),
    }.items():
        for finding in ("Edema", "macro"):
            rows = parts_of(found, metric, "there", finding).loc[list(names)]
            assert (rows["value"].abs() < 1e-12).all()
            assert (rows["low"] < -0.01).all()
            assert (rows["high"] > 0.01).all()
    prevalence = parts_of(found).loc["prevalence"]
    assert prevalence["low"] == prevalence["high"] == 0


@pytest.mark.slow
def test_the_remainder_of_nearly_perfect_separations_holds_the_truth_with_few_patients() -> None:
    """Percentiles held it in 87 % of these samples."""
    truth = float(norm.cdf(4.3 / np.sqrt(2)) - norm.cdf(3.5 / np.sqrt(2)))  # the case mix is the same at both hospitals
    held = []
    for seed in range(60):
        internal, external = (
            measure(part(name, "all", 2 * seed + i, num=120, shift=1.8 - distance), None, QUICK)
            for i, (name, distance) in enumerate((("internal", 4.3), ("there", 3.5)))
        )
        components = decomposition.of_hospital(internal, [], external, QUICK, {})["auroc"][0]
        low, high = components["remainder"].interval
        held.append(low <= truth <= high)
    assert np.mean(held) >= 0.93


def test_the_components_sum_to_the_gap_in_every_row() -> None:
    external = [part("first", "all", 3, women=0.8, harder=1.0, prevalence=0.1), part("second", "all", 4, shift=0.5)]
    expert = part("internal", "expert_test", 5, num=700, reference="radiologist", shift=0.4)
    strange = part("third", "all", 6, reference="radiologist")
    table = scored(*external, strange, expert=expert).detail["decomposition"]
    wide = table.set_index(["dataset", "metric", "finding", "part"])["value"].unstack()
    total = wide[["prevalence", "case_mix", "labels", "remainder"]].fillna(0).sum(axis=1)
    np.testing.assert_allclose(total, wide["gap"], rtol=0, atol=1e-12)
    assert len(wide) == 3 * 7


def test_the_decomposed_gap_equals_that_of_the_gap_table() -> None:
    found = scored(part("first", "all", 3, shift=0.5, num=800), part("second", "all", 4, num=800))
    gaps = found.gaps.set_index(["dataset", "finding"])
    for dataset in ("first", "second", "external"):
        row = parts_of(found, dataset=dataset).loc["gap"]
        assert row[["value", "low", "high"]].tolist() == pytest.approx(
            gaps.loc[(dataset, "macro"), ["value", "low", "high"]].tolist(), abs=1e-9
        )


def test_the_interval_of_a_calibration_gap_is_that_of_the_drift() -> None:
    found = scored(part("first", "all", 3, shift=0.5, num=800), part("second", "all", 4, num=900))
    drift = found.scores[found.scores["metric"] == "ece_drift"].query("calibrator == 'none'")
    for dataset, finding in (("first", "Edema"), ("first", "macro"), ("second", "macro"), ("external", "macro")):
        gap = parts_of(found, "ece", dataset, finding).loc["gap"]
        [row] = drift[(drift["dataset"] == dataset) & (drift["finding"] == finding)].itertuples()
        assert [gap.value, gap.low, gap.high] == pytest.approx([-row.value, -row.high, -row.low], abs=1e-12)


def test_each_component_of_a_calibration_gap_has_the_excess_of_both_errors_that_it_compares() -> None:
    internal, external = (
        measure(part(name, "all", seed, women=women, num=900), None, QUICK)
        for name, seed, women in (("internal", 1, 0.3), ("first", 3, 0.7))
    )
    components = decomposition.of_hospital(internal, [], external, QUICK, {})["ece"][0]
    gap, prevalence, case_mix = (components[name].excess for name in ("gap", "prevalence", "case_mix"))
    key = decomposition.METRICS["ece"]
    for measured, excess in zip((internal, external), gap, strict=True):
        assert excess == measured.excess[key][0]
        assert excess > 0, "noise increases calibration errors"
    assert prevalence[1] == gap[1]
    assert case_mix[1] == prevalence[0]
    assert components["remainder"].excess == pytest.approx((gap[0], case_mix[0]))
    unmatched = components | {"case_mix": unknown("age is not recorded")}
    mean_of_both = mean([components, unmatched | {"remainder": remainder(unmatched)}], sum)
    assert mean_of_both["remainder"].excess == pytest.approx((gap[0], prevalence[0]))


def test_a_mean_with_an_unmeasured_component_is_unknown_and_part_of_the_remainder() -> None:
    """Counted as 0, 140 of 180 unmeasured cells gave a precise case mix of nothing: -.001 [-.011, .008]."""
    draw = np.random.default_rng(5)

    def group(case_mix: float) -> GapComponents:
        def component(value: float) -> GapComponent:
            return GapComponent(value, Influence({"x": draw.normal(0, 0.01, 50)}), (value - 0.02, value + 0.03))

        names = {"gap": component(0.1), "prevalence": component(0.0), "labels": component(0.02)}
        of_mix = component(case_mix) if np.isfinite(case_mix) else unknown("not measured, because of age")
        return names | {"case_mix": of_mix}

    known, partial = (mean([group(value) for value in values], sum) for values in ((0.04, 0.02), (0.04, np.nan)))
    assert known["case_mix"].value == pytest.approx(0.03)
    assert 0.01 < known["case_mix"].interval[0] < 0.03 < known["case_mix"].interval[1] < 0.06, (
        "two independent findings"
    )
    for component in (known["gap"], known["remainder"], partial["remainder"]):
        assert component.interval[0] < component.value < component.interval[1]
    assert np.isnan(partial["case_mix"].interval).all()
    assert known["remainder"].value == pytest.approx(0.05)
    assert known["case_mix"].reason == ""
    assert np.isnan(partial["case_mix"].value)
    assert partial["case_mix"].reason == "measured for 1 of 2 findings"
    assert partial["case_mix"].num_findings == 1
    assert partial["remainder"].value == pytest.approx(0.08)
    of_hospitals = mean([known, partial], min, "pairs of finding and hospital")
    assert np.isnan(of_hospitals["case_mix"].value)
    assert of_hospitals["case_mix"].reason == "measured for 3 of 4 pairs of finding and hospital"
    assert of_hospitals["remainder"].value == pytest.approx(0.08)
    nothing = mean([group(np.nan), group(np.nan)], sum)
    assert nothing["case_mix"].reason == "not measured, because of age"


def test_internal_labels_by_radiologists_are_used_only_for_hospitals_that_radiologists_labeled() -> None:
    expert = part("internal", "expert_test", 5, num=3000, reference="radiologist", shift=0.7)
    read = part("read", "all", 6, reference="radiologist", shift=0.7, num=4000)
    found = scored(part("mined", "all", 3), read, expert=expert)
    labels = parts_of(found, dataset="read").loc["labels"]
    assert labels["reason"] == "measured on internal patients whose labels come from radiologists (expert_test)"
    assert labels["paired"] == 0
    assert labels["value"] == pytest.approx(parts_of(found, dataset="read").loc["gap", "value"], abs=0.03)
    assert np.isnan(parts_of(found, dataset="mined").loc["labels", "value"])
    rows = found.detail["references"]
    against = rows[rows["finding"] == "macro"].set_index(["split", "dataset"])
    assert set(against.index.get_level_values("split")) == {"test", "expert_test"}
    assert abs(against.loc[("expert_test", "read"), "value"]) < 0.04
    assert against.loc[("test", "read"), "external_reference"] == "radiologist"


def test_report_labels_of_the_same_external_images_are_used_before_other_internal_patients() -> None:
    expert = part("internal", "expert_test", 5, num=3000, reference="radiologist", shift=0.7)
    right = part("read", "all", 6, reference="radiologist", num=4000)
    state = right.state.copy()
    state[:600] = 1 - state[:600]  # the program that reads the reports is wrong in these images
    known = right.patient_groups
    assert known is not None
    read = replace(right, patient_groups=replace(known, mapped={"report": state}))
    found = scored(part("mined", "all", 3), read, expert=expert)
    labels = parts_of(found, dataset="read").loc["labels"]
    assert labels["reason"] == "measured on the same external images with their labels from reports"
    assert labels["paired"] == 1
    by_reports = roc_auc_score(state[:, 0], read.logit[:, 0]) - roc_auc_score(read.state[:, 0], read.logit[:, 0])
    assert labels["value"] == pytest.approx(by_reports, abs=1e-9)
    assert labels["high"] < 0
    assert np.isnan(parts_of(found, dataset="mined").loc["labels", "value"])
    assert not len(sensitivity("r", read, ("Edema",), QUICK))  # labels from reports are no label mapping
    internal = part("internal", "test", 1, num=4000, reference="radiologist")
    both = parts_of(scored(read, internal=internal), dataset="read")
    assert np.isnan(both.loc["labels", "value"])  # radiologists labeled both hospitals


def test_another_label_mapping_of_the_external_hospital_is_a_component_of_the_gap() -> None:
    there = part("there", "all", 3)
    state = there.state.copy()
    state[:300] = 1 - state[:300]
    known = there.patient_groups
    assert known is not None
    wrong = replace(
        there,
        state=state,
        patient_groups=PatientGroups(known.sex, known.age, known.view, known.device, {"strict": there.state}),
    )
    labels = parts_of(scored(wrong)).loc["labels"]
    right = parts_of(scored(there)).loc["gap", "value"]
    assert labels["reason"] == "measured by scoring the external hospital again with the strict label mapping"
    assert labels["paired"] == 1
    assert labels["value"] == pytest.approx(parts_of(scored(wrong)).loc["gap", "value"] - right, abs=1e-9)


def flipped(there: ScoredSplit, num: int, **readings: int) -> ScoredSplit:
    """Return the split with reversed labels in its first images, and in fewer or more images under other mappings."""

    def turned(num: int) -> np.ndarray:
        state = there.state.copy()
        state[:num] = 1 - state[:num]
        return state

    known = there.patient_groups
    assert known is not None
    mapped = {name: turned(num) for name, num in readings.items()}
    who = PatientGroups(known.sex, known.age, known.view, known.device, mapped)
    return replace(there, state=turned(num), patient_groups=who)


def test_the_closest_mapping_gives_the_labels_component_and_all_mappings_give_its_bounds() -> None:
    there = part("there", "all", 3)
    labels = parts_of(scored(flipped(there, 300, broad=600, strict=100))).loc["labels"]
    strict = parts_of(scored(flipped(there, 300, strict=100))).loc["labels"]
    broad = parts_of(scored(flipped(there, 300, broad=600))).loc["labels"]
    assert labels["reason"] == "measured by scoring the external hospital again with the strict label mapping"
    assert labels["value"] == strict["value"] == labels["most"] > 0
    assert labels["least"] == broad["least"] < 0


def test_a_looser_mapping_affects_only_the_bounds() -> None:
    found = parts_of(scored(flipped(part("there", "all", 3), 300, broad=600)))
    assert np.isnan(found.loc["labels", "value"])
    assert found.loc["labels", "reason"] == "not measured, because a stricter label mapping gives the same labels"
    assert found.loc["labels", "least"] < 0 == found.loc["labels", "most"]
    assert found.loc["remainder", "value"] == found.loc["gap", "value"] - found.loc["case_mix", "value"]


def test_both_hospitals_use_the_mapping_that_both_have() -> None:
    internal, there = (part(*place, num=3000) for place in (("internal", "test", 1), ("there", "all", 3)))
    alike = parts_of(scored(flipped(there, 400, strict=0), internal=flipped(internal, 400, strict=0))).loc["labels"]
    changes = [
        parts_of(scored(flipped(there, 400, strict=0), internal=flipped(internal, 400))).loc["labels", "value"],
        parts_of(scored(flipped(there, 400), internal=flipped(internal, 400, strict=0))).loc["labels", "value"],
    ]
    assert alike["reason"] == "measured by scoring both hospitals again with the strict label mapping"
    assert changes[0] > 0 > changes[1]
    assert alike["value"] == pytest.approx(sum(changes), abs=1e-12)


def test_missing_attributes_are_named_and_stay_in_the_remainder() -> None:
    there = part("there", "all", 3)
    nobody = np.full(len(there.image_id), "", object)
    there = replace(there, patient_groups=PatientGroups(nobody, np.full(len(nobody), np.nan), nobody, nobody))
    found = parts_of(scored(there), dataset="there", finding="Edema")
    assert np.isnan(found.loc["case_mix", "value"])
    assert (
        found.loc["case_mix", "reason"]
        == "not measured, because sex, age and view are not recorded at the external hospital"
    )
    assert found.loc["remainder", "value"] == found.loc["gap", "value"]


def test_too_few_similar_external_images_are_reported() -> None:
    found = parts_of(
        scored(part("there", "all", 3, women=0.998, num=3000), internal=part("internal", "test", 1, women=0.0)),
        dataset="there",
        finding="Edema",
    )
    assert found.loc["case_mix", "reason"].startswith(
        "not measured, because too few external images are like the internal images"
    )


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.booleans(), st.sampled_from([0.0, 0.1, 0.5, 0.9]), st.integers(0, 2)),
        min_size=2,
        max_size=30,
    ),
    st.lists(st.floats(0.1, 10), min_size=6, max_size=6),
)
def test_weighted_ranks_equal_scikit_learn_and_calibration_errors_the_loop_over_bins(
    rows: list[tuple[int, bool, float, int]], factor: list[float]
) -> None:
    patient, label, score, cell = (np.array(column) for column in zip(*rows, strict=True))
    if not 0 < label.sum() < len(label):
        return
    weight = np.array(factor)[2 * cell + label]
    column = Column.of(patient.astype(np.int32), label.astype(np.int8), score)
    own = weight[column.rows]
    assert column.auroc(own)[0] == pytest.approx(roc_auc_score(label, score, sample_weight=weight))
    assert column.average_precision(own)[0] == pytest.approx(
        average_precision_score(label, score, sample_weight=weight)
    )
    excess, where, own = weight * (label - score), bin_of(score, 15), own / own.sum()
    ece, *_ = weighted_ece(column.positive, BinnedProbabilities.of(column.score, 15), own, 15, column.patient, 4)
    assert ece == pytest.approx(sum(abs(excess[where == b].sum()) for b in range(15)) / weight.sum())


def test_precision_reweighted_to_the_internal_prevalence_equals_the_internal_precision() -> None:
    """Equal class-conditionals at prevalence .30 and .05: AUPRC .735 and .337, .738 when reweighted."""

    def sample(prevalence: float) -> tuple[np.ndarray, np.ndarray]:
        draw = np.random.default_rng(1)
        label = (draw.random(40000) < prevalence).astype(np.int8)
        return label, draw.normal(1.5 * label, 1)

    (internal, score_internal), (external, score) = sample(0.3), sample(0.05)
    totals = [np.bincount(label, minlength=2).astype(float) for label in (internal, external)]
    factor = prevalence_factor(*totals)
    column = Column.of(np.arange(len(external), dtype=np.int32), external, score)
    plain, weighted = (
        column.average_precision(weight)[0] for weight in (None, factor[external[column.rows].astype(int)])
    )
    assert plain == pytest.approx(0.337, abs=0.01)
    assert weighted == pytest.approx(0.738, abs=0.01)
    assert weighted == pytest.approx(average_precision_score(internal, score_internal), abs=0.01)


def test_case_mix_weights_match_the_internal_cells_of_each_label_and_are_at_most_ten() -> None:
    internal = np.array([10.0, 30.0, 30.0, 10.0])  # cells 0 and 1, negatives and positives in turn
    external = np.array([50.0, 10.0, 50.0, 10.0])
    factor = case_mix_factor(internal, external)
    assert (factor * external).sum() == pytest.approx(1)
    assert (factor * external).tolist() == pytest.approx([0.125, 0.375, 0.375, 0.125])
    assert effective_numbers(np.ones(4), external) == pytest.approx((20, 100))
    rare = case_mix_factor(np.array([1.0, 50.0, 99.0, 50.0]), np.array([99.0, 50.0, 1.0, 50.0]))
    assert rare[2] / rare[0] == pytest.approx(10 / (1 / 99))
    assert prevalence_factor(internal, external)[[0, 1]].tolist() == pytest.approx([0.5 / 100, 0.5 / 20])


def test_ece_by_label_uses_uncalibrated_probabilities_of_the_finding() -> None:
    draw, num_findings = np.random.default_rng(4), 3

    def several_findings(dataset: str, split: str, num: int) -> ScoredSplit:
        label = (draw.random((num, num_findings)) < (0.1, 0.3, 0.5)).astype(np.int8)
        logit = (draw.normal(size=label.shape) * (1, 2, 3) + label).astype(np.float32)
        patient = np.array([f"p{i}" for i in draw.integers(0, num // 2, num)], object)
        image = np.array([f"{dataset}{i}" for i in range(num)], object)
        return ScoredSplit(dataset, split, "report", image, patient, logit, label)

    points = OperatingPoints.choose(several_findings("internal", "val", 400), num_findings)
    settings = Settings(min_count=1)
    internal, external = (
        measure(each, points, settings)
        for each in (several_findings("internal", "test", 600), several_findings("external", "all", 900))
    )
    for k in nonempty(range(num_findings)):
        mix = mix_of(internal, external, k, settings.min_count)
        found = decomposition._weighted(
            "ece", internal, external, k, mix, mix.label, ClassSizes.of(external.images_of_patients[:, [k]]), 15
        )
        positive, prob = external.label[:, k] == 1, sigmoid(external.scored.logit[:, k])
        share = internal.label[:, k].mean()
        weight = np.where(positive, share / positive.sum(), (1 - share) / (~positive).sum())
        sums = np.bincount(bin_of(prob, 15), weight * (positive - prob), minlength=15)
        assert found.value == pytest.approx(np.abs(sums).sum(), abs=1e-12)
