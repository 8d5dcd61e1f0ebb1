"""The sections on gap components, effective robustness, and patient groups."""

import re
from types import SimpleNamespace

import pandas as pd
import pytest
import synthetic

from reports.page import render
from reports.report_data.headline_rows import Estimate
from reports.report_data.report_data import read
from reports.schemas.tables import SCHEMAS, SCORES
from reports.sections.gap_components import estimate
from reports.sections.opening import opening
from reports.sentences import gaps as gap_sentences
from reports.sentences import groups as group_sentences
from reports.tables import Tables

HOSTILE = "<script>alert(1)</script>"
SMALL = synthetic.tables(synthetic.Invented(runs=5))
RUNS = synthetic.ranked_ids(SMALL)
NAN = float("nan")


def page(**rows: list[tuple[object, ...]]) -> str:
    frames = {name: pd.DataFrame(each, columns=list(SCHEMAS[name])) for name, each in rows.items()}
    return render(Tables(SMALL.meta, {**SMALL.frames, **frames}))


def part(run: str, dataset: str, metric: str, name: str, value: float, reason: str = "") -> tuple[object, ...]:
    return (
        run,
        dataset,
        metric,
        "macro",
        name,
        value,
        value - 0.01,
        value + 0.01,
        reason,
        NAN,
        NAN,
        NAN,
        9,
        NAN,
        NAN,
        NAN,
    )


def decomposition() -> list[tuple[object, ...]]:
    rows = []
    for run in RUNS:
        for dataset in ("mimic", "nih", "external"):
            for metric in ("auroc", "auprc"):
                missing = f"age is not recorded {HOSTILE}" if dataset == "mimic" else ""
                for name, value in (
                    ("gap", 0.08),
                    ("prevalence", 0.0),
                    ("case_mix", NAN if missing else -0.02),
                    ("labels", NAN),
                    ("remainder", 0.1),
                ):
                    rows.append(part(run, dataset, metric, name, value, missing if name == "case_mix" else ""))
    return rows


def subgroup(
    dataset: str, group: str, metric: str, value: float, low: float, finding: str = "macro"
) -> tuple[object, ...]:
    cells = dict.fromkeys(SCORES, "") | {
        "run_id": RUNS[0],
        "dataset": dataset,
        "subgroup": group,
        "metric": metric,
        "finding": finding,
        "value": value,
        "low": low,
        "high": value + 0.02,
        "n": 120,
        "num_positive": 30,
        "num_negative": 90,
        "num_patients": 110,
        "num_findings": 6,
    }
    return tuple(cells.values())


@pytest.mark.slow
def test_without_their_tables_the_sections_are_missing() -> None:
    text = page(subgroups=[])
    assert not any(f'id="{key}"' in text for key in ("components", "groups", "robustness"))


@pytest.mark.slow
def test_the_gap_of_the_first_run_is_drawn_in_components_and_unknown_components_are_named() -> None:
    text = page(decomposition=decomposition())
    assert "The gap of .080 is the sum of case mix −.020" in text
    assert re.search(r"he gap of [^;]* includes −\.020 [^;]*from case mix", text)
    assert "age is not recorded &lt;script&gt;" in text
    assert HOSTILE not in text
    assert text.count('class="pt-case_mix"') == 2 + 2 * 2  # two legends; NIH and the mean, for two metrics
    auroc, auprc = text.index('id="components"'), text.index("Components of the AUPRC gap")
    assert 'class="pt-prevalence"' not in text[auroc:auprc], "AUROC has no component of prevalence"
    assert 'class="pt-prevalence"' in text[auprc:]
    assert "gap .080 [.070, .090]: case mix −.020, remainder .100" in text


@pytest.mark.slow
def test_a_hospital_of_children_without_components_has_no_row() -> None:
    of_adults = {**SMALL.meta["datasets"]["mimic"]}
    datasets = {**SMALL.meta["datasets"], "mimic": {**of_adults, "ages": "children"}}
    frame = pd.DataFrame(decomposition(), columns=list(SCHEMAS["decomposition"])).query("dataset != 'mimic'")
    text = render(Tables(SMALL.meta | {"datasets": datasets}, {**SMALL.frames, "decomposition": frame}))
    section = text[text.index('id="components"') : text.index('id="cost"')]
    assert of_adults["title"] not in section
    assert section.count(SMALL.meta["datasets"]["nih"]["title"]) == 2
    opening = text[: text.index('id="loss-h"')]
    assert re.search(
        rf"Means leave out the children of {of_adults['title']} \(lowest AUROC: [A-Z][\w ]+, \.\d+ <span class=.ci.>\[",
        opening,
    )


