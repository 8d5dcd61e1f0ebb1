"""The choice "Rank by": another ranking has its own ranks, groups and sentence, and copies, downloads and the address follow."""

import csv
import io
import json
import re
from pathlib import Path

import pytest

from reports.formatting import places
from reports.page import render
from reports.tables import Tables
from tests.browser.visit import Visit, record_copies, wait_until
from tests.synthetic import Invented, ranked_ids, rescored, tables
from tests.unit.reports.test_derived_and_published import with_derived

pytestmark = pytest.mark.browser
RUNS, WITHOUT = 75, 3  # more runs than first rows; runs without a rank at one hospital
IDS = "rows => rows.map(row => row.dataset.id)"
FINISHED = "!document.querySelector('#rank[data-unfinished]')"


@pytest.fixture(scope="module")
def made():
    """Return a study in which the last three runs have no AUROC at NIH."""
    study = with_derived(tables(Invented(runs=RUNS, phantom=True)))
    ranks = study["ranks"]
    at_nih = ranks.query("metric == 'auroc' and dataset == 'nih'").index
    return Tables({**study.meta, "date": "2026-11-22"}, {**study.frames, "ranks": ranks.drop(at_nih[-WITHOUT:])})


@pytest.fixture(scope="module")
def page(tmp_path_factory, made):
    file = tmp_path_factory.mktemp("page") / "page.html"
    file.write_text(render(made), encoding="utf-8")
    return file


def test_another_ranking_is_shown_if_no_recipe_has_p_best(browser, tmp_path):
    study = tables(Invented(runs=5, hospitals=("chexpert", "mimic", "nih")))
    (tmp_path / "page.html").write_text(
        render(Tables(study.meta, {**study.frames, "ranks": study["ranks"].assign(p_best=float("nan"))}))
    )
    with Visit(browser, tmp_path / "page.html") as visit:
        assert visit.page.locator("#rank .c-best").count() == 0
        choose(visit, "gap.external")
        assert visit.page.locator("#leader").is_visible()
        assert visit.said == []


def ranking(made, metric="auroc", dataset="nih"):
    ranks = made["ranks"]
    return ranks[(ranks["metric"] == metric) & (ranks["dataset"] == dataset) & (ranks["finding"] == "macro")]


def choose(visit, key):
    visit.page.select_option("#by", key)
    wait_until(visit.page, f"(ranking.by()?.key ?? 'auroc.external') === '{key}'")
    wait_until(visit.page, FINISHED)


def shown(visit):
    """Return {id: (rank, group, score, P(best))} of the rows in their order on the page."""
    script = """rows => rows.map(row => [row.dataset.id, row.querySelector('.c-rank .t').firstChild.textContent.trim(),
      row.querySelector('.gq').textContent, row.querySelector('.c-by .v').textContent, row.querySelector('.c-best .v').textContent])"""
    rows = visit.page.locator("#rank tbody[data-group] tr.row").evaluate_all(script)
    return {run: tuple(cells) for run, *cells in rows}


def open_all(visit):
    visit.page.evaluate("document.querySelectorAll('#rank tbody.closed [data-fold]').forEach(button => button.click())")
    wait_until(visit.page, FINISHED)


def saved(visit, kind):
    visit.page.click("summary:text-is('Download')")
    with visit.page.expect_download() as download:
        visit.page.click(f"[data-save={kind}]")
    return download.value.suggested_filename, Path(download.value.path()).read_text(encoding="utf-8")


def test_a_choice_shows_the_ranks_groups_scores_and_chances_of_the_other_ranking(visit, made):
    choose(visit, "auroc.nih")
    open_all(visit)
    rows, expected = shown(visit), ranking(made)
    assert list(rows)[: len(expected)] == expected["run_id"].tolist()
    assert set(list(rows)[len(expected) :]) == set(ranked_ids(made)) - set(expected["run_id"])
    for row in expected.to_dict("records"):
        low, high = int(row["rank_low"]), int(row["rank_high"])
        chance = places(row["p_best"], 2) if row["p_best"] >= 0.005 else "< .01"
        rank = f"{low}–{high}" if low != high else str(low)
        assert rows[row["run_id"]] == (rank, f"group {row['group']:.0f}", places(row["value"]), chance)
    for run in list(rows)[len(expected) :]:
        assert rows[run] == ("", "not ranked", "–", "–")
    heads = visit.page.locator("#rank tr.grp").all_inner_texts()
    names = [*(f"Group {k + 1}" for k in range(expected["group"].nunique())), "Not ranked"]
    assert [head.partition(" ·")[0] for head in heads][: len(names)] == names
    assert "3 runs without this score" in heads[len(names) - 1]


