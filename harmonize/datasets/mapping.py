"""Read and check the mapping file of the layout `table`; error messages name the key.

The layout `table` is any table of a user. The mapping file states what the table's columns mean; the docstring of
`harmonize.datasets.table` has an example.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from harmonize.datasets import BASE, SPLITS, VIEWS, native
from harmonize.errors import ConfigError
from harmonize.labels.findings import labels_yaml
from harmonize.yaml_file import read_yaml

_KEYS = ("image", "patient", "view", "sex", "age", "where", "findings", "split", "lung_mask", "keep", "separator")
Values = tuple[str, ...]
STATE_KEYS = ("present", "absent", "uncertain", "doubtful")


class FindingRule(NamedTuple):
    """The column of a finding, and for each of STATE_KEYS its values in the column; None stands for "*", all other stated values.

    doubtful   values that do not tell whether the finding is present: the label is null
    """

    column: str
    words: Mapping[str, Values | None]

    @property
    def listed(self) -> set[str]:
        """Return all listed values."""
        return {word for words in self.words.values() for word in words or ()}


@dataclass(frozen=True, slots=True)
class TableMapping:
    """The content of a mapping file: what the columns of a table mean.

    Each field except `file` is the value of the key with the same name; a field is empty if the file has no such key.

    image, lung_mask   path of a file, with column names in braces
    image_bytes        column with the bytes of images, for `image: {bytes: COLUMN}`; `image` is then ""
    patient, age       column name
    view, sex, split   rule {column: ..., name: (cell values)}, such as name F of sex, or rule {constant: name}
    keep               names of further columns of the table
    separator          text between several labels of a cell
    where, findings    dict with the columns that select rows, and dict with the columns of findings
    """

    file: str  # path of the mapping file, which error messages name
    image: str
    patient: str
    view: Mapping[str, Any]
    sex: Mapping[str, Any]
    age: str
    where: Mapping[str, Values]
    findings: Mapping[str, FindingRule]
    split: Mapping[str, Any]
    lung_mask: str = ""
    keep: Values = ()
    image_bytes: str = ""
    separator: str = ""

    def columns(self) -> Iterator[str]:
        """Yield the columns of the table that the mapping uses."""
        for _, column in self._uses():
            yield column

    def check_columns(self, present: Sequence[str], table: Path) -> None:
        """Raise ConfigError if the mapping uses a column that the table does not have."""
        for key, column in self._uses():
            if column not in present:
                raise ConfigError(
                    f"{table} has no column {column!r}",
                    f"{self.file}: {key}",
                    ConfigError.suggestion(column, present, f"choose from: {', '.join(present[:30])}"),
                )

    def _uses(self) -> Iterator[tuple[str, str]]:
        yield from (("image", column) for column in self.columns_of_path(self.image))
        yield from (("lung_mask", column) for column in self.columns_of_path(self.lung_mask))
        yield "patient", self.patient
        rules = {"view": self.view, "sex": self.sex, "split": self.split}
        yield from ((key, rule["column"]) for key, rule in rules.items() if "column" in rule)
        if self.age:
            yield "age", self.age
        yield from (("where", column) for column in self.where)
        yield from (("keep", column) for column in self.keep)
        yield from ((f"findings.{finding}", column) for finding, (column, _) in self.findings.items())

    @staticmethod
    def columns_of_path(pattern: str) -> list[str]:
        """Return the column names in braces."""
        return re.findall(r"\{([^{}]*)\}", pattern)


def read_mapping(path: Path) -> TableMapping:
    """Read and check a mapping file; raise ConfigError with the key and the most similar valid word."""
    raw = read_yaml(path)
    if not isinstance(raw, Mapping):
        raise ConfigError("the mapping file has no keys", str(path), "write the keys image, patient and findings")
    ConfigError.known_keys(raw, _KEYS, str(path))
    for key in ("image", "patient", "findings"):
        if not raw.get(key):
            raise ConfigError(f"the key {key} is missing", str(path), f"add `{key}:`")
    image = raw["image"]
    image_bytes = image.get("bytes", "") if isinstance(image, Mapping) and [*image] == ["bytes"] else ""
    if not isinstance(raw.get("separator", ""), str):
        fix = 'write a text such as "|"'
        raise ConfigError(f"separator is {raw['separator']!r}, not text", f"{path}: separator", fix)
    for key in ("patient",) if image_bytes else ("image", "patient"):
        if not isinstance(raw[key], str):
            raise ConfigError(f"{key} is {raw[key]!r}, not text", f"{path}: {key}", "put the value in quotes")
    if not image_bytes and "{" not in raw["image"]:
        fix = 'write a column in braces: "images/{filename}"'
        raise ConfigError("the path has no column in braces, so all rows have the same image", f"{path}: image", fix)
    mask = raw.get("lung_mask", "")
    if not isinstance(mask, str) or (mask and "{" not in mask):
        fix = 'write a column in braces: "lung_masks/{filename}"'
        raise ConfigError(
            "the path has no column in braces, so all rows have the same lung mask", f"{path}: lung_mask", fix
        )
    age = _rule(raw, "age", (), path)
    return TableMapping(
        file=str(path),
        image="" if image_bytes else image,
        patient=raw["patient"],
        view=_rule(raw, "view", VIEWS, path) or {"constant": "FRONTAL"},
        sex=_rule(raw, "sex", ("F", "M"), path),
        age=age.get("column", ""),
        where={
            str(column): _values(values, f"{path}: where.{column}")
            for column, values in _dict(raw, "where", path).items()
        },
        findings={str(name): _finding(str(name), rule, path) for name, rule in _dict(raw, "findings", path).items()},
        split=_rule(raw, "split", SPLITS, path),
        lung_mask=mask,
        keep=_kept(raw, path),
        image_bytes=image_bytes,
        separator=raw.get("separator", ""),
    )


def _kept(raw: Mapping[str, Any], path: Path) -> Values:
    """Return the columns of the key `keep`, () if the key is missing."""
    names = _values(raw.get("keep", []), f"{path}: keep")
    findings = {finding for space in labels_yaml()["spaces"].values() for finding in space}
    for name in names:
        if name in {*BASE, *findings, "drop", "lung_mask"} or name.startswith(native("")):
            fix = "give the column of your table another name"
            raise ConfigError(f"a cohort has a column {name!r} of its own", f"{path}: keep", fix)
    return names


def _dict(raw: Mapping[str, Any], key: str, path: Path) -> Mapping[str, Any]:
    """Return the dict under a key, {} if the key is missing."""
    value = raw.get(key) or {}
    if not isinstance(value, Mapping):
        fix = f"write key: value pairs below `{key}:`"
        raise ConfigError(f"{key} is {value!r}, not a block of keys", f"{path}: {key}", fix)
    return value


def _rule(raw: Mapping[str, Any], key: str, names: Sequence[str], path: Path) -> dict[str, Any]:
    """Check and return the rule {column, name: values} or {constant: name} under a key; {} if the key is missing."""
    rule = _dict(raw, key, path)
    if not rule:
        return {}
    where = f"{path}: {key}"
    if "constant" in rule and len(rule) == 1 and rule["constant"] in names:
        return dict(rule)
    if "constant" in rule:
        fix = f"write only `constant:`, with one of {', '.join(names)}"
        raise ConfigError("invalid rule with `constant`", where, fix)
    if not isinstance(rule.get("column"), str):
        raise ConfigError("the key column is missing", where, "add `column:`")
    for name in rule:
        if name != "column" and name not in names:
            raise ConfigError(
                f"unknown name {name!r}", f"{where}.{name}", ConfigError.suggestion(name, ("column", *names))
            )
    lists = {name: _values(values, f"{where}.{name}") for name, values in rule.items() if name != "column"}
    for one, other in combinations(lists, 2):
        if one in lists[other] and other in lists[one]:
            raise ConfigError(f"{one} lists {other!r}, and {other} lists {one!r}", where, "exchange the two lists")
    return {"column": rule["column"], **lists}


def _finding(name: str, rule: Any, path: Path) -> FindingRule:
    """Check and return the rule of a finding."""
    where = f"{path}: findings.{name}"
    findings = list(dict.fromkeys(finding for space in labels_yaml()["spaces"].values() for finding in space))
    if name not in findings:
        raise ConfigError(f"no finding {name!r}", where, ConfigError.suggestion(name, findings))
    if not isinstance(rule, Mapping):
        fix = "write {column: finding, present: [...], absent: [...]}"
        raise ConfigError("the rule is not a block of keys", where, fix)
    ConfigError.known_keys(rule, ("column", *STATE_KEYS), where)
    if not isinstance(rule.get("column"), str):
        raise ConfigError("the key column is missing", where, "add `column:`")
    values = {key: None if rule.get(key) == "*" else _values(rule.get(key, []), f"{where}.{key}") for key in STATE_KEYS}
    if len(stars := [key for key in STATE_KEYS if values[key] is None]) > 1:
        fix = f"list the values of {stars[0]} or of {stars[1]}"
        raise ConfigError(f'{" and ".join(stars)} are both "*"', where, fix)
    for one, other in combinations(STATE_KEYS, 2):
        if both := set(values[one] or ()) & set(values[other] or ()):
            raise ConfigError(f"{min(both)!r} is both {one} and {other}", where, "remove the value from one list")
    return FindingRule(rule["column"], values)


def _values(values: Any, where: str) -> Values:
    """Return the listed cell values as a tuple of texts; whole numbers get no decimal point."""
    texts = []
    for value in values if isinstance(values, list) else [values]:
        # YAML reads unquoted yes, no, on and off as bool
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ConfigError(f"{value!r} is not text or a number", where, "put the value of the table in quotes")
        texts.append(plain(value))
    return tuple(texts)


def plain(value: object) -> str:
    """Return a cell as stripped text; whole numbers get no decimal point, so that 1, 1.0 and "1.0" are equal.

    >>> plain(" 5.0 "), plain(5), plain("5.25"), plain("AP Supine")
    ('5', '5', '5.25', 'AP Supine')
    """
    text = str(value).strip()
    return text[: text.index(".")] if re.fullmatch(r"-?\d+\.0*", text) else text
