"""The probability of an AUROC below a threshold at a new hospital follows what a reader types."""

import pytest

from reports.page import render

study = pytest.importorskip("tests.extensions.next_hospital.test_section_on_new_hospitals").study
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    file = tmp_path_factory.mktemp("page") / "page.html"
    file.write_text(render(study([0.731, 0.70])), encoding="utf-8")  # the probability below x is x
    return file


def test_the_probability_is_that_of_the_typed_threshold(visit):
    field, result = visit.page.locator("#below-threshold"), visit.page.locator("#below-probability")
    assert result.inner_text() == ".70"
    found = []
    for text in ("0.5", "0.554", "0.01", "0.99", "1.5", ""):
        field.fill(text)
        found.append(result.inner_text())
    assert found == [".50", ".55", ".01", ".99", *["type a number from .01 to .99"] * 2]


def test_another_recipe_can_be_chosen(visit):
    visit.page.select_option("#below-run", "1")
    assert visit.page.locator("#below-probability").inner_text() == ".70"