def test_the_first_screen_counts_the_children_in_the_scores_of_other_hospitals() -> None:
    cohorts = SMALL["cohorts"].copy()
    cohorts.loc[cohorts["dataset"] == "nih", "children"] = 12
    (ages,) = cohorts.loc[cohorts["dataset"] == "nih", "ages"]
    html = str(opening(read(Tables(SMALL.meta, {**SMALL.frames, "cohorts": cohorts}))).html)
    assert f"Children are among the patients of NIH-14 (12 of {ages:,} images)." in html
    assert "Children are" not in str(opening(read(SMALL)).html)


@pytest.mark.slow
def test_the_labels_component_names_its_mapping_its_range_and_other_patients() -> None:
    def labels(run: str, how: str, *more: float) -> tuple[object, ...]:
        return (run, "external", "auroc", "macro", "labels", 0.02, 0.01, 0.03, how, NAN, NAN, NAN, 2, *more)

    rows = [row for row in decomposition() if row[4] != "labels" or row[1:3] != ("external", "auroc")]
    text = page(
        decomposition=[
            *rows,
            *(labels(run, "strict mapping at the external hospital", -0.004, 0.02, 1.0) for run in RUNS),
        ]
    )
    assert (
        "Labels: strict mapping at the external hospital; with other label mappings, the component would lie in [−.004, .020]"
        in text
    )
    assert "from labels" in text
    other = page(
        decomposition=[
            *rows,
            *(
                labels(
                    run,
                    "measured on internal patients whose labels come from radiologists (expert_test)",
                    NAN,
                    NAN,
                    0.0,
                )
                for run in RUNS
            ),
        ]
    )
    assert "from label source (other internal patients)" in other


@pytest.mark.slow
def test_runs_are_compared_with_the_line_of_the_other_runs() -> None:
    rows = [
        (
            run,
            "external",
            0.02 - 0.01 * i,
            0.015 - 0.01 * i,
            0.025 - 0.01 * i,
            0.012 - 0.01 * i,
            0.028 - 0.01 * i,
            0.86,
            0.80,
            0.78,
            0.8117,
            -0.2071,
            5,
        )
        for i, run in enumerate(RUNS)
    ]
    of_first_hospital = [(run, "brax", *numbers[:-3], -0.5, 0.1, 5) for run, _, *numbers in rows]
    text = page(robustness=of_first_hospital + rows)
    assert "than predicted for" in text
    assert "Thin line: a line fitted to all runs." in text
    assert "slope of the line over all runs is .812" in text


@pytest.mark.slow
def test_groups_have_their_difference_and_missing_groups_a_dash() -> None:
    rows = [
        subgroup("chexpert", "sex=F", "auroc", 0.80, 0.78),
        subgroup("chexpert", "sex=M", "auroc", 0.86, 0.84),
        subgroup("chexpert", "sex", "auroc_spread", 0.06, 0.02),
        subgroup("nih", "sex=F", "auroc", 0.7, 0.68),
        subgroup("nih", "sex=M", "auroc", NAN, NAN),
        subgroup("nih", "sex=F age=<40", "auroc", 0.61, 0.5),
        subgroup("nih", f"device={HOSTILE}", "auroc", 0.7, 0.6),
        subgroup("nih", "sex=F", "underdiagnosis", 0.123, 0.1, "No Finding"),
    ]
    text = page(subgroups=rows)
    assert "differs by sex at CheXpert (.060" in text
    assert "Sex: highest minus lowest AUROC of the groups" in text
    assert ".123" in text
    assert "Sex F age &lt;40" in text
    assert "False negative rate" not in text
    assert "F &lt;40" in text
    assert HOSTILE not in text


