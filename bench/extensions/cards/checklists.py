"""Fill the items of reporting checklists (TRIPOD+AI, CLAIM, TRIPOD-Cluster) from what a store knows about a study.

An item is filled only if a stored value answers it. For every other item, the checklist names who has to write it.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bench.extensions.cards.checklist_facts import FACTS, Fact, Stored
from bench.planning.manifest import Manifest
from harmonize.yaml_file import read_yaml

ITEMS = Path(__file__).parent / "checklist_items.yaml"
FILLED, PARTLY, BLANK, NOT_APPLICABLE = STATES = ("filled", "partly", "blank", "not applicable")

# name of a fact -> what a store without the fact lacks, where the name of the fact does not say so
NOT_STORED = {
    "command": "the command that trains the runs",
    "failures": "a gallery of single cases (analysis `attention`)",
    "groups": "scores of patient groups",
    "heat_maps": "heat maps (analysis `attention`)",
    "prediction": "weights with which others can predict",
    "robustness": "an analysis of shortcuts, such as `transplants`",
}


@dataclass(frozen=True, slots=True)
class FilledItem:
    """An item of a checklist.

    state: one of STATES. facts: what the store answers. rest: what a person has to write beside the facts, or why the item does not apply.
    by: who writes it ("" if the item is filled or does not apply).
    """

    id: str
    section: str
    asks: str
    state: str
    facts: tuple[Fact, ...] = ()
    rest: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True)
class FilledChecklist:
    """A checklist with its items. `source`: the paper that defines it."""

    name: str
    title: str
    source: str
    items: tuple[FilledItem, ...]

    @property
    def summary(self) -> str:
        """Return the number of items of each state, and for whom blank items are, as one line."""
        count = Counter(item.state for item in self.items)
        states = [f"{count[state]} {state}" for state in STATES if count[state]]
        missing = Counter(item.by for item in self.items if item.by)
        people = [f"{number} for the {who}" for who, number in sorted(missing.items())]
        return f"{self.name}, {len(self.items)} items: {', '.join(states)}; to write: {', '.join(people)}"


def filled_checklists(manifest: Manifest) -> list[FilledChecklist]:
    """Return the filled checklists of a grid. Raises StoreError if its report is missing or damaged."""
    stored = Stored.of(manifest)
    known = {name: fact for name, function in FACTS.items() if (fact := function(stored))}
    synthetic = manifest.phantom
    return [
        FilledChecklist(
            checklist["name"],
            checklist["title"],
            checklist["source"],
            tuple(_filled(item, known, synthetic) for item in checklist["items"]),
        )
        for checklist in checklists()
    ]


@cache
def checklists() -> list[dict[str, Any]]:
    """Return the checklists as they are in ITEMS."""
    content = read_yaml(ITEMS)
    return list(content)


def _filled(item: Mapping[str, Any], known: Mapping[str, Fact], synthetic: bool) -> FilledItem:
    """Fill one item. `known`: name of a fact -> the fact, where the store has it."""
    names = (item["id"], item["section"], item["asks"])
    reason = item.get("never", "") or (item.get("unless", "") if synthetic else "")
    if reason:
        return FilledItem(*names, NOT_APPLICABLE, rest=reason)
    facts = tuple(known[name] for name in item.get("facts", ()) if name in known)
    absent = [name for name in item.get("facts", ()) if name not in known]
    unknown = ", ".join(NOT_STORED.get(name, name.replace("_", " ")) for name in absent)
    missing = [f"not in the store: {unknown}"] * bool(unknown)
    if not facts:
        return FilledItem(*names, BLANK, rest="; ".join(["everything", *missing]), by=item.get("by", "authors"))
    rest = "; ".join([*filter(None, [item.get("rest", "")]), *missing])
    return FilledItem(*names, PARTLY if rest else FILLED, facts, rest, item.get("by", "authors") if rest else "")
