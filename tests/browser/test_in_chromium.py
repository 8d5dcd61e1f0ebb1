"""The page in a real browser: silent console, nothing requested, usable at 360 and 1440 px, with and without scripts."""

import os
import shutil
from pathlib import Path

import pytest

from reports.page import render
from tests.reports.synthetic import Invented, tables

pytestmark = pytest.mark.browser

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
CONTRAST = """() => {
  const parse = c => c.match(/[\\d.]+/g).map(Number);
  const lum = ([r, g, b]) => [r, g, b].map(v => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; }).reduce((s, v, i) => s + v * [.2126, .7152, .0722][i], 0);
  const back = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
  const low = new Set();
  for (const e of document.querySelectorAll('body *')) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()) || !e.getClientRects().length || e.closest('.skip, .vh, .js-plotly-plot, script')) continue;
    const style = getComputedStyle(e), a = lum(parse(e instanceof SVGElement ? style.fill : style.color)), b = lum(back(e));
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) low.add(`${e.tagName}.${e.getAttribute('class')} ${e.textContent.trim().slice(0, 30)} ${ratio.toFixed(2)}`);
  }
  return [...low];
}"""


def chromium():
    """Return where Chromium is, or None."""
    return (
        os.environ.get("UNSEEN_CHROMIUM")
        or shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = chromium()
    if not path:
        pytest.skip("no Chromium on this machine")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=path, args=FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    states = {
        "many": Invented(failed=1),
        "phantom": Invented(runs=4, phantom=True, shortcut="Pleural Effusion"),
        "one": Invented(runs=1),
        "hostile": Invented(runs=3, failed=1, below_half=True, name="<img src=x onerror=alert(1)>\"'=cmd"),
    }  # fmt: skip
    for name, asked in states.items():
        (folder / f"{name}.html").write_text(render(tables(asked)), encoding="utf-8")
    return folder


class Visit:
    """An open page that remembers what it said and asked for."""

    def __init__(self, browser, file: Path, width=1440, height=900, **options):
        self.context = browser.new_context(viewport={"width": width, "height": height}, **options)
        self.page = self.context.new_page()
        self.said, self.asked = [], []
        self.page.on("console", lambda m: self.said.append(m.text))
        self.page.on("pageerror", lambda e: self.said.append(str(e)))
        self.page.on("request", lambda r: self.asked.append(r.url))
        self.page.goto(file.as_uri())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.close()

    def draw(self):
        self.page.evaluate("charts.all()")


@pytest.mark.parametrize("name", ["many", "phantom", "one", "hostile"])
@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1440, "dark")])
def test_all_charts_are_drawn_without_a_word_on_the_console_and_without_a_request(browser, pages, name, width, scheme):
    with Visit(browser, pages / f"{name}.html", width, color_scheme=scheme) as visit:
        visit.draw()
        boxes = visit.page.locator(".plot")
        assert visit.page.locator(".plot .main-svg").count() >= boxes.count()
        assert visit.page.locator(".plot .wait").count() == 0
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
        assert visit.said == []
        assert [url for url in visit.asked if not url.startswith("file:")] == []
        assert len(visit.asked) == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1440])
def test_every_text_has_enough_contrast(browser, pages, scheme, width):
    with Visit(browser, pages / "many.html", width, color_scheme=scheme) as visit:
        assert visit.page.evaluate(CONTRAST) == []


def test_the_ranking_starts_on_the_first_screen(browser, pages):
    for name in ("many", "phantom"):
        with Visit(browser, pages / f"{name}.html") as visit:
            box = visit.page.locator("#rank tr.row").first.bounding_box()
            assert box["y"] + box["height"] <= 900


def test_without_scripts_text_ranking_and_heat_map_are_there(browser, pages):
    with Visit(browser, pages / "many.html", java_script_enabled=False) as visit:
        assert visit.page.locator("#rank tr.row").count() == 25
        assert visit.page.locator(".heat tbody tr").count() == 24
        assert visit.page.locator("#tools").is_hidden()
        visit.page.locator("details.run summary").first.click()
        assert visit.page.locator("details.run[open] table").first.is_visible()


