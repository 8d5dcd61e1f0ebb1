"""Sentences follow the numbers: clear, tied, one run, missing cohort, reversed sign."""

import math

import pytest

from reports.report_data.headline_rows import MISSING, Estimate
from reports.sections.learning import chosen_by, kept
from reports.sentences import data as data_sentences
from reports.sentences import gaps as gap_sentences
from reports.sentences import main_findings as sentences

CLEAR = Estimate(0.061, 0.05, 0.072)
UNCLEAR = Estimate(0.012, -0.01, 0.034)
GAIN = Estimate(-0.03, -0.05, -0.01)
FORBIDDEN = ("significant", "outperform", "SOTA", "no difference", "equal", "nan", "  ")


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ((24, 24, 0, 5), "All 24 networks read worse in hospitals they have never seen"),
        ((4, 4, 0, 5), "All four networks read worse in hospitals they have never seen"),
        ((2, 2, 0, 1), "Both networks read worse in a hospital they have never seen"),
        ((24, 21, 0, 5), "21 of 24 networks read worse in hospitals they have never seen; for three the data cannot tell"),
        ((4, 1, 1, 5), "One of four networks reads worse in hospitals they have never seen; one reads better; for two the data cannot tell"),
        ((4, 0, 0, 5), "For none of the four networks can the data tell whether it reads worse at external hospitals"),
        ((2, 0, 0, 5), "For neither network can the data tell whether it reads worse at external hospitals"),
        ((4, 0, 4, 5), "All four networks read better in hospitals they have never seen"),
        ((0, 0, 0, 5), "No network has a score at external hospitals"),
        ((3, 0, 0, 0), "Three networks at the internal hospital only: no other hospital was tested"),
        ((1, 0, 0, 0), "One network at the internal hospital only: no other hospital was tested"),
        ((0, 0, 0, 0), "No network has a score: no other hospital was tested"),
    ],
)  # fmt: skip
def test_the_headline_counts_only_runs_whose_simultaneous_interval_excludes_zero(counts, said):
    assert sentences.headline(*counts, phantom=False) == said


def test_a_phantom_headline_begins_with_on_synthetic_images():
    assert sentences.headline(4, 4, 0, 5, phantom=True).startswith("On synthetic images, all four networks")


@pytest.mark.parametrize(
    ("gap", "said"),
    [
        (CLEAR, "One network, no ranking: SE-ResNet reads worse at external hospitals"),
        (GAIN, "One network, no ranking: SE-ResNet reads better at external hospitals"),
        (UNCLEAR, "One network, no ranking: whether SE-ResNet reads worse at external hospitals, the data cannot tell"),
        (MISSING, "One network, no ranking: what SE-ResNet loses at external hospitals could not be measured"),
    ],
)
def test_one_run_has_no_ranking_and_its_verb_follows_its_interval(gap, said):
    assert sentences.headline(1, 0, 0, 5, False, sentences.one_run("SE-ResNet", gap)) == said


def test_the_mean_loss_names_the_hospitals_with_most_and_least_and_their_intervals():
    said = sentences.mean_loss(
        "CheXpert", 5, 24, CLEAR, [("BRAX", Estimate(0.1, 0.08, 0.12)), ("MIMIC-CXR", Estimate(0.02, 0.01, 0.03))]
    )
    assert said == (
        "Trained at CheXpert and tested unchanged at five others, they lose on average .061 of AUROC [.050, .072]. "
        "The measured loss is largest at BRAX, .100 [.080, .120], and smallest at MIMIC-CXR, .020 [.010, .030]."
    )


def test_a_mean_loss_whose_interval_holds_zero_cannot_be_told_from_none():
    assert "cannot be told from none" in sentences.mean_loss("CheXpert", 5, 4, UNCLEAR, [])


def test_a_negative_mean_loss_is_a_gain_with_a_positive_interval():
    assert "they gain on average .030 of AUROC [.010, .050]" in sentences.mean_loss("CheXpert", 5, 4, GAIN, [])


def test_no_cohort_external_is_said_before_anything_about_patients_or_scores():
    for num_runs in (0, 2):
        said = sentences.mean_loss("CheXpert", 0, num_runs, MISSING, [])
        assert said == "No other hospital was tested, so what is lost at external hospitals is not known."
        assert sentences.breaks([], 0, "", 0, num_runs) == "No other hospital was tested"


def test_no_shared_finding_is_the_reason_and_not_too_few_patients():
    headline = sentences.headline(0, 0, 0, 2, phantom=False, common=False)
    assert (
        headline
        == "No network has a score at external hospitals: no finding is labelled both there and at the internal hospital"
    )
    said = sentences.mean_loss("CheXpert", 2, 0, MISSING, [], common=False)
    assert said == "No finding is labelled both at CheXpert and at another hospital, so nothing can be compared."
    assert sentences.breaks([], 2, "", 0, 0, common=False) == "No finding is labelled both at internal and external"


