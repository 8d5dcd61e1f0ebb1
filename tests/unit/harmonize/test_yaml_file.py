"""Tests of the YAML reader: nesting, size, and values that PyYAML fails on. `test_security.py` tests tags."""

import os
from pathlib import Path

import pytest

from harmonize.errors import ConfigError
from harmonize.yaml_file import MAX_BYTES, MAX_DEPTH, parse_yaml, read_yaml


@pytest.mark.parametrize(
    "text",
    [
        "name: " + "[" * 100_000,
        "{a: " * 20_000 + "1" + "}" * 20_000,
        "- " * 20_000 + "x",
        "\n".join(" " * level + "a:" for level in range(1000)),
        "name: " + "[" * 100_000 + "]" * 100_000,
        "name: " + "[\n" * 100_000,
        "? " * 20_000 + "x",
        # libyaml refuses these directives, PyYAML does not
        "%YAML 1.3\n---\nname: " + "[" * 100_000,
        "%OTHER 1\n---\nname: " + "[" * 2_000 + "]" * 2_000,
        "a: 1\na: " + "[" * 900 + "]" * 900,
    ],
)
def test_deep_nesting_is_refused_before_the_parser_crashes(text: str) -> None:
    with pytest.raises(ConfigError, match=f"more than {MAX_DEPTH} nested") as error:
        parse_yaml(text, "grid.yaml")
    assert error.value.where.startswith("grid.yaml:")


def test_aliases_that_stand_for_many_values_are_refused() -> None:
    lists = [f"&a{k} [{', '.join([f'*a{k - 1}' if k else 'x'] * 9)}]" for k in range(9)]
    with pytest.raises(ConfigError, match="counting each alias") as error:
        parse_yaml(f"patient: [{', '.join(lists)}]", "here")
    assert len(str(error.value)) < 500
    assert parse_yaml("a: &a [1, 2]\nb: [*a, *a]", "here") == {"a": [1, 2], "b": [[1, 2], [1, 2]]}


def test_the_allowed_depth_is_read() -> None:
    content = parse_yaml("[" * MAX_DEPTH + "]" * MAX_DEPTH, "here")
    for _ in range(MAX_DEPTH - 1):
        (content,) = content
    assert content == []


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.touch()
    os.truncate(path, 10**12)  # a sparse file: it takes no space on the disk
    with pytest.raises(ConfigError, match="more than 2,000,000 bytes"):
        read_yaml(path)
    with pytest.raises(ConfigError, match="more than 2,000,000 bytes"):
        parse_yaml(" " * (MAX_BYTES + 1), "here")


@pytest.mark.parametrize(
    "value", ["2024-13-45", "1" * 5000, "!!int x", "!!int ''", "!!bool maybe", "!!timestamp x", "!!float x"]
)
def test_values_that_python_cannot_represent_are_refused(value: str) -> None:
    with pytest.raises(ConfigError, match="invalid value") as error:
        parse_yaml(f"a: {value}", "grid.yaml")
    assert "quote" in error.value.fix


@pytest.mark.parametrize("text", ["a: “x”", "- ‘x’", "- a: “x”", "a: [b, “x”]", "a: {b: 1, c: ”x”}", "“a”: 1"])
def test_a_typographic_quotation_mark_does_not_begin_a_value(text: str) -> None:
    with pytest.raises(ConfigError, match="typographic quotation mark quotes nothing") as error:
        parse_yaml(f"first: 1\n{text}\n", "grid.yaml")
    assert error.value.where == "grid.yaml:2"


@pytest.mark.parametrize("value", ["Smith et al., “Deep”, 2019", '"Results: “A”"', "rock - ’n’ roll", "'“x”'"])
def test_a_typographic_quotation_mark_inside_a_text_is_read(value: str) -> None:
    assert "”" in parse_yaml(f"a: {value}", "grid.yaml")["a"].replace("’", "”")


@pytest.mark.parametrize("text", ["a: 1\nb: [1\n", "a: 1\n\nb: .nan", "\n\na: 1e999"])
def test_an_error_names_its_line(text: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_yaml(text, "grid.yaml")
    assert error.value.where == "grid.yaml:3"


@pytest.mark.parametrize(("encoding", "line"), [("latin-1", 2), ("utf-16", 1)])
def test_a_file_that_is_not_utf8_is_named_with_its_line(encoding: str, line: int, tmp_path: Path) -> None:
    path = tmp_path / "data.yaml"
    path.write_bytes("name: a\ntitle: Zürich\n".encode(encoding))
    with pytest.raises(ConfigError, match="not UTF-8 text") as refused:
        read_yaml(path)
    assert (refused.value.where, refused.value.fix) == (f"{path}:{line}", "save it as UTF-8")


def test_every_line_end_gives_the_same_content(tmp_path: Path) -> None:
    path = tmp_path / "data.yaml"
    for end in (b"\n", b"\r\n", b"\r"):
        path.write_bytes(end.join([b"a: |", b"  one", b"  two", b"b: 2", b""]))
        assert read_yaml(path) == {"a": "one\ntwo\n", "b": 2}


def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    """Reading a pipe without a writer would wait forever."""
    os.mkfifo(tmp_path / "data.yaml")
    for path in (tmp_path / "data.yaml", tmp_path):
        with pytest.raises(ConfigError, match="not a file, but a folder, pipe, socket or device"):
            read_yaml(path)
