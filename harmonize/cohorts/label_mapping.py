"""Map native labels to shared findings by the rules of `labels.yaml`.

A layout belongs to one of two families. In the column family, each native label has a column of states. In the token
family, one column contains the labels of each image, joined with "|".
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harmonize.datasets import LABELS, native
from harmonize.datasets.ids import look
from harmonize.errors import ConfigError
from harmonize.labels.findings import (
    ABSENT,
    ALL_FINDINGS,
    FINDINGS,
    NOT_MENTIONED,
    PRESENT,
    UNCERTAIN,
    label_sources,
    labels_yaml,
)

MAPPINGS = ("default", "strict", "broad")
REPORT = "report"  # in place of a mapping: the layout's own labels, from reports, of images that radiologists labeled
_NULL = -9  # code of a null state in arrays of states
# If several native labels map to one finding, the finding gets the strongest of their states.
_WEAKEST_TO_STRONGEST = (_NULL, NOT_MENTIONED, ABSENT, UNCERTAIN, PRESENT)


def block(layout: str) -> dict[str, Any]:
    """Return the block of labels.yaml for a published layout."""
    datasets = labels_yaml()["datasets"]
    if layout not in datasets:
        fix = ConfigError.suggestion(layout, datasets)
        raise ConfigError(f"no layout {layout!r}", "harmonize/labels/labels.yaml: datasets", fix)
    layout_block: dict[str, Any] = datasets[layout]
    return layout_block


def entries(layout: str, source: str = "default") -> dict[str, Any]:
    """Return the rules of a layout in labels.yaml (finding -> rule), for the findings of all label spaces.

    A label source with other labels than the layout has rules of its own.

    >>> list(entries("nih", "expert"))
    ['Pneumothorax', 'Lung Lesion', 'Lung Opacity', 'Fracture']
    """
    if has_own_labels(layout, source):
        return dict(label_sources(layout)[source]["findings"])
    beyond: dict[str, Any] = labels_yaml()["beyond"].get(layout, {}).get("findings", {})
    return {**block(layout)["findings"], **beyond}


def has_own_labels(layout: str, source: str) -> bool:
    """Return whether a label source has other labels than the layout: in columns "<label source>:<label>"."""
    return "findings" in label_sources(layout).get(source, {})


def reference(layout: str, split: str = "", source: str = "default") -> str:
    """Return who made the labels: report (a program that reads reports), radiologist, or stated (by a user's table).

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
    """Return the texts in labels.yaml that describe a cohort on pages.

    `source` is the label source of the cohort, which changes the texts `label_source` and `reference`. `split` has the
    split of each row; if all are expert splits, `reference` is "radiologist".
    """
    texts = {key: text for key, text in labels_yaml()["datasets"].get(layout, {}).items() if isinstance(text, str)}
    if source != "default":
        texts["label_source"] = str(label_sources(layout)[source]["title"])
        texts["reference"] = reference(layout, source=source)
    if split.str.startswith("expert_").all():
        texts["reference"] = "radiologist"
    return texts


def images_of(layout: str) -> str:
    """Return the layout whose hospital took the images of a layout.

    >>> images_of("rsna"), images_of("nih"), images_of("table")
    ('nih', 'nih', 'table')
    """
    return str(labels_yaml()["datasets"].get(layout, {}).get("images_of", layout))


def source_of(layout: str, texts: Mapping[str, str]) -> str:
    """Return the label source whose cohort has these texts (see `facts`)."""
    titles = {str(entry["title"]): name for name, entry in label_sources(layout).items()}
    return titles.get(texts.get("label_source", ""), "default")


def grade(layout: str, finding: str, source: str = "default") -> str:
    """Return how well the rule of a layout and label source matches a finding: exact, approximate or unmapped.

    >>> grade("nih", "Lung Lesion"), grade("nih", "Edema", "expert")
    ('approximate', 'unmapped')
    """
    entry = entries(layout, source).get(finding)
    return str(entry["grade"]) if entry else "unmapped"


def native_labels(layout: str, finding: str, mapping: str = "default") -> tuple[str, ...]:
    """Return the native labels that map to a finding, () if the finding is unmapped.

    >>> native_labels("nih", "Lung Lesion")
    ('Mass', 'Nodule')
    """
    if mapping not in MAPPINGS:
        raise ConfigError(f"no label mapping {mapping!r}", "mapping", f"use one of {', '.join(MAPPINGS)}")
    entry: Mapping[str, Any] = entries(layout).get(finding, {})
    return tuple(entry.get(mapping, entry.get("native", ())))


def differences(layout: str, findings: Sequence[str] = FINDINGS) -> list[dict[str, Any]]:
    """Return how the mappings strict and broad differ from the default mapping, as one dict per mapping and finding.

    A finding without a difference has no dict. `added` and `removed` are the native labels that the mapping adds and
    removes; `reason` is the text in labels.yaml.

    >>> differences("nih")
    [{'finding': 'Consolidation', 'mapping': 'broad', 'added': ['Infiltration'], 'removed': [], 'reason': 'same word; \
Infiltration has no target in the shared nine'}]
    """
    changes = []
    for finding in findings:
        default_labels = native_labels(layout, finding)
        for mapping in MAPPINGS[1:]:
            changed_labels = native_labels(layout, finding, mapping)
            if changed_labels != default_labels:
                added = [label for label in changed_labels if label not in default_labels]
                removed = [label for label in default_labels if label not in changed_labels]
                reason = str(entries(layout)[finding]["reason"])
                change = {"finding": finding, "mapping": mapping, "added": added, "removed": removed, "reason": reason}
                changes.append(change)
    return changes


def apply(
    table: pd.DataFrame,
    layout: str,
    mapping: str = "default",
    findings: Sequence[str] = FINDINGS,
    source: str = "default",
) -> pd.DataFrame:
    """Return one Int8 column of label states per finding; null where the labels of an image do not express the finding.

    `table` is the native table of this layout, read with the label source `source`. In the layout `table`, the native
    labels are already findings.
    """
    state_of: Callable[[str], NDArray[np.int8]]
    if layout == "table":
        state_of = lambda finding: _strongest(table, (finding,))  # noqa: E731
    elif has_own_labels(layout, source):
        rules = entries(layout, source)
        prefix = f"{source}:"
        own = {name: native(name.removeprefix(prefix)) for name in map(str, table) if name.startswith(prefix)}
        renamed = table[list(own)].rename(columns=own)
        state_of = lambda finding: _with_doubt(renamed, rules.get(finding, {}))  # noqa: E731
    elif block(layout)["family"] == "columns":
        state_of = lambda finding: _column_state(table, layout, finding, mapping)  # noqa: E731
    else:
        state_of = _token_reader(table[LABELS], layout, mapping)
    columns = {}
    for finding in findings:
        state = state_of(finding)
        columns[finding] = pd.Series(pd.arrays.IntegerArray(state, state == _NULL), index=table.index)
    return pd.DataFrame(columns, index=table.index)


@cache
def _names() -> frozenset[str]:
    """Return the forms (see `ids.look`) of all findings, and of all native labels that mean a finding."""
    content = labels_yaml()
    rules = [
        rule for part in ("datasets", "beyond") for of in content[part].values() for rule in of["findings"].values()
    ]
    natives = [word for rule in rules for key in ("native", "strict", "broad") for word in rule.get(key, ())]
    return frozenset(map(look, [*natives, *ALL_FINDINGS]))


def is_finding(name: str) -> bool:
    """Return whether a label space or a dataset has a finding of this name, whatever its case, spaces and separators.

    >>> is_finding("pleural_effusion"), is_finding("Effusion"), is_finding("sex"), is_finding("Unnamed: 0")
    (True, True, False, False)
    """
    return look(name) in _names()


def vocabulary(layout: str) -> frozenset[str]:
    """Return all native labels of a layout of the token family; empty if labels.yaml has no vocabulary of this layout."""
    return frozenset(labels_yaml()["vocabulary"].get(layout, "").split(", ")) - {""}


def unknown_words(table: pd.DataFrame, layout: str) -> "pd.Series[str]":
    """Return the unknown labels (joined with "|") of each row that has some; no rows for a layout without a vocabulary."""
    vocabulary_words = vocabulary(layout)
    if not vocabulary_words:
        return pd.Series("", index=table.index[:0])
    unknown = {
        text: "|".join(word for word in str(text).split("|") if word and word not in vocabulary_words)
        for text in table[LABELS].unique()
    }
    unknown_of_row = table[LABELS].map(unknown)
    return unknown_of_row[unknown_of_row != ""]


def _column_state(table: pd.DataFrame, layout: str, finding: str, mapping: str) -> NDArray[np.int8]:
    """Return the states [N rows] of one finding for a table of the column family.

    The finding gets the strongest state of its native labels. A rule with the key `opposite` (Abnormal, the opposite of
    No Finding) has no native labels: the finding is present if any other label is present, except labels in `besides`.
    """
    rule: Mapping[str, Any] = entries(layout).get(finding, {})
    if "opposite" not in rule:
        return _with_doubt(table, rule, native_labels(layout, finding, mapping))
    healthy_labels = native_labels(layout, rule["opposite"])
    ignored = {native(label) for label in (*healthy_labels, *rule.get("besides", ()))}
    other_labels = [str(name).removeprefix("native:") for name in table if str(name).startswith("native:")]
    strongest_other = _strongest(table, [label for label in other_labels if native(label) not in ignored])
    is_healthy = _strongest(table, healthy_labels) == PRESENT
    return np.select(
        [strongest_other == PRESENT, is_healthy, strongest_other == UNCERTAIN], [PRESENT, ABSENT, UNCERTAIN], _NULL
    ).astype(np.int8)


def _strongest(table: pd.DataFrame, labels: Sequence[str]) -> NDArray[np.int8]:
    """Return, for each row, the strongest state of these native labels; labels without a column are ignored."""
    rank = np.zeros(len(table), np.int8)
    rank_of = np.zeros(256, np.int8)
    rank_of[np.array(_WEAKEST_TO_STRONGEST, np.int8).view(np.uint8)] = np.arange(len(_WEAKEST_TO_STRONGEST))
    for label in labels:
        if native(label) in table:
            states = table[native(label)].to_numpy(np.int8, na_value=_NULL)
            rank = np.maximum(rank, rank_of[states.view(np.uint8)])
    return np.array(_WEAKEST_TO_STRONGEST, np.int8)[rank]


def _with_doubt(table: pd.DataFrame, rule: Mapping[str, Any], labels: Sequence[str] | None = None) -> NDArray[np.int8]:
    """Return the strongest state of the native labels; null instead of absent if a doubtful label of the rule is present.

    `labels`: by default the key `native` of the rule.
    """
    labels = rule.get("native", ()) if labels is None else labels
    state = _strongest(table, labels)
    if doubtful := [label for label in rule.get("doubtful", ()) if label not in labels]:
        state[np.isin(state, [ABSENT, NOT_MENTIONED]) & (_strongest(table, doubtful) == PRESENT)] = _NULL
    return state


def _token_reader(cells: pd.Series, layout: str, mapping: str) -> Callable[[str], NDArray[np.int8]]:
    """Return a function that gives the states [N rows] of a finding, for a table of the token family.

    Each of the N `cells` contains the labels of an image, joined with "|".
    """
    row_of_cell, distinct = pd.factorize(cells)
    distinct_rows = [frozenset(str(text).split("|")) - {""} for text in distinct]
    silent = frozenset(block(layout)["silent"])
    exclusive = block(layout)["exclusive"]

    def state_of(finding: str) -> NDArray[np.int8]:
        rule: Mapping[str, Any] = entries(layout).get(finding, {})
        if "opposite" in rule:
            healthy = state_of(rule["opposite"])
            return np.select([healthy == PRESENT, healthy == ABSENT], [ABSENT, PRESENT], _NULL).astype(np.int8)
        labels = frozenset(native_labels(layout, finding, mapping))
        if not labels:
            return np.full(len(cells), _NULL, np.int8)
        if finding in exclusive:
            states = [_state_if_alone(row, labels, silent) for row in distinct_rows]
        else:
            doubtful = frozenset(rule.get("doubtful", ()))
            states = [_state_if_any(row, labels, doubtful) for row in distinct_rows]
        return np.array(states, np.int8)[row_of_cell] if distinct_rows else np.zeros(0, np.int8)

    return state_of


def _state_if_any(row: frozenset[str], labels: frozenset[str], doubtful: frozenset[str]) -> int:
    """Return the state of a finding that is present if the row has any of `labels`; null for a label in `doubtful`."""
    if row & labels:
        return PRESENT
    return _NULL if row & doubtful else ABSENT


def _state_if_alone(row: frozenset[str], labels: frozenset[str], silent: frozenset[str]) -> int:
    """Return the state of a finding that is present only if the row has no labels other than `labels`.

    Labels in `silent` are ignored. The state is null if the row has only silent labels, or no labels.
    """
    relevant = row - silent
    if not relevant:
        return _NULL
    return PRESENT if relevant <= labels else ABSENT
