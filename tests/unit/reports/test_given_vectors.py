"""Runs on given vectors: ranking, details, cost and heat maps say in words what such a run does not have."""

import pytest
from bs4 import BeautifulSoup, Tag

from bench.results.stored_runs import remark_of
from reports.page import render
from reports.tables import Tables
from tests.synthetic import Invented, ranked_ids, tables

with_looks = pytest.importorskip("tests.extensions.heat_maps.test_heatmaps").with_looks
STUDY = with_looks(tables(Invented(runs=4)), 2.0)
GIVEN = ranked_ids(STUDY)[1]
pytestmark = pytest.mark.slow  # two whole pages


@pytest.fixture(scope="module", params=[False, True], ids=["networks", "given vectors"])
def page(request: pytest.FixtureRequest) -> tuple[bool, BeautifulSoup]:
    """Return whether a run has given vectors, and the page."""
    runs = STUDY["runs"].copy()
    if request.param:
        runs.loc[runs["run_id"] == GIVEN, "remark"] = remark_of({"given_vectors": "Their encoder"})
    return request.param, BeautifulSoup(render(Tables(STUDY.meta, {**STUDY.frames, "runs": runs})), "html.parser")


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("ranking", "given vectors"),
        ("cost", "1 run has given vectors: the owner of the encoder computed the features, so operations, parameters and speed are unknown."),
        ("attention", "1 run has given vectors: no network reads images, so there are no heat maps."),
        (f"run-{GIVEN}", "so this run has no heat maps, no transplant tests and no costs."),
    ],
)  # fmt: skip
def test_the_page_says_what_a_run_on_given_vectors_does_not_have(
    page: tuple[bool, BeautifulSoup], section: str, words: str
) -> None:
    given, content = page
    found = content.find(id=section)
    assert isinstance(found, Tag)
    assert (words in " ".join(found.get_text(" ").split())) == given
