"""Sentences match their numbers: clear results, ties, single runs, missing cohorts, reversed signs."""

import math
import re

import pytest

from reports.report_data.headline_rows import MISSING, Estimate
from reports.sections.learning import chosen_by, selected_epoch
from reports.sentences import data as data_sentences
from reports.sentences import gaps as gap_sentences
from reports.sentences import groups as group_sentences
from reports.sentences import main_findings as sentences
from reports.sentences import verdicts
from reports.summaries.source_classifiers import mistaken

CLEAR = Estimate(0.061, 0.05, 0.072)
UNCLEAR = Estimate(0.012, -0.01, 0.034)
GAIN = Estimate(-0.03, -0.05, -0.01)
LABEL = "SE-ResNet-10 (tiny) (seed 0)"
TWO = ["Pleural Effusion", "Lung Lesion"]
FORBIDDEN = ("significant", "outperform", "SOTA", "no difference", "equal", "nan", "  ")


def test_the_mean_gap_names_no_hospital():
    said = sentences.mean_gap("CheXpert", 2, 24, CLEAR, 2)
    assert said == (
        "Trained on CheXpert and tested without changes at 2 external hospitals, the networks lose .061 AUROC [.050, .072] on average."
    )


def test_a_mean_gap_whose_interval_includes_zero_is_not_distinguished_from_zero():
    assert "a mean gap in AUROC of .012 [−.010, .034] (unclear)." in sentences.mean_gap("CheXpert", 5, 4, UNCLEAR)


def test_a_negative_mean_gap_is_shown_as_a_positive_difference():
    assert "the networks gain .030 AUROC [.010, .050] on average" in sentences.mean_gap("CheXpert", 5, 4, GAIN)


def test_a_missing_external_cohort_is_stated_first():
    for num_runs in (0, 2):
        said = sentences.mean_gap("CheXpert", 0, num_runs, MISSING, [])
        assert said == "No external hospital was tested, so the generalization gap is unknown."
        assert sentences.hospitals_title(0, 0, num_runs) == "No external hospital was tested"


def test_no_shared_finding_is_the_reason_and_not_too_few_patients():
    said = sentences.mean_gap("CheXpert", 2, 0, MISSING, shared_findings=False)
    assert said == "CheXpert and the other hospitals label no finding in common, so nothing can be compared."
    assert (
        sentences.hospitals_title(0, 2, 0, shared_findings=False)
        == "Internal and external hospitals label no finding in common"
    )


def test_without_a_ranked_run_nothing_is_claimed_about_runs_or_hospitals():
    assert sentences.mean_gap("CheXpert", 5, 0, MISSING).startswith("No run is ranked")
    assert "too few patients" in sentences.mean_gap("CheXpert", 5, 4, MISSING)
    assert sentences.hospitals_title(0, 5, 0) == "No run is ranked"
    assert sentences.findings_title([], 0, 0, 0) == "No finding has both an internal and an external score"
    assert sentences.pareto_title([], 0) == "No run is ranked, so cost and AUROC cannot be compared"


def test_a_single_hospital_is_not_compared():
    assert (
        sentences.probe_title([0.9], [], 1.0, 1)
        == "There is only one hospital, so a source classifier has nothing to distinguish"
    )


def test_an_unranked_run_has_its_reason_and_its_internal_auroc():
    internal = Estimate(0.8, 0.7, 0.9)
    assert sentences.unranked_reason("the loss was not finite", MISSING, 5, True) == "the loss was not finite"
    assert (
        sentences.unranked_reason("", internal, 0, False)
        == "no external hospital was tested; internal AUROC (mean of all internally scored findings) .800 [.700, .900]"
    )
    assert sentences.unranked_reason("", internal, 2, False).startswith(
        "internal and external hospitals label no finding in common; internal AUROC"
    )
    assert sentences.unranked_reason("", MISSING, 2, True) == "no score at external hospitals"