def test_no_ranked_run_claims_nothing_about_runs_or_hospitals():
    assert sentences.mean_loss("CheXpert", 5, 0, MISSING, []).startswith("No run has a score at external hospitals")
    assert sentences.breaks([], 5, "", 0, 0) == "No run has a score at external hospitals"
    assert sentences.findings_lost([], 0, 0) == "No finding has a score both at internal and external"
    assert sentences.pareto([], 0) == "No run has a score at external hospitals to weigh against its cost"


def test_one_hospital_cannot_be_told_from_another():
    assert sentences.probe([0.9], 1.0, [], 1) == "There is one hospital, so there is no other to tell it from"


def test_too_few_patients_are_the_reason_where_there_are_runs_and_findings():
    assert "too few patients" in sentences.mean_loss("CheXpert", 5, 4, MISSING, [])


def test_an_unranked_run_says_why_and_what_it_has_at_internal():
    internal = Estimate(0.8, 0.7, 0.9)
    assert sentences.unranked("the loss was not finite", MISSING, 5, True) == "the loss was not finite"
    assert (
        sentences.unranked("", internal, 0, False)
        == "no other hospital was tested; at the internal hospital .800 [.700, .900]"
    )
    assert sentences.unranked("", internal, 2, False).startswith(
        "no finding is labelled both at internal and external; at the internal hospital"
    )
    assert sentences.unranked("", MISSING, 2, True) == "no score at external hospitals"


@pytest.mark.parametrize(
    ("gap", "said"),
    [
        (CLEAR, "excludes 0"),
        (GAIN, "excludes 0"),
        (UNCLEAR, "includes 0"),
        (Estimate(0.1, 0.0, 0.2), "includes 0"),
        (Estimate(0.1), ""),
        (MISSING, ""),
    ],
)
def test_where_zero_lies_follows_the_interval(gap, said):
    assert sentences.zero(gap) == said


def test_the_scatter_says_over_how_many_findings_it_compares():
    over = sentences.over_common(2, 2)
    assert sentences.below_line(4, 4, over) == (
        "All measured external means lie below the dashed line of equal reading, over the 2 findings both have"
    )
    assert sentences.below_line(1, 4, sentences.over_common(2, 9)).endswith("over the 2 to 9 findings both have")
    assert sentences.below_line(2, 2, "") == "Both measured external means lie below the dashed line of equal reading"


def test_every_label_source_has_its_words_and_synthetic_labels_are_called_so():
    said = data_sentences.label_sources(["radiologist", "report", "stated"], phantom=False)
    assert said == (
        "Where labels come from: radiologists; radiology reports, read by a labeller; labels as the table states them."
    )
    assert data_sentences.label_sources(["phantom"], phantom=True) == "Labels are those of the synthetic images."
    assert data_sentences.label_sources(["phantom"], phantom=False) == (
        "Where labels come from: labels of the synthetic images."
    )
    both = data_sentences.label_sources(["radiologist", "report"], phantom=True)
    assert both.startswith("Labels are those of the synthetic images, written the way a real cohort has them from")


def test_findings_left_out_are_named_with_the_runs_and_hospitals_they_concern():
    said = data_sentences.unlearnt({"a": ["Edema", "Pneumonia"], "b": ["Edema"]}, 2)
    assert said.endswith("left out of what is compared: Edema (every run) and Pneumonia (1 run).")
    assert data_sentences.unlearnt({"a": ["Edema"]}, 1).endswith("compared: Edema.")
    assert data_sentences.unlearnt({"a": []}, 3) == ""
    said = data_sentences.not_compared([("NIH-14", ["No Finding"]), ("BRAX", ["Edema", "Lung Lesion"]), ("X", [])])
    assert said.endswith("label it: NIH-14: No Finding; BRAX: Edema and Lung Lesion.")
    assert data_sentences.not_compared([]) == ""


def test_images_that_recur_under_another_patient_stand_beside_the_shared_patients():
    assert data_sentences.flow(10, 5, 0, 1).endswith("; 0 shared patients between splits")
    assert data_sentences.flow(10, 5, 0, 1, 3).endswith(
        "; 0 shared patients between splits, but 3 images whose pixels occur again in another split under another patient"
    )


def test_a_cohort_that_is_missing_leaves_the_sentence_about_the_others():
    said = sentences.mean_loss("CheXpert", 1, 4, CLEAR, [("NIH-14", CLEAR), ("BRAX", MISSING)])
    assert "one other" in said
    assert "BRAX" not in said


@pytest.mark.parametrize(
    ("tied", "runs", "part"),
    [
        (5, 24, "but five other runs cannot be told from it"),
        (1, 24, "but one other run cannot be told from it"),
        (3, 4, "but none of the others can be told from it"),
        (1, 2, "but the other run cannot be told from it"),
        (0, 24, "and no other run is tied with it"),
    ],
)
def test_the_first_run_is_never_called_best_without_saying_who_is_tied_with_it(tied, runs, part):
    said = sentences.best("RegNetY-4GF", Estimate(0.825, 0.816, 0.832), tied, 0.49, runs)
    assert said.startswith("RegNetY-4GF has the highest mean at external hospitals, .825 [.816, .832]")
    assert part in said
    assert said.endswith("it comes first in 49 % of the resamples.")


