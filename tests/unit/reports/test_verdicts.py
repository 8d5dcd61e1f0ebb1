"""Verdicts: every sentence that a page makes of a record agrees with the tables of this page, and denies nothing that they show."""

import re

import pandas as pd
import pytest
from bs4 import BeautifulSoup

from harmonize.labels.findings import FINDINGS
from reports import verdicts
from reports.report_data.headline_rows import EXTERNAL, MACRO, MISSING, Estimate
from reports.report_data.report_data import ReportData, read
from reports.sections.findings import findings
from reports.sections.opening import opening
from reports.sections.ranking import ranking
from reports.sections.ranking_choices import choices
from reports.tables import Tables
from tests.synthetic import Invented, tables
from tests.unit.reports.test_transplants import asked

CHILDREN = "brax"


def changed(made: Tables, name: str, where: pd.Series, **values: float) -> Tables:
    """Return the tables with other values in some rows of one table."""
    frame = made[name].copy()
    frame.loc[where, list(values)] = list(values.values())
    return Tables(made.meta, made.frames | {name: frame})


def aurocs(made: Tables, **keys: str) -> pd.Series:
    """Return which rows of `scores` are AUROCs with these values of the columns."""
    chosen = (made["scores"]["metric"] == "auroc") & (made["scores"]["calibrator"] == "none")
    for column, value in keys.items():
        chosen &= made["scores"][column] == value
    return chosen


def at_chance() -> Tables:
    """Two networks whose mean external AUROC is not above .5."""
    made = tables(Invented(runs=2))
    return changed(made, "scores", aurocs(made, dataset=EXTERNAL, finding=MACRO), value=0.487, low=0.45, high=0.52)


def no_gap(made: Tables) -> Tables:
    """Return the tables with gaps of 0, unclear everywhere."""
    frames = dict(made.frames)
    for name in ("gaps", "mean_gaps"):
        frame = frames[name].assign(value=0.0, low=-0.03, high=0.03)
        frames[name] = frame.assign(all_low=-0.04, all_high=0.04) if "all_low" in frame else frame
    of_gaps = frames["ranks"]["metric"] == "gap"
    frames["ranks"] = frames["ranks"].copy()
    frames["ranks"].loc[of_gaps, ["value", "all_low", "all_high"]] = [0.0, -0.04, 0.04]
    return Tables(made.meta, frames)


def children() -> Tables:
    """A hospital of children where one finding is ranked the wrong way round, and hospitals that label different findings."""
    made = tables(Invented(runs=3, internal_few=FINDINGS[5:]))
    datasets = {**made.meta["datasets"], CHILDREN: {**made.meta["datasets"][CHILDREN], "ages": "children"}}
    there = aurocs(made, dataset=CHILDREN, finding="Pneumonia")
    made = Tables(made.meta | {"datasets": datasets}, made.frames)
    return changed(made, "scores", there, value=0.25, low=0.2, high=0.3)


def one_finding() -> Tables:
    """Two hospitals that score one finding of the internal test split: below the floors of a mean."""
    made = tables(Invented(runs=3, hospitals=("chexpert", "mimic", "padchest"), internal_few=FINDINGS[1:]))
    for name in ("scores", "gaps"):
        of_means = (made[name]["dataset"] == EXTERNAL) & (made[name]["finding"] == MACRO)
        made = changed(made, name, of_means, value=float("nan"), low=float("nan"), high=float("nan"))
    ranks = made["ranks"][(made["ranks"]["dataset"] != EXTERNAL) | (made["ranks"]["metric"] == "auroc")]
    ranks = ranks.assign(finding=ranks["finding"].where(ranks["dataset"] != EXTERNAL, FINDINGS[0]))
    mean_gaps = made["mean_gaps"][made["mean_gaps"]["dataset"] != EXTERNAL]
    return Tables(made.meta, made.frames | {"ranks": ranks, "mean_gaps": mean_gaps})


def predicted(made: Tables, **lower_ends: float) -> Tables:
    """Return the tables with a prediction for a new hospital of each recipe and finding, and of the mean."""
    columns = list(made["next_hospital"].columns)
    rows = [
        dict.fromkeys(columns, 0) | {"run_id": run, "metric": "auroc", "finding": finding, "reason": ""}
        | {"value": 0.85, "low": 0.8, "high": 0.9, "new_low": lower_ends.get(finding, 0.6), "new_high": 0.95}
        for run in made["ranks"]["run_id"].unique()
        for finding in (MACRO, *made.meta["findings"])
    ]  # fmt: skip
    return Tables(made.meta, made.frames | {"next_hospital": pd.DataFrame(rows, columns=columns)})


STUDIES = {
    "demo": lambda: tables(Invented(runs=2, phantom=True, noise=2)),
    "chance": at_chance,
    "unclear": lambda: no_gap(tables(Invented(runs=4))),
    "children": children,
    "many": lambda: tables(Invented(runs=70)),
    "shortcut": lambda: asked(4),
    "better": lambda: tables(Invented(runs=3, sign=-1)),
    "few": lambda: tables(Invented(runs=3, patients=0.15, noise=3)),
    "one": lambda: predicted(tables(Invented(runs=1)), Edema=0.75, macro=0.71),
    "one finding": one_finding,
    "internal": lambda: tables(Invented(runs=2, hospitals=("chexpert",))),
}


