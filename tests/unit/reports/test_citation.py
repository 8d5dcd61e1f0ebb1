"""How to cite: the software as CITATION.cff states it, and the leaderboard of the page."""

import re
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from reports.page import render
from reports.summaries.citation import AUTHORS, TITLE, bibtex
from reports.tables import Tables
from tests.synthetic import Invented, tables

META = {
    "grid": "lungs_2",
    "title": "Lungs & hearts",
    "date": "2026-11-22",
    "software": {"version": "0.1.0", "repository": "https://example.org/unseen"},
    "phantom": True,
}


def test_title_authors_and_version_are_those_of_the_citation_file():
    stated = yaml.safe_load((Path(__file__).parents[3] / "CITATION.cff").read_text())
    assert (stated["title"], [author["name"] for author in stated["authors"]]) == (TITLE, [AUTHORS])
    assert stated["version"] == version("unseen-cxr")


def test_both_entries_state_version_date_commit_and_synthetic_images_and_escape_latex():
    software, board = bibtex(META, ["0123abc"], "CheXpert").split("\n\n")
    assert 'version = "{0.1.0}"' in software
    assert 'url = "{https://example.org/unseen}"' in software
    assert r'title = "{Lungs \& hearts: leaderboard of the grid lungs\_2}"' in board
    assert 'note = "{trained on CheXpert, synthetic images, last run 2026-11-22}"' in board
    assert 'howpublished = "{Unseen 0.1.0, commit 0123abc}"' in board
    assert 'year = "{2026}"' in board


def test_missing_facts_leave_no_empty_field():
    text = bibtex({"grid": "g"}, [], "CheXpert")
    assert not re.search(r"\{\s*\}|, ,", text)
    assert "year" not in text


@pytest.mark.slow
@pytest.mark.parametrize("phantom", [True, False])
def test_the_page_has_the_citation_and_names_real_datasets_to_cite(phantom):
    study = tables(Invented(runs=3, phantom=phantom))
    page = render(replace(study, meta={**study.meta, **META, "phantom": phantom}))
    assert "@misc{unseen-leaderboard," in page
    assert '<a href="https://example.org/unseen">Repository</a>' in page
    assert ("Cite the datasets, too:" in page) is not phantom
    assert "<dt>Last run</dt><dd>2026-11-22</dd>" in page


@pytest.mark.slow
def test_the_details_of_a_run_link_to_the_publications_of_its_entries():
    study = tables(Invented(runs=3))
    optimizer = str(study["runs"]["optimizer"].iloc[0])
    links = {"optimizer": {optimizer: {"paper": "arXiv:1711.05101", "code": "a book"}}}
    page = render(Tables({**study.meta, "links": links}, study.frames))
    expected = f'<dd>{optimizer} · <a href="https://arxiv.org/abs/1711.05101">paper</a> · code: a book</dd>'
    assert expected in page


@pytest.mark.slow
@pytest.mark.parametrize("weights", ["imagenet", "none"])
def test_the_details_of_a_run_link_to_its_starting_weights_if_it_has_any(weights):
    study = tables(Invented(runs=1))
    network = str(study["runs"]["architecture"].iloc[0])
    links = {"architecture": {network: {"weights": "https://huggingface.co/timm/some.tag"}}}
    runs = study["runs"].assign(weights=weights)
    page = render(Tables({**study.meta, "links": links}, {**study.frames, "runs": runs}))
    assert ('<a href="https://huggingface.co/timm/some.tag">starting weights</a>' in page) is (weights == "imagenet")


@pytest.mark.slow
def test_the_details_of_a_run_name_its_submitter_and_what_was_checked():
    study = tables(Invented(runs=3))
    signed, unsigned, own = study["runs"]["run_id"]
    bundles = {
        signed: [{"file": "a.zip", "signed_by": "lab <a&b>"}, {"file": "b.zip", "signed_by": ""}],
        unsigned: [{"file": "b.zip", "signed_by": ""}],
    }
    page = render(Tables({**study.meta, "bundles": bundles}, study.frames))
    details = {run: page.split(f'id="run-{run}"')[1].split("<dt>Run id</dt>")[0] for run in (signed, unsigned, own)}
    checked = (
        "<dt>Status</dt><dd>verified: scores follow from the logits; that the logits come from the stated network is not "
        "verified</dd>"
    )
    assert "<dt>Submitter</dt><dd>lab &lt;a&amp;b&gt;</dd>" in details[signed]
    assert "<dt>Bundle</dt><dd>a.zip and b.zip</dd>" + checked in details[signed]
    assert "<dt>Submitter</dt><dd>not known: b.zip without a verified signature</dd>" in details[unsigned]
    assert "<dt>Bundle</dt><dd>b.zip</dd>" + checked in details[unsigned]
    assert "<dt>Submitter</dt>" not in details[own]
    assert "<dt>Status</dt>" not in details[own]
    ranking = page.split('id="ranking"')[1].split("</section>")[0]
    assert " · submitted by lab &lt;a&amp;b&gt;, bundle verified" in ranking
    assert len(re.findall(r"bundle verified(?:</span>| · )", ranking)) == 2
    assert "bundle verified" not in render(study)