def test_a_chance_counted_over_resamples_is_never_certain():
    assert "first in more than 99 % of the resamples" in sentences.best("A", CLEAR, 0, 1.0, 5)
    assert "first in fewer than 1 % of the resamples" in sentences.best("A", CLEAR, 3, 0.0, 5)


def test_one_run_is_compared_with_nothing():
    assert "nothing to compare" in sentences.best("VGG", Estimate(0.7, 0.6, 0.8), 0, 1.0, 1)


def test_the_smallest_gap_says_when_it_cannot_be_told_from_none():
    assert (
        sentences.smallest_gap("VGG", UNCLEAR, True)
        == "It also has the smallest measured gap, .012 [−.010, .034], which cannot be told from none."
    )


def test_the_findings_sentence_names_only_findings_clear_in_every_run():
    assert sentences.findings_lost([("Edema", 0.3), ("Pneumonia", 0.1)], 7, 4) == (
        "The gap’s interval lies above 0 in every run for Edema (.300) and Pneumonia (.100); for the other seven the data cannot say so"
    )
    assert sentences.findings_lost([], 9, 1) == "For no finding does the gap’s interval lie above 0 in this run"


@pytest.mark.parametrize(
    ("costly", "said"),
    [
        (["A", "B"], "Every hospital costs something; B is the worst hospital of every run"),
        (["B"], "One of two hospitals clearly costs something; B is the worst hospital of every run"),
        ([], "No hospital clearly costs something; B is the worst hospital of every run"),
    ],
)
def test_only_hospitals_whose_interval_excludes_zero_cost_something(costly, said):
    assert sentences.breaks(costly, 2, "B", 4, 4) == said


def test_a_rank_correlation_is_not_given_for_few_runs():
    said = sentences.association(MISSING, 4, 8, 0.9)
    assert said == "Whether it goes with a larger gap cannot be said from four runs: a rank correlation needs eight"


def test_an_unclear_rank_correlation_says_what_would_have_shown():
    said = sentences.association(Estimate(-0.06, -0.59, 0.41), 24, 8, 0.41)
    assert (
        "not distinguishable (Spearman −.060 [−.590, .410]; with 24 runs only |ρ| above about .41 would show)" in said
    )


def test_a_clear_rank_correlation_never_says_because():
    assert "lose more (Spearman" in sentences.association(Estimate(0.6, 0.3, 0.8), 24, 8, 0.41)
    assert "lose less" in sentences.association(Estimate(-0.6, -0.8, -0.3), 24, 8, 0.41)


def test_calibration_is_called_worse_external_only_where_the_mean_drift_excludes_zero():
    unclear = gap_sentences.calibration("VGG", UNCLEAR, [])
    assert unclear.startswith(
        "Whether VGG is further from its word externally than at the internal hospital, the data cannot tell"
    )
    assert gap_sentences.calibration("VGG", CLEAR, [("NIH", 0.02), ("BRAX", 0.1)]) == (
        "VGG is further from its word externally than at the internal hospital: ECE +.061 [.050, .072] on average, +.100 at BRAX, the largest measured"
    )
    assert "nearer to its word external" in gap_sentences.calibration("VGG", GAIN, [("NIH", -0.1)])
    assert "could not be compared" in gap_sentences.calibration("VGG", MISSING, [])


def test_no_sentence_overclaims_or_shows_a_missing_number():
    nan = Estimate(math.nan)
    said = [
        sentences.headline(24, 21, 1, 5, phantom=False),
        sentences.mean_loss("CheXpert", 5, 24, nan, [("BRAX", nan)]),
        sentences.best("A", nan, 2, math.nan, 5),
        sentences.smallest_gap("A", nan, False),
        sentences.breaks(["A"], 3, "A", 2, 5),
        sentences.pareto(["A"], 5),
        sentences.probe([0.9], 0.2, [], 5),
        sentences.learning(5, 1, 5),
        data_sentences.flow(10, 5, 0, 1, 2),
        data_sentences.prevalence("", 0.0, "", ""),
        sentences.group_head(2, 5, "A"),
    ]
    assert not [(text, word) for text in said for word in FORBIDDEN if word in text.lower()]


def test_the_kept_epoch_names_the_set_that_chose_it() -> None:
    assert (
        kept({"val"})
        == "The dot is the epoch that was kept: the best at the internal hospital, on the validation split."
    )
    assert kept(set()) == kept({"val"})
    assert "radiologists labelled" in kept({"expert_valid"})
    assert kept({"val", "last"}).endswith("validation split; or, as the run says, the last.")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ('{"schedule": {"select_on": "expert_valid"}}', "expert_valid"),
        ('{"schedule": {"select_on": "val"}, "selection": "last"}', "last"),
        ('{"architecture": "a table of before"}', "val"),
        (None, "val"),
    ],
)
def test_what_chose_the_epoch_is_read_from_the_configuration(config: str | None, said: str) -> None:
    assert chosen_by({"config": config}) == said
