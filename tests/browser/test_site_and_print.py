"""The site from a disk and below an address, the page in print, and the page without scripts."""

import functools
import http.server
import re
import threading
from pathlib import Path

import pytest

from reports.site import write_site
from tests.browser.visit import CONTRAST, Visit
from tests.nonempty import nonempty
from tests.synthetic import Invented, page_of, tables

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    root = tmp_path_factory.mktemp("served")
    made = tables(Invented(runs=3, failed=1, name="<i>net</i>"))
    write_site(made, root / "a b" / "board")
    return root, made


@pytest.fixture(scope="module")
def served(site):
    root, _ = site

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=root)) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/a%20b/board/"
        server.shutdown()


# test_every_link_is_relative_and_leads_to_a_file_of_the_site is why a sub-path is no other case
@pytest.mark.parametrize("where", ["disk", pytest.param("sub-path", marks=pytest.mark.thorough)])
def test_index_and_run_pages_lead_to_each_other_on_a_phone_from_a_disk_and_below_an_address(
    browser, site, served, where
):
    root, made = site
    base = (root / "a b" / "board").as_uri() + "/" if where == "disk" else served
    with Visit(browser, base + "index.html", 360) as visit:
        page = visit.page
        linked = page.evaluate("[...document.querySelectorAll('a[href^=\"runs/\"]')].map(a => a.href)")
        assert len(linked) == len(made["runs"])
        for url in linked:
            page.goto(url)
            assert page.evaluate("document.documentElement.scrollWidth") <= 360
            assert page.evaluate(CONTRAST) == []
            page.click("nav a")
            page.wait_for_url(re.compile(r"/index\.html#(at=)?ranking$"))  # the index soon writes its whole view there
        assert visit.said == []
        assert all(url.startswith(base) for url in visit.asked if not url.startswith("data:"))
        assert {url.split("#")[0] for url in visit.asked} == {base + "index.html", *linked}


def test_a_run_page_holds_the_same_text_as_the_drawer(browser, site):
    root, made = site
    run = made["ranks"]["run_id"].iloc[0]
    words = "e => [...e.querySelectorAll('h3, td, th, dt, dd, pre')].map(x => x.textContent.trim()).filter(Boolean)"
    with Visit(browser, root / "a b" / "board" / "index.html") as visit:
        visit.page.click(f'#rank a[data-run="run-{run}"]')
        visit.page.wait_for_selector("#drawer .panels", state="attached")
        in_drawer = visit.page.locator("#drawer .rd").evaluate(words)
        visit.page.goto((root / "a b" / "board" / "runs" / f"{run}.html").as_uri())
        assert visit.page.locator(".rd").evaluate(words) == in_drawer


def test_the_data_of_the_site_load_by_a_script_of_another_page(browser, site, served):
    _, made = site
    with Visit(browser, served) as visit:  # the listing of the server has no policy of its own
        visit.page.goto(served + "data/")
        columns, rows = visit.page.evaluate(
            "fetch('gaps.json').then(r => r.json()).then(t => [t.columns, t.data.length])"
        )
        assert columns == list(made["gaps"].columns)
        assert rows == len(made["gaps"])
        assert visit.page.evaluate("fetch('gaps.parquet').then(r => r.arrayBuffer()).then(b => b.byteLength)") > 1000


def test_a_printed_page_parts_no_row(browser, tmp_path):
    file, printed = tmp_path / "page.html", tmp_path / "page.pdf"
    file.write_text(page_of(Invented(runs=6, phantom=True)), encoding="utf-8")
    with Visit(browser, file) as visit:
        visit.page.emulate_media(media="print")
        kept = visit.page.evaluate(
            "[...document.querySelectorAll('tr, figure:not(:has(tr)), h2, h3, h4, h5')].filter(e => e.getClientRects().length)"
            ".every(e => getComputedStyle(e).breakInside === 'avoid')"
        )
        assert kept
        assert (
            visit.page.evaluate("getComputedStyle(document.querySelector('#rank thead')).display")
            == "table-header-group"
        )
        # Chromium leaves buttons with a box of their own out of the heads that it repeats on the next pages
        assert (
            visit.page.evaluate("getComputedStyle(document.querySelector('#rank thead button')).display") == "contents"
        )
        # the banner is on every page, and every page has space for it: no text is below the banner
        banner, space, repeated = visit.page.evaluate(
            "[document.querySelector('.banner').getBoundingClientRect(), parseFloat(getComputedStyle(document.body).paddingTop),"
            "getComputedStyle(document.body).boxDecorationBreak]"
        )
        assert banner["top"] == 0
        assert banner["height"] / visit.page.evaluate("+getComputedStyle(document.body).zoom") <= space
        assert repeated == "clone"
        visit.page.pdf(path=printed, prefer_css_page_size=True)
        assert visit.said == []
    boxes = set(re.findall(rb"/MediaBox \[([\d. ]+)\]", printed.read_bytes()))
    assert {tuple(round(float(n)) for n in box.split()) for box in boxes} <= {(0, 0, 842, 595), (0, 0, 842, 596)}


def test_without_scripts_charts_are_drawn_and_their_numbers_can_be_opened(browser, tmp_path):
    file = tmp_path / "page.html"
    file.write_text(page_of(Invented(runs=4)), encoding="utf-8")
    with Visit(browser, file, java_script_enabled=False) as visit:
        charts = visit.page.locator(".ch.wide:has(.mk)")
        assert charts.count() > 1
        for chart in charts.all():
            numbers = chart.locator("xpath=ancestor::section").locator("details.more:has(table)").first
            if numbers.get_attribute("open") is None:
                numbers.locator("> summary").click()
            assert numbers.locator("td:visible").count() > 0
        assert visit.page.locator("h1").inner_text() != ""
        assert visit.page.locator("#rank tr.row").count() == 4
        assert visit.page.locator(".needs-js:visible").count() == 0


def test_no_style_attribute_and_no_handler_stands_in_any_page(site):
    root, _ = site
    for page in nonempty(Path(root).rglob("*.html")):
        markup = re.sub(r"<(script|style)\b[^>]*>.*?</\1>", "", page.read_text(), flags=re.DOTALL)
        tags = re.findall(r"<[a-zA-Z][^>]*>", markup)
        assert not [tag for tag in tags if re.search(r"\s(style|on[a-z]+)\s*=", re.sub(r'"[^"]*"', '""', tag))]