def test_the_sentences_and_the_status_name_the_choice_and_the_first_of_its_ranking(visit, made):
    assert visit.page.locator("#leader").is_hidden()
    choose(visit, "gap.external")
    best, second = ranking(made, "gap", "external").to_dict("records")[:2]
    said = visit.page.locator("#leader").inner_text()
    assert re.search(
        rf"has the smallest measured mean gap in AUROC at external hospitals, over .*, {places(best['value'])} \[", said
    )
    assert f", {places(best['lead'])} [{places(best['lead_low'])}, {places(best['lead_high'])}], is " in said
    assert second["value"] > best["value"]
    assert visit.page.locator("#status").inner_text() == (
        f"{RUNS} of {RUNS} runs, ranked by mean gap in AUROC at external hospitals, over 9 findings (8 to 9 per hospital, the others estimated)."
    )
    assert visit.page.locator("#status").get_attribute("role") == "status"
    assert "By mean gap in AUROC at external hospitals, over " in visit.page.locator("#ranking").inner_text()
    assert "runs, ranked by mean gap in auroc" in visit.page.locator("#rank caption").text_content().lower()
    choose(visit, "auroc.external")
    assert visit.page.locator("#leader").is_hidden()
    assert visit.page.locator("#status").inner_text() == f"{RUNS} of {RUNS} runs."
    assert visit.page.locator("#rank .c-by").first.is_hidden()
    open_all(visit)
    assert visit.page.locator("#rank tbody[data-group] tr.row").evaluate_all(IDS) == ranked_ids(made)


def test_the_first_ranking_is_the_same_after_a_choice_and_back(visit):
    cells = "rows => rows.map(row => [row, ...row.querySelectorAll('.c-rank, .c-best')].map(e => e.dataset.id ?? e.textContent.trim()).join('|'))"
    rows = visit.page.locator("#rank tbody[data-group] tr.row")
    open_all(visit)
    before = rows.evaluate_all(cells)
    choose(visit, "ece.nih")
    assert rows.evaluate_all(cells) != before
    choose(visit, "auroc.external")
    open_all(visit)
    assert rows.evaluate_all(cells) == before


def test_filters_and_sorting_work_within_the_chosen_ranking(visit, made):
    choose(visit, "auprc.mimic")
    visit.page.fill("#q", "densenet")
    expected = list(ranking(made, "auprc", "mimic")["run_id"])
    found = visit.page.locator("#rank tbody[data-group] tr.row:visible").evaluate_all(IDS)
    assert 0 < len(found) < RUNS
    assert found == [run for run in expected if run in found]
    visit.page.fill("#q", "")
    visit.page.click("[data-sort=by]")
    visit.page.click("[data-sort=by]")
    wait_until(visit.page, FINISHED)
    assert visit.page.locator("#rank tbody[data-group] tr.row").first.get_attribute("data-id") == expected[-1]
    choose(visit, "auroc.external")
    assert visit.page.locator("#rank th[aria-sort] [data-sort=rank]").count() == 1


def test_the_link_restores_the_choice_and_unknown_choices_are_ignored(browser, made, visit):
    address = visit.page.url.partition("#")[0]
    choose(visit, "ece.external")
    wait_until(visit.page, "location.hash.includes('by=ece.external')")
    with Visit(browser, visit.page.url) as other:
        wait_until(other.page, "ranking.by()?.key === 'ece.external'")
        wait_until(other.page, FINISHED)
        assert other.page.input_value("#by") == "ece.external"
        first = other.page.locator("#rank tbody[data-group] tr.row").first.get_attribute("data-id")
        assert first == ranking(made, "ece", "external")["run_id"].iloc[0]
        other.page.goto(address + "#by=auroc.external")
        wait_until(other.page, "ranking.by() === null")
        other.page.goto(address + "#by=__proto__&q=a")
        assert other.page.input_value("#by") == "auroc.external"
        assert other.said == []


