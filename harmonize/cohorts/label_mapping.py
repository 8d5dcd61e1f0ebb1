"""Map native labels to shared findings by the rules of `labels.yaml`."""

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harmonize.datasets import LABELS, native
from harmonize.errors import ConfigError
from harmonize.labels.findings import ABSENT, FINDINGS, NOT_MENTIONED, PRESENT, UNCERTAIN, label_sources, labels_yaml

MAPPINGS = ("default", "strict", "broad")
_NULL = -9
# If several native labels map to one finding, the strongest state counts.
_WEIGHT = (_NULL, NOT_MENTIONED, ABSENT, UNCERTAIN, PRESENT)


def block(layout: str) -> dict[str, Any]:
    """Return the block of labels.yaml for a published layout."""
    datasets = labels_yaml()["datasets"]
    if layout not in datasets:
        close = get_close_matches(layout, datasets, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(datasets)}"
        raise ConfigError(f"no layout {layout!r}", "harmonize/labels/labels.yaml: datasets", hint)
    found: dict[str, Any] = datasets[layout]
    return found


def entries(layout: str) -> dict[str, Any]:
    """Return finding -> rule for all findings of a layout in labels.yaml, of every label space."""
    beyond: dict[str, Any] = labels_yaml()["beyond"].get(layout, {}).get("findings", {})
    return {**block(layout)["findings"], **beyond}


def reference(layout: str, split: str = "", source: str = "default") -> str:
    """Return the source of the labels: report (mined from reports), radiologist, or stated (layout `table`).

    >>> reference("chexpert", "train"), reference("chexpert", "expert_test"), reference("table")
    ('report', 'radiologist', 'stated')
    >>> reference("mimic", "test", "expert")
    'radiologist'
    """
    if split.startswith("expert_"):
        return "radiologist"
    if layout == "table":
        return "stated"
    return str(label_sources(layout).get(source, block(layout))["reference"])


def facts(layout: str, source: str, split: "pd.Series[str]") -> dict[str, str]:
    """Return the texts about a cohort for pages: those of labels.yaml, changed by its label source and expert splits."""
    found = {k: v for k, v in labels_yaml()["datasets"].get(layout, {}).items() if isinstance(v, str)}
    if source != "default":
        found["label_source"] = str(label_sources(layout)[source]["title"])
        found["reference"] = reference(layout, source=source)
    if split.str.startswith("expert_").all():
        found["reference"] = "radiologist"
    return found


def grade(layout: str, finding: str) -> str:
    """Return the grade of a layout's rule for a finding: exact, approximate or unmapped.

    >>> grade("nih", "Lung Lesion")
    'approximate'
    """
    entry = entries(layout).get(finding)
    return str(entry["grade"]) if entry else "unmapped"


def words(layout: str, finding: str, mapping: str = "default") -> tuple[str, ...]:
    """Return the native labels that mean a finding, () if the finding is unmapped.

    >>> words("nih", "Lung Lesion")
    ('Mass', 'Nodule')
    """
    if mapping not in MAPPINGS:
        raise ConfigError(f"no mapping {mapping!r}", "mapping", f"one of {', '.join(MAPPINGS)}")
    entry: Mapping[str, Any] = entries(layout).get(finding, {})
    return tuple(entry.get(mapping, entry.get("native", ())))


def differences(layout: str, findings: Sequence[str] = FINDINGS) -> list[dict[str, Any]]:
    """Return the changes by the mappings strict and broad: finding, mapping, labels added and removed, and reason.

    >>> differences("nih")
    [{'finding': 'Consolidation', 'mapping': 'broad', 'added': ['Infiltration'], 'removed': [], 'reason': 'same word; \
Infiltration has no target in the shared nine'}]
    """
    found = []
    for finding in findings:
        usual = words(layout, finding)
        for mapping in MAPPINGS[1:]:
            other = words(layout, finding, mapping)
            if other != usual:
                added, removed = [w for w in other if w not in usual], [w for w in usual if w not in other]
                reason = str(entries(layout)[finding]["reason"])
                found.append(
                    {"finding": finding, "mapping": mapping, "added": added, "removed": removed, "reason": reason}
                )
    return found


