"""Sentences and words of whole pages agree with the numbers beside them and with the tables: six invented boards, a real one."""

import itertools
import json
import re

import pytest
from bs4 import BeautifulSoup

from harmonize.labels.findings import FINDINGS
from reports.formatting import places
from reports.page import render
from reports.report_data.report_data import read
from reports.sections.findings import findings
from reports.sections.hospitals import hospitals
from reports.sections.opening import main_results, opening
from reports.sections.ranking import ranking
from reports.sections.run_cells import gap as gap_cell
from reports.summaries.gap_causes import finding_shares
from reports.tables import Tables
from tests.synthetic import Invented, tables
from tests.unit.reports.test_verdicts import first_screen

BOARDS = (
    Invented(runs=4),
    Invented(runs=2, phantom=True, noise=6),
    Invented(runs=3, sign=-1, hospitals=("chexpert", "mimic", "nih")),
    Invented(runs=5, noise=2, shortcut="Edema", hospitals=("chexpert", "mimic", "nih", "brax")),
    Invented(runs=3, patients=0.15, noise=3),
    Invented(runs=1, noise=3, internal_few=FINDINGS[7:]),
)
NUMBER = r"[−+]?\d*\.\d+"


def number(text: str) -> float:
    return float(text.replace("−", "-").replace("+", ""))


@pytest.fixture(
    scope="module",
    params=[*BOARDS, pytest.param("tiny", marks=pytest.mark.grid)],
    ids=[*map(str, range(len(BOARDS))), "tiny"],
)
def made(request):
    if request.param == "tiny":
        return Tables.load(request.getfixturevalue("finished") / "runs" / "report" / "tiny" / "tables")
    return tables(request.param)


@pytest.mark.slow
def test_the_word_after_an_interval_agrees_with_the_interval(made):
    text = " ".join(BeautifulSoup(render(made), "html.parser").get_text(" ").split())
    found = re.findall(
        rf"\[({NUMBER}), ({NUMBER})\] \((unclear(?: after correction for multiple comparisons)?)\)", text
    )
    found += re.findall(
        rf"\[({NUMBER}), ({NUMBER})\], is (clear|unclear(?: after correction for multiple comparisons)?):", text
    )
    for low, high, word in found:
        contains_zero = number(low) <= 0 <= number(high)
        assert contains_zero == (word == "unclear"), (low, high, word)
    data = read(made)
    clear = [run.gap.clear for run in data.ranked] + [h.mean_gap.clear for h in data.hospitals.external]
    assert found or all(clear)
    for run in data.ranked:
        word = re.findall(r"<i>(clear|unclear(?: after correction for multiple comparisons)?)</i>", gap_cell(run.gap))
        assert word == [
            "clear"
            if run.gap.clear
            else "unclear"
            if run.gap.low <= 0 <= run.gap.high
            else "unclear after correction for multiple comparisons"
        ]


def test_the_first_screen_has_the_numbers_of_the_tables(made):
    data, text = read(made), BeautifulSoup(str(opening(read(made)).html), "html.parser").get_text(" ")
    table = made["mean_gaps"].set_index("dataset")
    measured = table.drop("external")
    if len(measured) < data.hospitals.num_external:
        assert "of them" in text
    best = data.ranked[0]
    praise = rf"{re.escape(data.name(best))} (has the highest measured|ranks first by|has a) mean external AUROC(,| of) {places(best.score.value)}"
    assert re.search(praise, " ".join(text.split()))
    assert places(abs(table.loc["external", "value"])) in text


@pytest.mark.grid
def test_the_terminal_has_the_sentences_of_the_page(finished):
    folder = finished / "runs" / "report" / "tiny"
    lines, data = json.loads((folder / "report.json").read_text())["lines"], read(Tables.load(folder / "tables"))
    assert " ".join(line.strip() for line in lines[:-1]) == " ".join(main_results(data))
    assert all(said in first_screen(data) for said in main_results(data))


def test_every_stated_number_of_findings_is_that_of_the_mean_or_of_the_page(made):
    data = read(made)
    text = " ".join(BeautifulSoup(str(opening(data).html), "html.parser").get_text(" ").split())
    members = data.members_of_first
    known = {len(data.findings), len(members.findings)}
    stated = {int(n) for n in re.findall(r"(\d+) (?:of \d+ )?findings", text) + re.findall(r"of (\d+) findings", text)}
    assert len(data.findings) in stated
    assert stated <= known


@pytest.mark.parametrize("board", [*BOARDS, Invented(runs=70, phantom=True)])
def test_an_invented_study_states_one_verdict_on_two_recipes(board):
    """Its tie groups, rank intervals and differences of pairs are those of one test."""
    made = tables(board)
    data, pairs = read(made), made["pairs"].query("dataset == 'external' and metric == 'auroc'")
    differs = {
        frozenset((a, b)): low > 0 or high < 0
        for a, b, low, high in pairs[["first", "second", "all_low", "all_high"]].to_numpy()
    }
    for group in data.groups:
        assert not any(differs.get(frozenset((group[0].id, run.id))) for run in group[1:])
    for before, group in itertools.pairwise(data.groups):
        assert differs.get(frozenset((before[0].id, group[0].id)), True)
    for place, run in enumerate(data.ranked, start=1):
        assert run.rank_low <= place <= run.rank_high
        assert (run.lead.value != run.lead.value) == (place == len(data.ranked))
    assert sum(run.p_best for run in data.ranked) == pytest.approx(1)