@pytest.mark.slow
def test_error_rates_are_drawn_by_group_and_groups_with_few_patients_are_named() -> None:
    rows = [
        subgroup("chexpert", "sex=F", "auroc", 0.8, 0.78),
        subgroup("chexpert", "sex=M", "auroc", 0.8, 0.78),
        subgroup("nih", "sex=F", "underdiagnosis", 0.2, 0.15, "No Finding"),
        subgroup("nih", "sex=M", "underdiagnosis", 0.1, 0.08, "No Finding"),
        subgroup("nih", "sex", "underdiagnosis_spread", 0.1, 0.05, "No Finding"),
        subgroup("nih", "sex=F", "fnr", 0.41, 0.4),
        subgroup("nih", "sex=M", "fnr", 0.4, 0.3),
        subgroup("nih", "view=AP", "fnr", NAN, NAN),
        subgroup("nih", "view=PA", "fnr", 0.4, 0.3),
    ]
    points = [
        (RUNS[0], "Edema", "f1_max", NAN, NAN, 1.0, 0.0, 1.0, 1, 300),
        (RUNS[0], "Pneumonia", "f1_max", 0.1, 0.5, 1.0, 0.0, 1.0, 30, 300),
    ]
    text = page(subgroups=rows, operating_points=points)
    assert "is higher for sex F than for M at NIH-14 (.200 and .100); 1 of 1 compared difference is clear" in text
    assert "False negative rate by view: NIH-14 PA .400" in text
    assert "too few patients</text>" in text
    assert "No threshold for Edema (1 patient with it): a threshold needs 10 patients" in text
    assert "Pneumonia (30" not in text


def test_the_title_adds_signed_components_up_to_the_gap_also_if_the_remainder_is_larger() -> None:
    components = {"case mix": Estimate(-0.03, -0.05, -0.01), "labels": Estimate(NAN)}
    title = gap_sentences.unexplained(Estimate(0.05), components | {"remainder": Estimate(0.08, 0.06, 0.1)})
    assert (
        title
        == "The gap of .050 is the sum of case mix −.030 and a remainder of +.080 [.060, .100], which includes shortcuts"
    )
    unmeasured = {"case mix": Estimate(NAN), "remainder": Estimate(0.05, 0.04, 0.06)}
    assert (
        gap_sentences.unexplained(Estimate(0.05), unmeasured) == "The gap in AUROC could not be split into components"
    )


def test_a_remainder_that_is_the_whole_gap_has_the_interval_of_the_gap() -> None:
    run, key = SimpleNamespace(id="r"), ("r", "nih", "auroc")
    cells = {
        (*key, "gap"): {"value": 0.07, "low": 0.02, "high": 0.12},
        (*key, "remainder"): {"value": 0.07, "low": 0.03, "high": 0.11},
        (*key, "case_mix"): {"value": NAN, "low": NAN, "high": NAN},
    }
    assert estimate(cells, run, "nih", "auroc", "remainder") == Estimate(0.07, 0.02, 0.12)
    measured = cells | {(*key, "labels"): {"value": 0.0, "low": -0.01, "high": 0.01}}
    assert estimate(measured, run, "nih", "auroc", "remainder") == Estimate(0.07, 0.03, 0.11)


def test_sentences_follow_the_intervals_and_never_claim_more() -> None:
    unclear, rest = Estimate(0.01, -0.01, 0.03), Estimate(0.05, 0.04, 0.06)
    said = [
        gap_sentences.gap_components("A", {"case mix": unclear, "labels": unclear, "remainder": rest}),
        gap_sentences.gap_components("A", {"case mix": Estimate(NAN), "remainder": rest}),
        gap_sentences.effective_robustness(["A", "B"], [], 24, 24),
        gap_sentences.effective_robustness([], ["A"], 24, 24),
        gap_sentences.effective_robustness([], [], 0, 1),
        group_sentences.clear_differences("A", [group_sentences.GroupDifference("NIH", "sex", rest)] * 5),
        group_sentences.title([group_sentences.GroupDifference("NIH", "sex", unclear)] * 5),
        group_sentences.underdiagnosis(
            "A", [group_sentences.GroupDifference("NIH", "sex", unclear, "F", "M", 0.1, 0.09)] * 5
        ),
        group_sentences.underdiagnosis(
            "A", [group_sentences.GroupDifference("NIH", "sex", rest, "F", "M", 0.1, 0.09)] * 5
        ),
    ]
    assert said[0].startswith("The data do not show whether the gap of A is partly due to case mix or labels")
    assert said[2] == "External AUROC is higher than predicted for 2 runs"
    assert said[3] == "External AUROC is lower than predicted for A"
    assert "and 2 more" in said[5]
    for text in said:
        assert not any(word in text for word in ("significant", "outperform", "robust", "equal", "nan", "  "))
