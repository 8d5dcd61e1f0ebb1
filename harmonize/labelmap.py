"""Native labels in, shared findings out, as `labels.yaml` says."""

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harmonize.datasets import LABELS, native
from harmonize.errors import ConfigError
from harmonize.findings import ABSENT, FINDINGS, NOT_MENTIONED, PRESENT, UNCERTAIN, labels_yaml

MAPPINGS = ("default", "strict", "broad")
_NULL = -9
_WEIGHT = (_NULL, NOT_MENTIONED, ABSENT, UNCERTAIN, PRESENT)  # of several native labels the strongest statement counts


def block(layout: str) -> dict[str, Any]:
    """Return the block of labels.yaml for a published layout."""
    datasets = labels_yaml()["datasets"]
    if layout not in datasets:
        close = get_close_matches(layout, datasets, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(datasets)}"
        raise ConfigError(f"no layout {layout!r}", "harmonize/labels.yaml: datasets", hint)
    found: dict[str, Any] = datasets[layout]
    return found


def reference(layout: str, split: str = "") -> str:
    """Return who labelled: report (a text labeler), radiologist, or stated (a table of one's own).

    >>> reference("chexpert", "train"), reference("chexpert", "expert_test"), reference("table")
    ('report', 'radiologist', 'stated')
    """
    if split.startswith("expert_"):
        return "radiologist"
    return "stated" if layout == "table" else str(block(layout)["reference"])


def grade(layout: str, finding: str) -> str:
    """Return how well a published layout expresses a finding: exact, approximate or unmapped.

    >>> grade("nih", "Lung Lesion")
    'approximate'
    """
    entry = block(layout)["findings"].get(finding)
    return str(entry["grade"]) if entry else "unmapped"


def words(layout: str, finding: str, mapping: str = "default") -> tuple[str, ...]:
    """Return the native labels that mean a finding, () when it is unmapped.

    >>> words("nih", "Lung Lesion")
    ('Mass', 'Nodule')
    """
    if mapping not in MAPPINGS:
        raise ConfigError(f"no mapping {mapping!r}", "mapping", f"one of {', '.join(MAPPINGS)}")
    entry: Mapping[str, Any] = block(layout)["findings"].get(finding, {"native": []})
    return tuple(entry.get(mapping, entry["native"]))


def apply(
    table: pd.DataFrame, layout: str, mapping: str = "default", findings: Sequence[str] = FINDINGS
) -> pd.DataFrame:
    """Return one Int8 column of label states per finding, null where the dataset cannot express it.

    `table` is the native table of that layout. The layout `table` names its columns by finding already.
    """
    state_of: Callable[[str], NDArray[np.int8]]
    if layout == "table":
        state_of = lambda finding: _strongest(table, (finding,))  # noqa: E731
    elif block(layout)["family"] == "columns":
        state_of = lambda finding: _strongest(table, words(layout, finding, mapping))  # noqa: E731
    else:
        state_of = _token_reader(table[LABELS], layout, mapping)
    columns = {}
    for finding in findings:
        state = state_of(finding)
        columns[finding] = pd.Series(pd.arrays.IntegerArray(state, state == _NULL), index=table.index)
    return pd.DataFrame(columns, index=table.index)


def _strongest(table: pd.DataFrame, labels: Sequence[str]) -> NDArray[np.int8]:
    """Return the strongest statement among native columns; labels without a column state nothing."""
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
        wanted = frozenset(words(layout, finding, mapping))
        if not wanted:
            return np.full(len(cells), _NULL, np.int8)
        alone = finding in exclusive
        states = [_exclusive(row, wanted, silent) if alone else _any(row, wanted) for row in rows]
        return np.array(states, np.int8)[codes] if rows else np.zeros(0, np.int8)

    return state_of


def _any(row: frozenset[str], wanted: frozenset[str]) -> int:
    """Return the state of a finding that any of its words makes present."""
    return PRESENT if row & wanted else ABSENT


def _exclusive(row: frozenset[str], wanted: frozenset[str], silent: frozenset[str]) -> int:
    """Return the state of a finding that is present only where no other finding word is."""
    spoken = row - silent
    if not spoken:
        return _NULL
    return PRESENT if spoken <= wanted else ABSENT
