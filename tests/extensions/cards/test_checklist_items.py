"""The items of the checklists: complete, and answered only by facts that exist."""

import re

import pytest

from bench.extensions.cards.checklist_facts import FACTS, Fact, StoredPlace
from bench.extensions.cards.checklists import (
    BLANK,
    FILLED,
    NOT_APPLICABLE,
    NOT_STORED,
    PARTLY,
    STATES,
    FilledChecklist,
    _filled,
    checklists,
)
from bench.extensions.cards.markdown import escaped

BY = {"authors", "data owner"}
FACT = Fact("a fact", (StoredPlace("grids/a.json", "runs"),))


def expected_ids(name: str) -> list[str]:
    """Return the numbers of the items as the papers have them."""
    if name == "CLAIM":
        return [str(number) for number in range(1, 45)]
    if name == "TRIPOD-Cluster":
        parts = {3: "ab", 4: "ab", 6: "ab", 7: "abcd", 8: "abcdefg", 10: "abc", 12: "ab", 13: "ab", 16: "abc"}
        return [f"{number}{part}" for number in range(1, 20) for part in parts.get(number, [""])]
    parts = {
        3: "abc",
        5: "ab",
        6: "abc",
        8: "abc",
        9: "abc",
        12: "abcdefg",
        18: "abcdef",
        20: "abc",
        23: "ab",
        27: "abc",
    }
    return [f"{number}{part}" for number in range(1, 28) for part in parts.get(number, [""])]


@pytest.mark.parametrize("checklist", checklists(), ids=lambda c: c["name"])
def test_a_checklist_has_each_item_of_its_paper_once(checklist: dict[str, object]) -> None:
    items = checklist["items"]
    assert isinstance(items, list)
    assert [item["id"] for item in items] == expected_ids(str(checklist["name"]))
    assert re.search(r"doi:10\.\d+/", str(checklist["source"]))


@pytest.mark.parametrize("item", [i for c in checklists() for i in c["items"]], ids=lambda i: f"{i['id']} {i['asks']}")
def test_an_item_is_answered_by_facts_or_by_people(item: dict[str, object]) -> None:
    assert set(item) <= {"id", "section", "asks", "facts", "rest", "by", "never", "unless"}
    facts = item.get("facts", [])
    assert isinstance(facts, list)
    assert set(facts) <= set(FACTS)
    people = "rest" in item or not facts
    assert ("by" in item) == (people and "never" not in item), "who writes it, if a person has to"
    assert item.get("by", "authors") in BY
    assert "rest" not in item or facts


def test_every_fact_answers_an_item() -> None:
    asked = {name for checklist in checklists() for item in checklist["items"] for name in item.get("facts", ())}
    assert asked == set(FACTS)


def test_a_blank_item_says_in_words_what_the_store_lacks() -> None:
    assert set(NOT_STORED) <= set(FACTS)
    item = _filled({"id": "1", "section": "s", "asks": "what", "facts": ["robustness", "heat_maps"]}, {}, False)
    assert item.rest == (
        "everything; not in the store: an analysis of shortcuts, such as `transplants`, heat maps (analysis `attention`)"
    )


@pytest.mark.parametrize(
    ("more", "known", "synthetic", "state", "by"),
    [
        ({"facts": ["a"]}, {"a": FACT}, False, FILLED, ""),
        ({"facts": ["a"], "rest": "why", "by": "data owner"}, {"a": FACT}, False, PARTLY, "data owner"),
        ({"facts": ["a", "b"]}, {"a": FACT}, False, PARTLY, "authors"),
        ({"facts": ["a", "b"]}, {}, False, BLANK, "authors"),
        ({"by": "data owner"}, {"a": FACT}, False, BLANK, "data owner"),
        ({"never": "no"}, {}, False, NOT_APPLICABLE, ""),
        ({"by": "authors", "unless": "no"}, {}, True, NOT_APPLICABLE, ""),
        ({"by": "authors", "unless": "no"}, {}, False, BLANK, "authors"),
    ],
)
def test_the_state_of_an_item_follows_from_what_is_stored(
    more: dict[str, object], known: dict[str, Fact], synthetic: bool, state: str, by: str
) -> None:
    item = _filled({"id": "1", "section": "s", "asks": "what", **more}, known, synthetic)
    assert (item.state, item.by) == (state, by)


def test_the_summary_counts_every_item_once() -> None:
    items = tuple(
        _filled({"id": i["id"], "section": "", "asks": "", **i}, {"sizes": FACT}, False)
        for i in checklists()[0]["items"]
    )
    summary = FilledChecklist("A", "", "", items).summary
    counts = [int(number) for number in re.findall(r"(\d+) (?:" + "|".join(STATES) + ")", summary)]
    assert sum(counts) == len(items) == 52


def test_names_of_others_stay_in_their_cell() -> None:
    assert escaped("<script>|a|\n*b* [c](d)") == r"&lt;script&gt;\|a\| \*b\* \[c\](d)"