def test_sorting_keeps_groups_named_and_missing_values_last(browser, pages):
    with Visit(browser, pages / "many.html") as visit:
        page = visit.page
        page.click('[data-sort="4"]')
        gaps = [float(g.replace("−", "-")) for g in page.locator("#rank tr.row td.c-gap .v").all_inner_texts()]
        assert gaps == sorted(gaps)
        assert page.locator("th[aria-sort=ascending]").inner_text().startswith("Gap")
        assert page.locator("#rank tr.row .gq").first.is_visible()
        page.click('[data-sort="4"]')
        assert page.locator("th[aria-sort=descending]").count() == 1
        page.click('[data-sort="0"]')
        assert page.locator("#rank tr.grp").first.is_visible()


def test_a_search_that_finds_nothing_says_that_ranks_do_not_change(browser, pages):
    with Visit(browser, pages / "many.html") as visit:
        visit.page.fill("#q", "no such run")
        assert "No run matches these filters" in visit.page.locator("#none").inner_text()
        visit.page.click("#none-clear")
        assert visit.page.locator("#status").inner_text() == "24 of 24 runs."


def test_the_address_keeps_the_view_and_drops_what_it_does_not_know(browser, pages):
    with Visit(browser, pages / "many.html") as visit:
        visit.page.fill("#q", "sam")
        shown = visit.page.locator("#status").inner_text()
        url = visit.page.url
        visit.page.goto("about:blank")
        visit.page.goto(url)
        assert visit.page.locator("#status").inner_text() == shown
        visit.page.goto("about:blank")
        visit.page.goto((pages / "many.html").as_uri() + "#sort=99&f-loss=<b>x</b>")
        assert visit.page.locator("#status").inner_text() == "24 of 24 runs."
        assert visit.said == []


def test_a_run_opens_in_a_drawer_and_escape_brings_the_focus_back(browser, pages):
    with Visit(browser, pages / "many.html") as visit:
        link = visit.page.locator("#rank .c-run a").nth(2)
        link.click()
        assert visit.page.locator("#drawer table").first.is_visible()
        visit.page.keyboard.press("Escape")
        assert visit.page.locator("#drawer").is_hidden()
        assert visit.page.evaluate("document.activeElement.dataset.run") == link.get_attribute("data-run")
        assert visit.page.locator("details.run .rd").count() == 25


def test_copied_csv_has_plain_numbers_and_defuses_formulas(browser, pages):
    with Visit(browser, pages / "hostile.html") as visit:
        visit.page.evaluate(
            "() => { window.copied = []; navigator.clipboard.writeText = async text => { copied.push(text); }; }"
        )
        for kind in ("csv", "md", "tex"):
            visit.page.click(f'[data-copy="{kind}"]')
        csv, markdown, tex = visit.page.evaluate("copied")
        assert csv.splitlines()[0].startswith("rank,group,run,what,Home,Home low,Home high")
        assert ",0.8" in csv
        assert "−" not in csv
        assert "\\<img" in markdown
        assert "\\midrule" in tex
        assert "\\&" in tex or "&" in tex
        assert visit.page.evaluate("document.images.length") == 0


def test_a_cell_that_begins_like_a_formula_is_quoted_in_csv(browser, tmp_path):
    file = tmp_path / "page.html"
    file.write_text(render(tables(Invented(runs=2, name="=cmd|' /C calc'!A0"))), encoding="utf-8")
    with Visit(browser, file) as visit:
        visit.page.evaluate(
            "() => { window.copied = []; navigator.clipboard.writeText = async text => { copied.push(text); }; }"
        )
        visit.page.click('[data-copy="csv"]')
        assert ",'=cmd" in visit.page.evaluate("copied")[0]


def test_the_theme_button_changes_the_page_and_redraws_its_charts(browser, pages):
    with Visit(browser, pages / "phantom.html", color_scheme="light") as visit:
        visit.draw()
        paper = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
        visit.page.click("#theme")
        visit.page.click("#theme")
        assert visit.page.locator("#theme").inner_text() == "Theme: dark"
        assert visit.page.evaluate("getComputedStyle(document.body).backgroundColor") != paper
        visit.page.wait_for_function(
            "document.querySelector('#c-home .xtick text')?.style.fill === 'rgb(149, 155, 162)'"
        )
        assert visit.said == []


def test_a_printed_page_keeps_the_banner_and_drops_the_controls(browser, pages):
    with Visit(browser, pages / "phantom.html") as visit:
        visit.page.emulate_media(media="print")
        assert visit.page.locator(".banner").is_visible()
        assert visit.page.locator("#tools").is_hidden()
        assert visit.page.locator("#theme").is_hidden()