@pytest.fixture(params=[*STUDIES, pytest.param("tiny", marks=pytest.mark.grid)])
def data(request) -> ReportData:
    if request.param == "tiny":
        return read(Tables.load(request.getfixturevalue("finished") / "runs" / "report" / "tiny" / "tables"))
    return read(STUDIES[request.param]())


def first_screen(data: ReportData) -> str:
    text = " ".join(BeautifulSoup(str(opening(data).html), "html.parser").get_text(" ").split())
    return re.sub(r" ([;,)]|\.(?!\d))", r"\1", text)


def clear_drops(data: ReportData, run) -> list[Estimate]:
    """Return the gaps of a recipe that any cell shows as clear."""
    findings = (MACRO, *data.findings)
    keys = [(run.id, h, f) for h in (EXTERNAL, *(h.key for h in data.hospitals.external)) for f in findings]
    return [gap for key in keys if (gap := data.gaps.get(key, MISSING)).clear_above]


def test_every_verdict_is_what_its_tables_show(data):
    for run in data.ranked if data.hospitals.external else ():
        found = verdicts.of_recipe(data, run)
        assert found[0].state in verdicts.OF_RECIPES
        order = [list(verdicts.OF_RECIPES).index(v.state) for v in found if v.state in verdicts.OF_RECIPES]
        assert order == sorted(order)
        for verdict in found:
            number = verdict.number
            assert verdicts.clause(data, verdict)
            if verdict.state == verdicts.WRONG:
                assert number.bounds[1] < 0.5
                assert number.value == data.cells[run.id, verdict.hospital, verdict.finding].value
            elif verdict.state in (verdicts.CHANCE, verdicts.AT_CHANCE):
                assert not number.low > 0.5
            elif verdict.state == verdicts.FAILS:
                assert number == data.gaps[run.id, verdict.hospital, MACRO]
                assert number.bounds[0] > 0
                assert number.value >= 0.05
            elif verdict.state in (verdicts.UNCLEAR_GAP, verdicts.SMALL_GAP, verdicts.HIGHER):
                assert not clear_drops(data, run)


def test_no_sentence_denies_a_clear_drop_or_an_auroc_of_chance(data):
    text, drops = first_screen(data), {run.id: clear_drops(data, run) for run in data.ranked}
    assert not re.search(r"[Nn]o (run|recipe) of \d+ has a clearly lower", text)
    if data.ranked and data.hospitals.external:
        first = data.ranked[0]
        headline = verdicts.titles(data)[0]
        if drops[first.id]:
            assert not re.search("unclear|no mean gap|for a mean gap", headline)
        if first.external.has_interval and first.external.low <= 0.5:
            assert "has the highest" not in text
    for number, words in re.findall(r"(\d+)(?: of \d+ (?:run|recipe)s)? (?:has|have) (an unclear|a small) gap", text):
        of_state = [run for run in data.ranked if not drops[run.id]]
        assert int(number) <= len(of_state), words


def test_the_recipes_are_counted_by_their_worst_state(data):
    text = verdicts.titles(data)[1]
    if len(data.ranked) < 2 or not data.hospitals.external:
        assert text == ""
    elif not text.startswith("Of "):
        assert text.startswith(f"{len(data.ranked)} of {len(data.ranked)}")
    else:
        total, *parts = map(int, re.findall(r"\d+", text))
        assert total == sum(parts) == len(data.ranked)


def test_why_names_only_a_finding_with_more_than_twice_its_even_share_or_a_shortcut(data):
    found = re.search(r"Why\? (.*?) (?:contributes|of \d+ \w+ uses? a marker)", first_screen(data))
    from reports.summaries.gap_causes import finding_shares

    shares = finding_shares(data)
    stands_out = bool(shares) and max(shares.values()) * len(shares) > 2
    assert bool(found) == (stands_out or (bool(shares) and any(data.shortcuts.values())))


def test_each_finding_has_one_state_and_is_useful_only_by_the_prediction_for_a_new_hospital(data):
    for run in data.ranked:
        for finding, verdict in verdicts.of_findings(data, run).items():
            assert verdict.state in verdicts.OF_FINDING
            cells = [data.cells.get((run.id, h.key, finding), MISSING) for h in data.hospitals.external]
            if verdict.state == verdicts.USEFUL:
                assert data.at_new_hospital[run.id, finding][1].low >= verdicts.useful_from(data)
                assert not any(finding in data.shortcuts.get(member.id, ()) for member in run.members)
                assert not any(cell.corrected(99).bounds[1] < 0.5 for cell in cells)
            if not data.at_new_hospital:
                assert verdict.state not in (verdicts.USEFUL, verdicts.UNCERTAIN)


def test_networks_at_chance_are_not_called_best():
    data = read(at_chance())
    assert "is not clearly better than chance at external hospitals: AUROC .487" in verdicts.titles(data)[0]
    assert "but it is not clearly better than chance" in first_screen(data)


