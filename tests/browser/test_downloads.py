"""Downloads of the page: the whole ranking, and the tables behind the figures."""

import csv
import io
import json
import re
from pathlib import Path

import pytest

from reports.page import render
from reports.report_data import report_data
from reports.tables import Tables
from tests.browser.visit import Visit, wait_until
from tests.synthetic import Invented, page_of, tables
from tests.unit.reports.test_derived_and_published import with_derived

pytestmark = pytest.mark.browser
RUNS = 75  # more than the first rows, so some rows are text until they are needed


@pytest.fixture(scope="module")
def made():
    study = with_derived(tables(Invented(runs=RUNS, phantom=True)))
    return Tables({**study.meta, "date": "2026-11-22"}, study.frames)


@pytest.fixture(scope="module")
def page(tmp_path_factory, made):
    file = tmp_path_factory.mktemp("page") / "page.html"
    file.write_text(render(made), encoding="utf-8")
    return file


@pytest.fixture
def visit(browser, page):
    with Visit(browser, page) as visit:
        yield visit
        assert visit.said == []
        assert [url for url in visit.asked if not url.startswith(("file:", "data:", "blob:"))] == []


def saved(visit, click):
    with visit.page.expect_download(timeout=20_000) as download:
        click()
    return download.value.suggested_filename, Path(download.value.path()).read_text(encoding="utf-8")


def ranking(visit, kind):
    visit.page.click("summary:text-is('Download')")
    return saved(visit, lambda: visit.page.click(f"[data-save={kind}]"))


def test_the_csv_of_the_ranking_has_all_rows_with_id_grid_date_and_synthetic(visit, made):
    visit.page.fill("#q", "nothing has this name")
    name, text = ranking(visit, "csv")
    rows = list(csv.DictReader(io.StringIO(text)))
    ranked = [run.id for run in report_data.read(made).ranked]
    assert name == f"{made.meta['grid']}-ranking.csv"
    assert [row["id"] for row in rows[: len(ranked)]] == ranked
    assert [row["rank low"] for row in rows[len(ranked) :]] == [""] * (len(rows) - len(ranked)) != []
    assert {(row["grid"], row["date"], row["images"]) for row in rows} == {
        (made.meta["grid"], "2026-11-22", "synthetic")
    }
    external = made["scores"].query("dataset == 'external' and finding == 'macro' and metric == 'auroc'")
    external = external.drop_duplicates("run_id").set_index("run_id")["value"]
    for row in rows[: len(ranked)]:
        assert float(row["External"]) == pytest.approx(external[row["id"]], abs=0.00051)
        assert float(row["External low"]) < float(row["External"]) < float(row["External high"])
        assert int(row["rank low"]) <= int(row["rank high"])
    negative = 0
    board = report_data.read(made)
    for row, run in zip(rows, board.ranked, strict=False):
        shown = {
            "External": run.external,
            "Gap": run.gap,
            "ECE": run.ece,
            "Net benefit": board.further["net_benefit"][run.id, "external", "macro"].value,
            "Worst hospital": run.worst_auroc,
        }
        for column, estimate in shown.items():
            bounds = [float(row[f"{column} {end}"]) for end in ("low", "high")]
            assert bounds == pytest.approx([estimate.low, estimate.high], abs=0.00051), column
            negative += bounds[0] < 0
    assert negative  # such an interval has a true minus
    assert "Params low" not in rows[0]
    assert "P(best)" in rows[0]


def test_the_json_of_the_ranking_has_numbers(visit, made):
    name, text = ranking(visit, "json")
    content = json.loads(text)
    assert name == f"{made.meta['grid']}-ranking.json"
    assert content["synthetic"] is True
    ranked = [run.id for run in report_data.read(made).ranked]
    assert [row["id"] for row in content["rows"]][: len(ranked)] == ranked
    first = content["rows"][0]
    assert first["rank"][0] == 1
    assert first["scores"]["external"]["low"] < first["scores"]["external"]["value"]
    assert set(first["scores"]) == set(content["columns"])


def test_each_folded_table_is_a_file_with_numbers_in_cells_of_their_own(visit):
    visit.page.locator("#hospitals .more > summary").click()
    folded = visit.page.locator("#hospitals details.data").last
    name, text = saved(visit, lambda: folded.locator("[data-tables]").click())
    rows = list(csv.reader(io.StringIO(text)))
    assert re.fullmatch(r".+-hospitals-numbers-behind-this-figure\.csv", name)
    assert rows[0][-1] == "images"
    assert rows[1][-1] == "synthetic"
    assert len({len(row) for row in rows}) == 1
    assert len(rows) == 1 + folded.locator("tbody tr").count()
    assert all(re.fullmatch(r"-?[\d.]*", cell) for row in rows[1:] for cell in row[2:-1])


def test_every_table_that_can_be_opened_has_a_button_and_a_rectangular_file(visit):
    visit.page.evaluate("document.querySelectorAll('details.data').forEach(e => { e.open = true; })")
    folded = visit.page.locator("main section:not(#runs) details.data:not(.more, .list):has(table)")
    assert folded.count() > 10
    wait_until(
        visit.page,
        "document.querySelectorAll('main section:not(#runs) [data-tables]').length >= " + str(folded.count()),
    )
    names = set()
    for k in range(folded.count()):
        name, text = saved(visit, lambda k=k: folded.nth(k).locator("[data-tables]").click())
        names.add(name)
        for part in text.split("\r\n\r\n"):
            assert len({len(row) for row in csv.reader(io.StringIO(part))}) == 1
    assert len(names) == folded.count()


def test_the_table_of_the_first_figure_that_is_in_no_section_is_a_file(browser, tmp_path):
    (tmp_path / "few.html").write_text(page_of(Invented(runs=3)), encoding="utf-8")
    with Visit(browser, tmp_path / "few.html") as visit:
        visit.page.evaluate("document.querySelectorAll('.open details').forEach(e => { e.open = true; })")
        name, _ = saved(visit, visit.page.locator(".open [data-tables]").click)
    assert name.endswith("-opening-numbers-behind-this-figure.csv")
