"""A page stays short: words of prose, height at three widths, printed pages, one line as a title, and a menu of headings."""

import importlib.util
import re
from pathlib import Path

import pytest

from reports.page import render
from tests.browser.test_accessibility import every_section
from tests.browser.visit import Visit, wait_until
from tests.synthetic import Invented, page_of, tables
from tests.unit.reports.test_words_of_recipes import with_seeds

pytestmark = pytest.mark.browser
SCRIPT = Path(__file__).parents[2] / "scripts" / "page_size.py"
HEADINGS = "[...document.querySelectorAll('main .group h2')].map(h => h.textContent.trim())"
MENU = "[...document.querySelectorAll('.mast nav.wide a')].map(a => a.textContent.trim())"
TITLES = "[...document.querySelectorAll('main section:not(#runs) h4')].map(h => h.textContent.trim())"
FOLDS = "[...document.querySelectorAll('main summary')].filter(e => e.checkVisibility() && e.getClientRects().length).length"
FIRST_NUMBERS = (
    "[...document.querySelectorAll('.open .stand')].flatMap(p => p.textContent.match(/[−]?\\d*\\.?\\d+/g) || []).length"
)
INTERVAL = r"\[[^\]]*\]"
CONTRAST_OF_MARKS = """() => {
  const parse = c => c.match(/[\\d.]+/g).map(Number);
  const lum = rgb => rgb.slice(0, 3).map(v => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; }).reduce((s, v, i) => s + v * [.2126, .7152, .0722][i], 0);
  const paper = parse(getComputedStyle(document.body).backgroundColor), low = new Set();
  const marks = '.sw, .sw-o, .m-int, .m-ext, .m-wst, .dot, .iv, .i-int, .i-ext, .i-wst, .cv-internal, .cv-external, .cv-mean, .bd-internal, .bd-external, .area';
  for (const mark of document.querySelectorAll(`:is(main, #drawer) svg :is(${marks})`)) {
    if (!mark.getClientRects().length) continue;
    const style = getComputedStyle(mark), all = +style.opacity;
    const paints = [[style.fill, all * style.fillOpacity], [style.stroke, all * style.strokeOpacity]].filter(([c]) => c !== 'none');
    const colors = paints.map(([c, share]) => parse(c).map((v, i) => share * v + (1 - share) * paper[i]));
    const best = Math.max(...colors.map(c => { const [a, b] = [lum(c), lum(paper)]; return (Math.max(a, b) + .05) / (Math.min(a, b) + .05); }));
    if (best < 3) low.add(`${mark.getAttribute('class')} ${best.toFixed(2)}`);
  }
  return [...low];
}"""


