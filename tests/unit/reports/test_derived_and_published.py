"""Derived runs, imported models and published results are on the page, and not in the ranking or its sentences."""

import re

import pandas as pd
import pytest

from reports.page import render
from reports.report_data import report_data as board
from reports.schemas.tables import SCHEMAS
from reports.tables import Tables
from tests.synthetic import Invented, page_of, tables


def with_derived(invented: Tables, kind: str = "tta") -> Tables:
    """Add a row for each scored run that repeats its scores under another id, better by .05 everywhere."""
    frames = dict(invented.frames)
    for name in ("runs", "scores", "gaps", "costs"):
        again = frames[name].copy()
        again["run_id"] = (
            again["run_id"]
            .str.replace("^[^d]", "d", regex=True)
            .where(~again["run_id"].str.startswith("d"), "e" + again["run_id"].str[1:])
        )
        if name == "runs":
            again[["kind", "of", "what"]] = [kind, "the run above", "TTA, four views"]
        if name == "scores":
            again[["value", "low", "high"]] += 0.05
        frames[name] = pd.concat([frames[name], again], ignore_index=True)
    return Tables(dict(invented.meta), frames)


def with_published(invented: Tables, *rows: tuple[object, ...]) -> Tables:
    frames = {**invented.frames, "published": pd.DataFrame(rows, columns=list(SCHEMAS["published"]))}
    return Tables(dict(invented.meta), frames)


ROW = ("XAND-Ray", "selected", "its tables", "chexpert", "expert_test", "Edema", "auroc", 0.9165)


def first_screen(page: str) -> str:
    return page[page.index('id="top"') : page.index('id="ranking"')]


@pytest.mark.slow
def test_derived_runs_change_no_rank_and_not_the_first_screen() -> None:
    plain = tables(Invented(runs=6))
    both = with_derived(plain)
    assert first_screen(render(both)) == first_screen(render(plain))
    assert repr(board.read(both).groups) == repr(board.read(plain).groups)  # the last run has no lead: NaN
    assert [r.id for r in board.read(both).runs] == [r.id for r in board.read(plain).runs]


@pytest.mark.slow
@pytest.mark.parametrize(("hospitals", "column"), [(("chexpert", "nih"), "External"), (("chexpert",), "Internal")])
def test_derived_runs_are_below_the_ranking_with_scores_and_a_label(hospitals: tuple[str, ...], column: str) -> None:
    page = render(with_derived(tables(Invented(runs=3, hospitals=hospitals)), "ensemble"))
    below = page[page.rindex('data-group="') :]
    apart = below[below.index('class="apart"') : below.index("</table>")]
    assert apart.count('<span class="tag">ensemble</span>') == 3
    assert "not counted in the headline" in apart
    assert apart.count(f'data-l="{column}"') == 3


@pytest.mark.slow
def test_the_entry_of_a_derived_run_names_its_source_runs() -> None:
    page = render(with_derived(tables(Invented(runs=2))))
    assert page.count("<dt>Mean of</dt><dd>the run above</dd>") == 2


@pytest.mark.slow
def test_a_page_without_published_numbers_has_no_such_section() -> None:
    assert 'id="published"' not in page_of(Invented(runs=2))


@pytest.mark.slow
def test_published_numbers_are_shown_as_printed_with_their_source() -> None:
    page = render(with_published(tables(Invented(runs=2)), ROW, (*ROW[:5], "macro", "auprc", 0.93)))
    section = page[page.index('id="published"') : page.index('id="method"')]
    assert "Published" in section
    assert ".9165" in section
    assert ">.93<" in section
    assert "its tables" in section
    assert "[" not in re.sub(r"<[^>]*>", "", section)  # no interval


@pytest.mark.slow
def test_a_page_states_which_summaries_of_other_findings_its_macro_includes() -> None:
    row = (*ROW[:5], "macro", "auroc", 0.8459)
    page = render(with_published(tables(Invented(runs=2)), row))
    note = "Macro scores include No Finding, which summarizes the other findings."
    assert note in page[page.index('<section id="ranking"') : page.index('<section id="published"')]
    assert note in page[page.index('<section id="published"') : page.index('<section id="method"')]
    assert "summarizes the other" not in page_of(Invented(runs=2, internal_labels=("Edema", "Pneumonia")))


@pytest.mark.slow
def test_published_numbers_change_no_other_section() -> None:
    plain = tables(Invented(runs=3))
    page = render(with_published(plain, ROW)).replace('<a href="#published">Published</a>', "")
    without = page[: page.index('<section id="published"')] + page[page.index('<section id="method"') :]
    assert without.split() == render(plain).split()


@pytest.mark.slow
@pytest.mark.parametrize("phantom", [True, False])
def test_only_phantom_pages_say_that_published_numbers_are_not_comparable(phantom: bool) -> None:
    page = render(with_published(tables(Invented(runs=2, phantom=phantom)), ROW))
    assert ("cannot be compared with the synthetic images" in page) == phantom


@pytest.mark.slow
def test_an_imported_model_is_below_the_ranking_with_the_declaration_of_its_owner() -> None:
    made = with_derived(tables(Invented(runs=3)), "external")
    runs = made["runs"]
    foreign = runs["kind"] == "external"
    said = '{"cohorts": ["nih"], "others": ["a clinic"], "seen": ["nih"], "source": "https://example.org/net"}'
    licences = runs["weights_licence"].where(~foreign, "apache-2.0")
    made.frames["runs"] = runs.assign(config=runs["config"].where(~foreign, said), weights_licence=licences)
    page = render(made)
    assert "ensembles, and imported models" in page
    links = re.findall(r'class="c-sources more">(.*?)</td>', page)
    assert any(
        "apache-2.0 · 2026-01-31" in cell and 'href="https://example.org/net">source</a>' in cell for cell in links
    )
    assert ' · <a href="https://example.org/net">source</a></dd>' in page
    assert "<dt>Date</dt><dd>2026-01-31</dd>" in page
    assert "used in training" in page
    assert "a clinic" in page
    assert first_screen(page) == first_screen(page_of(Invented(runs=3)))


@pytest.mark.slow
def test_a_page_of_only_imported_models_describes_them_correctly() -> None:
    made = with_derived(tables(Invented(runs=3)), "external")
    runs = made["runs"]
    foreign = runs["kind"] == "external"
    said = '{"cohorts": ["nih"], "others": [], "seen": ["nih"]}'
    own = set(runs.loc[foreign, "run_id"])
    made.frames["runs"] = runs.assign(config=runs["config"].where(~foreign, said))
    for name, frame in made.frames.items():
        if "run_id" in frame:
            made.frames[name] = frame[frame["run_id"].isin(own)].reset_index(drop=True)
    page = render(made)
    assert "No ranking: every model was trained elsewhere" in page
    assert re.search(r"\b[1-9] imported models? · ", page)
    for false in (
        "No run is ranked",
        "No finding has both an internal",
        "where the networks were trained. External:",
        "0 runs",
    ):
        assert false not in page
    for section in ("hospitals", "findings", "cost", "calibration", "training"):  # of ranked runs
        assert f'<section id="{section}"' not in page
        assert f'href="#{section}"' not in page
    for section in ("ranking", "cohorts", "method", "exposure", "runs"):
        assert f'id="{section}"' in page