def test_the_script_orders_the_rows_by_the_score_that_the_text_names(made):
    ranks = made["ranks"].assign(mean_rank=-made["ranks"]["mean_rank"])  # ranks of draws may have another order
    data = read(Tables(made.meta, made.frames | {"ranks": ranks}))
    html = BeautifulSoup(str(ranking(data).html), "html.parser")
    rows = {row["id"]: row["k"][0] for row in json.loads(html.select_one("#ranked").string)}
    assert sorted(rows, key=rows.__getitem__) == [run.id for run in data.ranked]
    scores = [run.score.value for run in data.ranked]
    assert scores == sorted(scores, reverse=True)


def test_p_best_and_the_first_of_several_are_stated_only_of_several_recipes(made):
    data = read(made)
    heads = " ".join(e.get_text(" ") for e in BeautifulSoup(str(ranking(data).html), "html.parser").select("th"))
    several = len(data.ranked) > 1
    cells = BeautifulSoup(str(ranking(data).html), "html.parser").select("#rank tbody[data-group] td.c-best")
    assert len(cells) == (len(data.ranked) if several else 0)
    notes = [note.get_text() if (note := cell.select_one(".verdict")) else "" for cell in cells]
    assert [bool(note) for note in notes] == [k == 0 and len(data.groups[0]) > 1 for k in range(len(cells))]
    assert not any(notes) or notes[0].startswith("lead unclear") or notes[0] == "below about .975: no clear lead"
    assert ("P(best)" in heads) == several
    assert ("the first recipe" in data.run_shown(data.ranked_runs[0])) == (several and data.unit == "recipe")


def test_a_column_of_the_ranking_without_a_value_is_left_out_and_not_explained():
    made = tables(BOARDS[0])
    for frames, shown in ((made.frames, True), ({**made.frames, "sources": made["sources"].iloc[:0]}, False)):
        html = BeautifulSoup(str(ranking(read(Tables(made.meta, frames))).html), "html.parser")
        assert bool(html.select("#rank th.c-shortcut")) == shown
        assert ("Shortcut: " in html.get_text()) == shown
        assert html.select("#rank th.c-gap")


def test_the_shares_of_all_findings_add_up_to_the_whole_gap(made):
    data = read(made)
    shares = finding_shares(data)
    html = BeautifulSoup(str(findings(data).html), "html.parser")
    printed = [re.match(r"[−]?\d+", e.get_text()) for e in html.select('td[data-l="mean gap"] .s')]
    assert len(printed) == len(shares)
    assert not shares or sum(number(e.group()) for e in printed) == pytest.approx(100, abs=len(shares) / 2)


def test_means_that_the_page_computes_leave_out_a_hospital_of_children(made):
    data = read(made)
    measured = [hospital for hospital in data.hospitals.external if hospital.mean_gap.has_value]
    worst = max(measured, key=lambda h: h.mean_gap.value)
    datasets = {key: dict(entry) for key, entry in made.meta.get("datasets", {}).items()}
    datasets.setdefault(worst.key, {})["ages"] = "children"
    pediatric = read(Tables(made.meta | {"datasets": datasets}, made.frames))
    assert [h.key for h in pediatric.hospitals.children] == [worst.key]
    text = " ".join(
        BeautifulSoup(str(opening(pediatric).html), "html.parser").select_one(".stand").get_text(" ").split()
    )
    assert f"over {len(measured) - 1} of them" in text


def test_sections_name_a_hospital_of_children_whose_scores_no_mean_includes():
    made = tables(BOARDS[0])
    gaps, apart = made["gaps"].copy(), made["gaps"]["dataset"] == "brax"
    gaps.loc[apart & (gaps["finding"] == "macro"), "num_findings"] = 2
    gaps.loc[(gaps["finding"] == "Pneumonia") & ~apart, "value"] = float("nan")
    gaps.loc[gaps["finding"] == "Edema", "value"] = float("nan")
    datasets = {**made.meta["datasets"], "brax": {**made.meta["datasets"]["brax"], "ages": "children"}}
    data = read(Tables(made.meta | {"datasets": datasets}, made.frames | {"gaps": gaps}))
    assert f"({len(data.members_of_first.findings)} findings)" in str(hospitals(data).html)
    rows = BeautifulSoup(str(findings(data).html), "html.parser").select("table")[0].select("tbody tr")
    texts = {row.th.get_text(): row.get_text(" ") for row in rows}
    assert "measured only at BRAX, not in the means" in texts["Pneumonia"]
    assert not any("BRAX" in text for name, text in texts.items() if name != "Pneumonia")