def apply(
    table: pd.DataFrame, layout: str, mapping: str = "default", findings: Sequence[str] = FINDINGS
) -> pd.DataFrame:
    """Return one Int8 column of label states per finding, null if the dataset does not map the finding.

    `table` is the native table of that layout. The layout `table` names its columns by finding already.
    """
    state_of: Callable[[str], NDArray[np.int8]]
    if layout == "table":
        state_of = lambda finding: _strongest(table, (finding,))  # noqa: E731
    elif block(layout)["family"] == "columns":
        state_of = lambda finding: _column_state(table, layout, finding, mapping)  # noqa: E731
    else:
        state_of = _token_reader(table[LABELS], layout, mapping)
    columns = {}
    for finding in findings:
        state = state_of(finding)
        columns[finding] = pd.Series(pd.arrays.IntegerArray(state, state == _NULL), index=table.index)
    return pd.DataFrame(columns, index=table.index)


def vocabulary(layout: str) -> frozenset[str]:
    """Return all native labels of a token family; empty if labels.yaml lists no vocabulary for the layout."""
    return frozenset(labels_yaml()["vocabulary"].get(layout, "").split(", ")) - {""}


def unknown_words(table: pd.DataFrame, layout: str) -> "pd.Series[str]":
    """Return the unknown labels of each row with any, joined with "|"; empty for a layout without a vocabulary."""
    known = vocabulary(layout)
    if not known:
        return pd.Series("", index=table.index[:0])
    odd = {text: "|".join(w for w in str(text).split("|") if w and w not in known) for text in table[LABELS].unique()}
    found = table[LABELS].map(odd)
    return found[found != ""]


def _column_state(table: pd.DataFrame, layout: str, finding: str, mapping: str) -> NDArray[np.int8]:
    """Return the states of one finding in a column family."""
    rule: Mapping[str, Any] = entries(layout).get(finding, {})
    if "opposite" not in rule:
        return _strongest(table, words(layout, finding, mapping))
    healthy = words(layout, rule["opposite"])
    besides = {native(label) for label in (*healthy, *rule.get("besides", ()))}
    others = [str(name).removeprefix("native:") for name in table if str(name).startswith("native:")]
    other = _strongest(table, [label for label in others if native(label) not in besides])
    none = _strongest(table, healthy) == PRESENT
    return np.select([other == PRESENT, none, other == UNCERTAIN], [PRESENT, ABSENT, UNCERTAIN], _NULL).astype(np.int8)


def _strongest(table: pd.DataFrame, labels: Sequence[str]) -> NDArray[np.int8]:
    """Return the strongest state among native columns; labels without a column are ignored."""
    rank = np.zeros(len(table), np.int8)
    rank_of = np.zeros(256, np.int8)
    rank_of[np.array(_WEIGHT, np.int8).view(np.uint8)] = np.arange(len(_WEIGHT))
    for label in labels:
        if native(label) in table:
            states = table[native(label)].to_numpy(np.int8, na_value=_NULL)
            rank = np.maximum(rank, rank_of[states.view(np.uint8)])
    return np.array(_WEIGHT, np.int8)[rank]


def _token_reader(cells: pd.Series, layout: str, mapping: str) -> Callable[[str], NDArray[np.int8]]:
    """Return a function from a finding to its states, for cells of words joined with "|"."""
    codes, distinct = pd.factorize(cells)
    rows = [frozenset(str(text).split("|")) - {""} for text in distinct]
    silent = frozenset(block(layout)["silent"])
    exclusive = block(layout)["exclusive"]

    def state_of(finding: str) -> NDArray[np.int8]:
        rule: Mapping[str, Any] = entries(layout).get(finding, {})
        if "opposite" in rule:
            healthy = state_of(rule["opposite"])
            return np.select([healthy == PRESENT, healthy == ABSENT], [ABSENT, PRESENT], _NULL).astype(np.int8)
        wanted = frozenset(words(layout, finding, mapping))
        if not wanted:
            return np.full(len(cells), _NULL, np.int8)
        alone = finding in exclusive
        states = [_exclusive(row, wanted, silent) if alone else _any(row, wanted) for row in rows]
        return np.array(states, np.int8)[codes] if rows else np.zeros(0, np.int8)

    return state_of


def _any(row: frozenset[str], wanted: frozenset[str]) -> int:
    """Return the state of a finding that is present if any of its labels is."""
    return PRESENT if row & wanted else ABSENT


def _exclusive(row: frozenset[str], wanted: frozenset[str], silent: frozenset[str]) -> int:
    """Return the state of a finding that is present only if no other label is."""
    spoken = row - silent
    if not spoken:
        return _NULL
    return PRESENT if spoken <= wanted else ABSENT