def test_the_link_restores_the_order_by_the_chosen_score_and_by_a_metric_of_the_user(browser, tmp_path):
    study = tables(Invented(runs=5, hospitals=("chexpert", "mimic", "nih")))
    custom = [{"name": "auroc", "title": "Separation", "facts": {}}]
    (tmp_path / "page.html").write_text(render(rescored(study, custom_metrics=custom)))
    for state, column in (("columns=external,metric1&sort=-metric1", "metric1"), ("by=ece.external&sort=-by", "by")):
        with Visit(browser, f"{(tmp_path / 'page.html').as_uri()}#{state}") as visit:
            wait_until(visit.page, f"document.querySelector('.c-{column} .v') && location.hash.includes('{state[:6]}')")
            assert visit.page.locator(f"#rank th[aria-sort=descending] [data-sort={column}]").count() == 1
            cells = visit.page.locator(f"#rank tbody[data-group] .c-{column} .v").all_inner_texts()
            assert cells == sorted(cells, reverse=True)
            assert visit.said == []


def test_downloads_and_copies_follow_the_choice(visit, made):
    name, text = saved(visit, "json")
    assert json.loads(text)["ranked by"].startswith("mean AUROC at external hospitals, over ")
    choose(visit, "auroc.nih")
    expected = ranking(made)
    name, text = saved(visit, "csv")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert name == f"{made.meta['grid']}-ranking-auroc-nih.csv"
    assert [row["id"] for row in rows[: len(expected)]] == expected["run_id"].tolist()
    ranked_by = visit.page.locator("#by-words").inner_text()
    assert ranked_by.startswith("AUROC at Hospital")
    for row, of_table in zip(rows, expected.to_dict("records"), strict=False):
        assert (row["rank low"], row["rank high"]) == (f"{of_table['rank_low']:.0f}", f"{of_table['rank_high']:.0f}")
        assert float(row["AUROC"]) == pytest.approx(of_table["value"], abs=0.00051)
        assert float(row["AUROC low"]) < float(row["AUROC"]) < float(row["AUROC high"])
        assert (row["group"], row["ranked by"]) == (str(of_table["group"]), ranked_by)
    for row in rows[len(expected) : RUNS]:
        assert (row["rank low"], row["group"], row["AUROC"]) == ("", "not ranked", "")
    derived = rows[RUNS:]
    assert derived
    assert all(row["AUROC"] for row in derived)
    _, text = saved(visit, "json")
    content = json.loads(text)
    assert content["ranked by"] == ranked_by
    assert content["rows"][0]["scores"]["by"]["value"] == pytest.approx(expected["value"].iloc[0], abs=0.00051)
    record_copies(visit.page)
    for kind in ("csv", "md", "tex"):
        visit.page.click("summary:text-is('Copy')")
        visit.page.click(f"[data-copy={kind}]")
    of_csv, of_md, of_tex = visit.page.evaluate("copied")
    assert {row["ranked by"] for row in csv.DictReader(io.StringIO(of_csv))} == {ranked_by}
    assert f"Ranked by {ranked_by}." in of_md
    assert f"Ranked by {ranked_by}." in of_tex
    assert visit.page.locator("#toast").inner_text().endswith(f"ranked by {ranked_by}")


def test_without_scripts_the_ranking_is_the_first_one_and_no_choice_is_offered(browser, page, made):
    with Visit(browser, page, java_script_enabled=False) as visit:
        assert visit.page.locator("#by").is_hidden()
        assert visit.page.locator(".rank tbody[data-group] tr.row:visible").evaluate_all(IDS) == ranked_ids(made)
        assert visit.page.locator("#leader").is_hidden()


def test_the_choice_fits_a_phone(browser, page):
    with Visit(browser, page, width=390, height=844) as visit:
        choose(visit, "auroc.nih")
        assert visit.page.locator("#rank td.c-by").first.is_visible()
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= 390
        assert visit.said == []


@pytest.mark.parametrize("column", [None, "best"])
def test_the_head_of_the_table_covers_no_row_at_the_top_of_the_page(visit, column):
    choose(visit, "auroc.nih")
    if column:  # a further column makes the table wider than its box
        visit.page.click("#choose summary")
        visit.page.check(f"#choose input[value={column}]")
    visit.page.evaluate("scrollTo({ top: 0, behavior: 'instant' })")
    bottom, top = visit.page.evaluate(
        "['thead', 'tbody'].map(tag => document.querySelector(`#rank ${tag} th`).getBoundingClientRect()).map((box, i) => i ? box.top : box.bottom)"
    )
    assert bottom <= top + 1