@pytest.mark.parametrize(
    ("number", "word"),
    [
        (CLEAR, "clear"),
        (GAIN, "clear"),
        (UNCLEAR, "unclear"),
        (Estimate(0.1, 0.0, 0.2), "unclear"),
        (Estimate(0.1, 0.05, 0.15).simultaneous(-0.01, 0.21), "unclear after correction for multiple comparisons"),
        (Estimate(0.1, 0.05, 0.15).simultaneous(0.06, 0.14), "clear"),
        (Estimate(0.1, -0.05, 0.25).simultaneous(0.01, 0.19), "unclear"),
        (Estimate(0.1), ""),
        (MISSING, ""),
    ],
)
def test_the_verdict_follows_the_simultaneous_interval_which_is_never_the_narrower_one(number, word):
    assert verdicts.verdict(number) == word


def test_every_label_source_has_its_words_and_synthetic_labels_are_named():
    said = data_sentences.label_sources(["radiologist", "report", "stated"], phantom=False)
    assert said == (
        "Label sources: radiologists; radiology reports, labeled by a program; labels as given in the dataset."
    )
    assert (
        data_sentences.label_sources(["phantom"], phantom=True)
        == "The labels come from the program that draws the synthetic images."
    )
    assert data_sentences.label_sources(["phantom"], phantom=False) == (
        "Label sources: the program that draws the images."
    )
    both = data_sentences.label_sources(["radiologist", "report"], phantom=True)
    assert both.startswith("The labels come from the program that draws the synthetic images. Their form imitates")


def test_excluded_findings_are_named_with_their_runs_and_hospitals():
    said = data_sentences.not_learned({"a": ["Edema", "Pneumonia"], "b": ["Edema"]}, 2)
    assert said.endswith("is not compared: Edema (every run) and Pneumonia (1 run).")
    assert data_sentences.not_learned({"a": ["Edema"]}, 1).endswith("compared: Edema.")
    assert data_sentences.not_learned({"a": []}, 3) == ""


def test_duplicate_images_are_reported():
    assert data_sentences.image_flow(10, 5).endswith("; no patient in two splits")
    assert data_sentences.image_flow(10, 5, 3).endswith(
        "; no patient in two splits; 3 images have duplicates in another split under another patient id"
    )


@pytest.mark.parametrize(
    ("tied", "runs", "part"),
    [
        (5, 24, "5 other runs are tied with it"),
        (1, 24, "1 other run is tied with it"),
        (3, 4, "3 other runs are tied with it"),
        (1, 2, "1 other run is tied with it"),
        (0, 24, "0 other runs are tied with it"),
    ],
)
def test_the_first_run_is_never_called_best_without_its_ties(tied, runs, part):
    said = sentences.best_run("RegNetY-4GF", Estimate(0.825, 0.816, 0.832), tied, runs)
    assert said == f"RegNetY-4GF has the highest measured mean external AUROC, .825 [.816, .832]; {part}."


@pytest.mark.parametrize(
    ("lead", "tied", "words"),
    [
        (CLEAR, 0, ".061 [.050, .072], is clear: 0 other"),
        (UNCLEAR, 1, ".012 [−.010, .034], is unclear: 1 other"),
        (CLEAR, 1, ".061 [.050, .072], is unclear after correction for multiple comparisons: 1 other"),
    ],
)
def test_an_unclear_lead_whose_own_interval_excludes_zero_is_unclear_after_correction(lead, tied, words):
    assert f"Its lead over B, {words}" in sentences.best_run("A", CLEAR, tied, 2, lead=("B", lead))


def test_a_mean_over_some_of_the_hospitals_says_so():
    said = sentences.mean_gap("CheXpert", 5, 4, UNCLEAR, 2)
    assert (
        "at 5 external hospitals, the networks have a mean gap in AUROC of .012 [−.010, .034] (unclear) over 2 of them."
        in said
    )
    clear = sentences.mean_gap("CheXpert", 5, 4, CLEAR, 2)
    assert clear.endswith(" AUROC [.050, .072] on average over 2 of them.")


def test_a_rank_correlation_is_not_given_for_few_runs():
    assert (
        sentences.relation_power(4, 8, 0.9)
        == "A rank correlation of source classification with the gap needs at least 8 runs"
    )


def test_an_unclear_rank_correlation_states_the_detectable_size():
    said = sentences.probe_and_gap(Estimate(-0.06, -0.59, 0.41))
    assert said == "No clear relation to the gap (Spearman −.060 [−.590, .410])"
    assert sentences.relation_power(24, 8, 0.41) == "With 24 runs, only |ρ| above about .41 would show"


