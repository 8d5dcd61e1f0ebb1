"""A part of a page that fails: the rest of the page is written, and the part and its reason are named."""

import html
import re
from dataclasses import replace

import pytest

from harmonize.errors import StoreError
from reports import extensions, failed_parts, hooks, page
from reports.__main__ import main
from reports.html.section import Section
from reports.page import placed_sections, render
from reports.report_data.report_data import ReportData, read
from reports.schemas.criterion import further_scores
from reports.schemas.tables import SCHEMAS
from reports.site import write_site
from reports.tables import Tables
from tests.nonempty import nonempty
from tests.synthetic import Invented, tables

HOSTILE = "<script>alert(1)</script>"
MADE = tables(Invented(runs=3))


def groups(_: ReportData) -> Section:
    """Stand for a section with a fault."""
    raise ValueError(HOSTILE)


def put(monkeypatch: pytest.MonkeyPatch, write: object) -> None:
    """Write the section `groups` by another function."""
    placed = [
        replace(section, write=write) if section.write.__name__ == "groups" else section
        for section in placed_sections()
    ]
    monkeypatch.setattr(page, "placed_sections", lambda: placed)


def sections_of(text: str) -> dict[str, str]:
    """Return {id: HTML} of the sections of a page."""
    return {part.partition('"')[0]: part for part in text.split('<section id="')[1:]}


def test_a_section_that_fails_is_replaced_by_its_name_and_the_reason_and_nothing_else_changes(monkeypatch):
    whole = sections_of(render(MADE))
    put(monkeypatch, groups)
    with failed_parts.collected() as failed:
        text = render(MADE)
    [part] = failed
    assert (part.name, part.reason) == ("section groups", f"ValueError: {HOSTILE}")
    assert "in groups" in part.trace
    parts = sections_of(text)
    assert parts.keys() == whole.keys()
    assert [key for key in whole if parts[key] != whole[key]] == ["groups"]
    assert "The program could not write this section: ValueError" in parts["groups"]
    assert html.escape(HOSTILE) in text
    assert HOSTILE not in text
    said = re.search(r'<p class="warn" id="failed">(.*?)</p>', text)
    assert said
    assert "section groups (ValueError: " in said[1]


def test_outside_of_a_report_a_failure_is_raised(monkeypatch):
    put(monkeypatch, groups)
    with pytest.raises(ValueError, match="alert"):
        render(MADE)


def test_an_error_that_the_user_can_mend_is_raised():
    error = StoreError("damaged", "here", "write it again")

    def fail() -> None:
        raise error

    with failed_parts.collected() as failed, pytest.raises(StoreError):
        failed_parts.attempt("tables", fail, lambda _: None)
    assert not failed


@pytest.mark.parametrize("function", ["opening", "gap_note", "scores"])
def test_an_extension_that_fails_on_the_page_is_named_once(monkeypatch, function):
    modules = nonempty(further_scores() if function == "scores" else extensions.modules(hooks.Sections))
    for module in modules:
        monkeypatch.setattr(module, function, lambda *_: 1 / 0)
    with failed_parts.collected() as failed:
        text = render(MADE)
    assert len(failed) == len(modules)
    for part in failed:
        assert f"{part.name} (ZeroDivisionError: division by zero)" in text
    assert 'id="ranking"' in text


def test_tables_that_could_not_be_made_are_named_on_the_page_of_stored_tables():
    found = Tables({**MADE.meta, "failed": [{"name": "tables of the extension x", "reason": HOSTILE}]}, MADE.frames)
    assert f"tables of the extension x ({html.escape(HOSTILE)})" in render(found)
    assert 'id="failed"' not in render(MADE)


def test_the_details_of_a_run_that_fail_cost_neither_its_page_nor_the_site(monkeypatch, tmp_path):
    for module in nonempty(extensions.modules(hooks.RunDetails)):
        monkeypatch.setattr(module, "details", lambda *_: 1 / 0)
    with failed_parts.collected() as failed:
        index = write_site(MADE, tmp_path / "site")
    assert {part.name.partition(" of the extension")[0] for part in failed} == {"details of runs"}
    assert 'id="failed"' in index.read_text()
    assert len(list((tmp_path / "site" / "runs").iterdir())) == 3


def test_a_page_from_stored_tables_without_a_section_has_exit_status_1(monkeypatch, tmp_path, capsys):
    MADE.save(tmp_path / "tables")
    arguments = [str(tmp_path / "tables"), "-o", str(tmp_path / "page.html")]
    assert main(arguments) == 0
    put(monkeypatch, groups)
    assert main(arguments) == 1
    assert "section groups failed:" in capsys.readouterr().err
    assert (tmp_path / "page.html").is_file()


def without(made: Tables, *names: str) -> Tables:
    return Tables(made.meta, made.frames | {name: made[name].iloc[:0] for name in names})


@pytest.mark.slow
@pytest.mark.parametrize("name", SCHEMAS)
def test_no_section_needs_a_row_of_a_table(name):
    for empty in ([name], ["ranks", name], [other for other in SCHEMAS if other not in ("runs", name)]):
        data = read(without(MADE, *empty))
        for placed in placed_sections():
            placed.write(data)
