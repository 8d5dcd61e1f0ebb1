"""The prevalence of the predictive values: a slider and a field, which refuses what is no prevalence."""

import pytest

from tests.browser.visit import Visit, wait_until
from tests.synthetic import Invented, page_of

pytestmark = pytest.mark.browser
predictive_values = pytest.importorskip("bench.extensions.decisions.decisions_of_runs").predictive_values
PART = "#drawer-body details.predictive"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    file = tmp_path_factory.mktemp("page") / "page.html"
    file.write_text(page_of(Invented(runs=2)), encoding="utf-8")
    return file


@pytest.fixture
def part(visit):
    """The opened predictive values of the first run."""
    visit.page.locator("#rank .c-run a").first.click()
    wait_until(visit.page, f"document.querySelector('{PART}')")
    visit.page.click("#drawer .rest > summary")
    part = visit.page.locator(PART).first
    part.locator("summary").click()
    return part


def chosen(part):
    return part.locator("[data-chosen]").first.inner_text().split("\n")


def expected(part, prevalence):
    row = part.locator("tr[data-se]").first
    values = predictive_values(*(float(row.get_attribute(name)) for name in ("data-se", "data-sp")), prevalence)
    return [f"{word} {value:.3f}".replace(" 0.", " .") for word, value in zip(("PPV", "NPV"), values, strict=True)]


def test_the_slider_and_the_field_choose_the_prevalence_and_agree(part):
    slider, field = part.locator("input[type=range]"), part.locator("input[type=number]")
    for percent in ("0", "0.2", "12.5", "37", "100"):
        field.fill(percent)
        assert float(slider.input_value()) == float(percent)
        assert chosen(part) == expected(part, float(percent) / 100)
        assert part.locator("output").inner_text() == ""
        slider.fill("5")
        assert field.input_value() == "5"
        assert chosen(part) == expected(part, 0.05)


def test_what_is_no_prevalence_has_words_and_no_values(part):
    field = part.locator("input[type=number]")
    for typed in ("-1", "101", "1e9", "", "e"):
        field.fill("")
        field.press_sequentially(typed)
        field.dispatch_event("input")
        assert part.locator("output").inner_text() == "Enter a number from 0 to 100.", typed
        assert chosen(part) == ["PPV –", "NPV –"], typed
        field.fill("10")
        assert part.locator("output").inner_text() == ""
        assert chosen(part) == expected(part, 0.1)


def test_without_scripts_there_are_tables_and_a_line_on_the_missing_curves(browser, page):
    with Visit(browser, page, java_script_enabled=False) as visit:
        visit.page.locator("#runs > .wrap > details > summary").click()
        details = visit.page.locator("details.run").first
        details.locator("> summary").click()
        details.locator(".rest > summary").click()
        assert details.locator("noscript p", has_text="The curves of a run need JavaScript.").is_visible()
        details.locator("details.predictive > summary").first.click()
        assert details.locator("details.predictive table").first.is_visible()
        assert details.locator(".needs-js:visible").count() == 0
