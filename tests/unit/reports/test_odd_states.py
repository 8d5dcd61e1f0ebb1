"""Pages with missing, few or invalid data."""

import html
import re

import pandas as pd
import pytest

from reports.page import render
from reports.report_data.report_data import read
from reports.schemas.tables import INVERTED, SCHEMAS
from reports.sections.hospitals import hospitals
from reports.sections.method import method
from reports.sections.ranking import ranking
from reports.sentences.data import analysis_states
from reports.tables import Tables
from tests.synthetic import FINDINGS, Invented, page_of, tables

HOSTILE = "<script>alert(1)</script>"


def told(page: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", page))


def with_meta(made: Tables, **meta: object) -> Tables:
    return Tables({**made.meta, **meta}, made.frames)


def test_without_a_match_the_page_says_that_ranks_have_not_changed():
    page = told(str(ranking(read(tables(Invented(runs=5)))).html))
    assert "No run matches these filters. Ranks are computed over all 5 runs and do not change." in page
    assert "Remove filters" in page


@pytest.mark.slow
def test_one_run_has_no_groups_no_search_and_no_fit():
    page = page_of(Invented(runs=1))
    assert "Only one run: no ranking." in page
    assert "Group 1" not in page
    assert 'id="q"' not in page
    assert 'class="mk' not in page


@pytest.mark.slow
def test_a_missing_cohort_has_no_column_and_is_named_in_the_note():
    page = page_of(Invented(runs=3, hospitals=("chexpert", "mimic")))
    assert "BRAX is absent: no folder brax/ in the data." in page
    assert ">BRAX<" not in page


def test_a_hospital_without_scores_has_no_column_and_is_named():
    made = tables(Invented(runs=3))
    names = ("scores", "gaps", "mean_gaps")
    fewer = {name: made[name][made[name]["dataset"] != "brax"] for name in names}
    page = told(str(hospitals(read(Tables(made.meta, made.frames | fewer))).html))
    assert "Not shown: BRAX, where every finding has too few patients for a score." in page
    assert "Not shown" not in told(str(hospitals(read(made)).html))


@pytest.mark.slow
def test_a_finding_with_few_patients_is_a_dash_with_the_reason_and_never_zero():
    page = page_of(Invented(runs=2, patients=0.15, noise=3))
    assert re.search(r"<td>–<i>&lt; 10 patients</i>", page)


@pytest.mark.slow
@pytest.mark.parametrize("diagnosed", [True, False])
def test_an_auroc_below_half_is_questioned_and_linked_to_its_warning_only_if_it_is_a_symptom(diagnosed):
    made = tables(Invented(runs=3, below_half=True))
    run = made["scores"].query("dataset == 'external' and metric == 'auroc'").sort_values("value")["run_id"].iloc[0]
    numbers = (INVERTED, 0.2, 0.1, 0.3, 0.001, "look")
    rows = [(run, "mimic", finding, *numbers) for finding in (FINDINGS[1], "all")] if diagnosed else []
    frames = {"diagnostics": pd.DataFrame(rows, columns=list(SCHEMAS["diagnostics"]))}
    page = render(Tables(made.meta, made.frames | frames))
    assert ("inverted or mislabeled?" in page) == diagnosed
    assert (f'href="#symptom-{run}">inverted or mislabeled?' in page) == diagnosed
    assert page.count(f'id="symptom-{run}"') == diagnosed


def test_a_failed_analysis_is_reported_with_its_reason():
    states = [
        {"name": "probes", "run_id": "a", "state": "done", "reason": ""},
        {"name": "probes", "run_id": "b", "state": "failed", "reason": HOSTILE},
        {"name": "acquisition", "run_id": "", "state": "absent", "reason": ""},
    ]
    assert analysis_states(states) == [
        ("classifiers on features of runs", f"1 done, 1 failed ({HOSTILE})"),
        ("classifiers on image properties (independent of runs)", "1 absent"),
    ]
    page = str(method(read(with_meta(tables(Invented(runs=2)), analyses=states))).html)
    assert html.escape(f"classifiers on features of runs: 1 done, 1 failed ({HOSTILE})") in page
    assert HOSTILE not in page
    assert "Analyses" not in str(method(read(tables(Invented(runs=2)))).html)


def test_a_run_whose_transplants_failed_has_a_dash_with_the_reason():
    made = tables(Invented(runs=3))
    first, second, third = made["runs"]["run_id"]
    row = dict.fromkeys(SCHEMAS["transplants"], "") | {
        "kind": "causal",
        "donor": "chexpert",
        "host": "external",
        "finding": "macro",
        "subset": "all",
        "measure": "abs_dp",
        "value": 0.1,
        "control": 0.05,
        "effect": 0.05,
        "low": 0.04,
        "high": 0.06,
        "n": 40,
        "run_id": first,
    }
    states = [
        {"name": "transplants", "run_id": run, "state": state, "reason": ""}
        for run, state in ((first, "done"), (second, "failed"), (third, "absent"))
    ]
    frames = made.frames | {"transplants": pd.DataFrame([row], columns=list(SCHEMAS["transplants"]))}
    page = str(ranking(read(Tables({**made.meta, "analyses": states}, frames))).html)
    cells = {
        run: re.search(rf'data-id="{run}".*?<td[^>]*class="c-shortcut.*?</td>', page, re.DOTALL)
        .group()
        .rsplit("<td", 1)[1]
        for run in (first, second, third)
    }
    assert "it failed" in cells[second]
    assert "not run" in cells[third]
    assert "–" in cells[second]
    assert not re.search("it failed|not run", cells[first])


@pytest.mark.slow
def test_groups_after_the_tenth_start_closed_and_keep_their_heads():
    made = tables(Invented(runs=30))
    ranks = made["ranks"][:30].assign(group=range(1, 31))  # the first ranking
    page = str(ranking(read(Tables(made.meta, made.frames | {"ranks": ranks}))).html)
    assert page.count('class="grp"') == 30
    assert page.count(" closed") == 20
    assert page.count('class="row" data-id') == 30


@pytest.mark.slow
def test_a_run_stopped_by_its_limit_is_ranked_with_a_remark():
    made = tables(Invented(runs=3))
    runs = made["runs"].copy()
    remark = f"limit reached: stopped by its limit of 2 hours after 3 of 8 epochs {HOSTILE}; memory ran out: forward passes {HOSTILE}"
    runs["remark"] = [remark, *[""] * (len(runs) - 1)]
    page = render(Tables(made.meta, made.frames | {"runs": runs}))
    assert HOSTILE not in page
    ranked = told(str(ranking(read(Tables(made.meta, made.frames | {"runs": runs}))).html))
    assert "limit reached, memory ran out" in ranked
    run = next(r for r in read(Tables(made.meta, made.frames | {"runs": runs})).runs if r.remark)
    assert run.group >= 0
    assert run.marks == "limit reached, memory ran out"