def test_a_clear_rank_correlation_never_says_because():
    assert "larger gap (Spearman" in sentences.probe_and_gap(Estimate(0.6, 0.3, 0.8))
    assert "smaller gap (Spearman" in sentences.probe_and_gap(Estimate(-0.6, -0.8, -0.3))


def test_external_calibration_is_called_worse_only_if_the_mean_drift_excludes_zero():
    assert gap_sentences.calibration(UNCLEAR, []).startswith("No clear change in calibration at external hospitals")
    assert (
        gap_sentences.calibration(CLEAR, [(0.1, 0.2), (0.2, 0.1)])
        == "Calibration is worse at external hospitals: mean change in ECE +.061 [.050, .072]"
    )
    assert gap_sentences.calibration(GAIN, []).startswith("Calibration is better at external hospitals")
    assert "change in calibration at external hospitals is unknown" in gap_sentences.calibration(MISSING, [])


def test_no_sentence_overclaims_or_shows_a_missing_number():
    nan = Estimate(math.nan)
    said = [
        sentences.mean_gap("CheXpert", 5, 24, nan),
        sentences.best_run("A", nan, 2, 5),
        sentences.hospitals_title(1, 3, 5),
        sentences.pareto_title(["A"], 5),
        sentences.probe_title([0.9], [], 0.2, 5),
        sentences.learning_title(5, 1, 5),
        data_sentences.image_flow(10, 5, 2),
        data_sentences.prevalence("", 0.0, "", ""),
        sentences.group_caption(2, 5, "A"),
    ]
    assert not [(text, word) for text in said for word in FORBIDDEN if word in text.lower()]


def test_the_selected_epoch_names_the_selecting_split() -> None:
    assert (
        selected_epoch({"val"}) == "Dot: the selected epoch, which is the best epoch on the internal validation split."
    )
    assert selected_epoch(set()) == selected_epoch({"val"})
    assert "labeled by radiologists" in selected_epoch({"expert_valid"})
    assert selected_epoch({"val", "last"}).endswith("validation split or, depending on the run, the last epoch.")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ('{"schedule": {"select_on": "expert_valid"}}', "expert_valid"),
        ('{"schedule": {"select_on": "val"}, "selection": "last"}', "last"),
        ('{"architecture": "a table of before"}', "val"),
        (None, "val"),
    ],
)
def test_the_selecting_split_is_read_from_the_configuration(config: str | None, said: str) -> None:
    assert chosen_by({"config": config}) == said


@pytest.mark.parametrize(
    "title",
    [
        sentences.hospitals_title(0, 5, 12, num_measured=3),
        sentences.hospitals_title(3, 5, 12, num_measured=4),
        sentences.findings_title(TWO, 2, 9, 12, "recipe"),
        sentences.scatter_title(11, 12, "recipe"),
        sentences.pareto_title([LABEL], 12, "recipe"),
        sentences.pareto_title([LABEL, LABEL], 12, "recipe"),
        sentences.probe_title([0.919, 0.951], [0.899, 0.947], 1 / 6, 6),
        sentences.probe_and_gap(CLEAR),
        gap_sentences.effective_robustness([LABEL], [LABEL, LABEL], 12, 12, "recipe"),
        gap_sentences.effective_robustness([LABEL], [], 12, 12, "recipe"),
        group_sentences.title([]),
    ],
)
def test_a_title_of_a_figure_has_at_most_twelve_words_with_long_labels(title):
    assert len(re.sub(r"\[[^]]*\]", "", title).split()) <= 12


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        ([[0.9, 0.1], [0.04, 0.96]], "Most common error (10 % of a hospital’s images): A classified as B"),
        (
            [[0.9, 0.104], [0.096, 0.9]],
            "Most common errors (each 10 % of a hospital’s images): A classified as B and B classified as A",
        ),
        ([[0.99, 0.01], [0.0, 1.0]], "Almost no image is assigned to another hospital"),
    ],
)
def test_the_most_common_error_names_every_error_with_the_printed_share(shares, said):
    rows = [
        (name, [(share, 0, i == j) for j, share in enumerate(row)])
        for i, (name, row) in enumerate(zip("AB", shares, strict=True))
    ]
    assert mistaken([{"heads": ["A", "B"], "rows": rows}]) == said