def test_below_the_floors_the_page_ranks_by_one_finding_and_says_why_there_is_no_mean():
    data = read(one_finding())
    text, name = first_screen(data), FINDINGS[0]
    assert data.ranked_by.finding == name
    assert next(iter(choices(data).values()))[0].criterion == data.ranked_by
    assert f"highest measured mean AUROC of {name} at 2 external hospitals, {data.ranked[0].score.text}" in text
    assert "the networks have too few findings for a mean gap." in text
    assert "because of too few findings: only one is scored by enough hospitals." in text
    assert "mean external AUROC" not in text
    assert not re.search(r"over \d+ (of \d+ )?findings?", text)
    page = BeautifulSoup(str(ranking(data).html), "html.parser")
    assert f"By mean AUROC of {name} at 2 external hospitals" in " ".join(page.get_text().split())
    assert "external" not in page.select_one(".c-strip .kk").get_text()  # no mark for a mean that does not exist
    cells = [cell.select_one(".v").text for cell in page.select("#rank tbody[data-group] td.c-external")]
    assert cells == [run.score.text for run in data.ranked]
    assert page.select("td.c-internal .v")
    assert not page.select("td.c-gap")


def test_a_finding_the_wrong_way_round_in_children_is_the_headline():
    data = read(children())
    assert "ranks Pneumonia the wrong way round at BRAX (children): AUROC .250" in verdicts.titles(data)[0]
    assert verdicts.of_findings(data, data.ranked[0])["Pneumonia"].state == verdicts.WRONG


def test_a_measured_auroc_stands_beside_its_verdict_and_never_in_the_column_of_predictions() -> None:
    table = BeautifulSoup(str(findings(read(children())).html), "html.parser").select_one("#matrix")
    row = next(row for row in table.select("tbody tr") if row.th.get_text() == "Pneumonia")
    assert "wrong way round at BRAX (children): AUROC .250" in row.td.get_text()
    assert "at a new hospital" not in table.thead.get_text()


def test_the_lowest_auroc_left_out_is_not_said_of_children_whose_lowest_is_lower():
    text = first_screen(read(children()))
    assert "Means leave out the children of BRAX (lowest AUROC: Pneumonia, .250" in text
    assert "The lowest measured AUROC left out, without the children of BRAX: Lung Lesion at NIH-14" in text


def test_a_clear_drop_at_one_hospital_or_of_one_finding_is_named_although_the_mean_gap_is_unclear():
    made = no_gap(tables(Invented(runs=3)))
    run, gaps = read(made).ranked[0].id, made["gaps"]
    at = (gaps["run_id"] == run) & (gaps["dataset"] == "nih")
    of_hospital = changed(made, "gaps", at & (gaps["finding"] == MACRO), value=0.156, low=0.068, high=0.239)
    assert "fails at NIH-14: gap in AUROC .156 [.068, .239]" in verdicts.titles(read(of_hospital))[0]
    of_finding = changed(made, "gaps", at & (gaps["finding"] == "Edema"), value=0.3, low=0.2, high=0.4)
    assert "loses .300 [.200, .400] AUROC for Edema at NIH-14" in verdicts.titles(read(of_finding))[0]
    assert "has an unclear mean gap in AUROC, at most .040" in verdicts.titles(read(made))[0]


def test_a_finding_is_useful_from_the_auroc_that_the_grid_states():
    made = predicted(tables(Invented(runs=2)), Edema=0.75)
    found = verdicts.of_findings(read(made), read(made).ranked[0])
    assert (found["Edema"].state, found["Pneumonia"].state) == (verdicts.USEFUL, verdicts.UNCERTAIN)
    stricter = read(Tables(made.meta | {"useful": 0.8}, made.frames))
    assert verdicts.of_findings(stricter, stricter.ranked[0])["Edema"].state == verdicts.UNCERTAIN
    assert "may not reach an AUROC of .800 at a new hospital" in first_screen(stricter)
    strictest = read(Tables(made.meta | {"useful": 0.99}, made.frames))
    assert "is not expected to reach an AUROC of .990 at a new hospital (upper end: ." in first_screen(strictest)


def test_a_recipe_worse_than_treating_none_is_said_on_the_first_screen():
    made = tables(Invented(runs=2))
    first = read(made).ranked[0].id
    table = made["net_benefit"]
    rows = (table["run_id"] == first) & (table["dataset"] == EXTERNAL) & (table["metric"] == "net_benefit")
    made = changed(made, "net_benefit", rows & (table["finding"] == MACRO), value=-0.02, low=-0.03, high=-0.01)
    ranks = made["ranks"].copy()
    ranks.loc[(ranks["metric"] == "net_benefit") & (ranks["run_id"] == first), ["all_low", "all_high"]] = [
        -0.04,
        -0.005,
    ]
    text = first_screen(read(Tables(made.meta, made.frames | {"ranks": ranks})))
    assert "is worse than treating no image as positive: net benefit −.020 [−.030, −.010]" in text