@pytest.fixture(scope="module")
def size():
    spec = importlib.util.spec_from_file_location("page_size", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    file = tmp_path_factory.mktemp("page") / "few.html"
    file.write_text(render(every_section()), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    file = tmp_path_factory.mktemp("page") / "many.html"
    file.write_text(page_of(Invented(runs=500, failed=1, hospitals=("chexpert", "mimic", "nih"))), encoding="utf-8")
    return file


@pytest.mark.parametrize(("width", "most"), [(1440, 12_000), (1280, 13_000), (360, 25_000)])
def test_a_page_of_few_runs_has_few_words_and_is_short(browser, few, size, width, most):
    with Visit(browser, few, width) as visit:
        assert size.words(visit.page) <= 1500
        assert size.height(visit.page) <= most


def test_a_page_of_few_runs_needs_at_most_twelve_sheets_of_paper(browser, few, size, tmp_path):
    with Visit(browser, few) as visit:
        assert size.printed_pages(visit.page, tmp_path) <= 12


@pytest.mark.thorough  # test_many_runs.py has pages of 130 runs
def test_a_page_of_500_runs_is_short_until_it_is_unfolded(browser, many, size):
    with Visit(browser, many) as visit:
        wait_until(visit.page, "!document.querySelector('#rank[data-unfinished]')")
        assert size.height(visit.page) <= 12_000
        shown = visit.page.locator("#rank tbody[data-group] tr.row:visible").count()
        visit.page.locator("#rank .fold").first.click()
        assert visit.page.locator("#rank tbody[data-group] tr.row:visible").count() > shown


def test_the_six_groups_fit_the_bar_and_are_a_menu_on_a_phone(browser, few):
    with Visit(browser, few, 1280) as visit:
        bar = visit.page.locator(".mast nav.wide")
        assert bar.locator("a").count() == 6
        assert bar.evaluate("e => e.scrollWidth <= e.clientWidth")
        levels = visit.page.evaluate("[...document.querySelectorAll('main .topic')].map(h => h.tagName)")
        assert len(levels) > 12
        assert set(levels) == {"H3"}
        visit.show(360, "light")
        assert not bar.is_visible()
        visit.page.locator(".mast .narrow summary").click()
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= 360
        visit.page.locator(".mast .narrow a").nth(3).click()
        assert not visit.page.locator(".mast .narrow nav").is_visible()
        assert visit.said == []


def test_a_figure_has_one_fold(browser, few):
    with Visit(browser, few) as visit:
        assert visit.page.evaluate(FOLDS) <= 30
        assert (
            visit.page.evaluate(
                "[...document.querySelectorAll('main figure')].filter(f => f.querySelectorAll('.more').length > 1).length"
            )
            == 0
        )


def test_titles_are_short_and_the_menu_has_the_headings_of_the_sections(browser, few):
    with Visit(browser, few) as visit:
        assert visit.page.evaluate(HEADINGS) == visit.page.evaluate(MENU)
        titles = visit.page.evaluate(TITLES)
        assert len(titles) > 12
        assert [title for title in titles if len(re.sub(INTERVAL, "", title).split(" ")) > 12] == []


def test_every_mark_of_a_figure_can_be_seen(browser, few):
    with Visit(browser, few) as visit:
        for scheme in ("dark", "light"):
            visit.show(1440, scheme)
            assert visit.page.evaluate(CONTRAST_OF_MARKS) == [], scheme
        visit.page.locator("#rank .c-run a").first.click()
        visit.page.click("#drawer .rest > summary")
        visit.page.wait_for_selector("#drawer .panels")
        for css in (".cv-mean", ".bd-external"):
            assert visit.page.locator(f"#drawer {css}").count()
        for scheme in ("light", "dark"):
            visit.show(1440, scheme)
            assert visit.page.evaluate(CONTRAST_OF_MARKS) == [], scheme


def test_the_runs_of_all_recipes_are_one_choice_of_columns_and_no_fold_of_each_row(browser, tmp_path):
    file = tmp_path / "page.html"
    file.write_text(render(with_seeds(tables(Invented(runs=12)))), encoding="utf-8")
    with Visit(browser, file) as visit:
        runs = visit.page.locator("#rank .seeds li a")
        assert runs.count() == 24
        assert visit.page.locator("#rank tbody summary").count() == 0
        assert visit.page.evaluate(FOLDS) <= 30
        assert not runs.first.is_visible()
        visit.page.locator("#choose summary").click()
        visit.page.locator("#choose input[value=seeds]").check()
        assert all(run.is_visible() for run in runs.all())
        assert "columns=seeds" in visit.page.url
        assert visit.said == []
    with Visit(browser, file, java_script_enabled=False) as visit:
        assert all(run.is_visible() for run in visit.page.locator("#rank .seeds li a").all())


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (1280, 720)])
def test_the_first_screen_has_the_answer_and_three_rows_of_the_ranking(browser, tmp_path, width, height):
    file = tmp_path / "page.html"  # synthetic images, so a banner; several seeds; net benefit with words below it
    file.write_text(render(with_seeds(tables(Invented(runs=8, phantom=True)))), encoding="utf-8")
    with Visit(browser, file, width, height) as visit:
        rows = [row.bounding_box() for row in visit.page.locator("#rank tr.row").all()[:3]]
        assert len(rows) == 3
        assert max(row["y"] + row["height"] for row in rows) <= height
        assert visit.page.evaluate(FIRST_NUMBERS) <= 18  # counts are digits, too
        shown = visit.page.evaluate(
            "[...document.querySelectorAll('#rank thead th')].filter(e => e.checkVisibility()).map(e => e.className.split(' ')[0])"
        )
        assert shown[3:8] == ["c-strip", "c-external", "c-gap", "c-worst"]  # without the table of the next hospital
