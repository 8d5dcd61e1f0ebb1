"""Load YAML files safely; a repeated key and nan are errors, 3e-4 is a number, and size and nesting have limits.

PyYAML alone keeps the last of two equal keys without an error, and reads `3e-4` as text. ruamel.yaml does not have
these problems, but it is two to ten times slower on registry.yaml, and accepts lists as keys.
"""

import math
import re
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from harmonize.errors import ConfigError

# maximum size of a file: 80 times the largest shipped file; PyYAML needs about a second for each million bytes
MAX_BYTES = 2_000_000
# maximum number of lists or blocks inside each other; shipped files have at most 6. The parser libyaml is recursive, so
# a deeper nesting could crash the program
MAX_DEPTH = 50
# maximum number of values after aliases (*name) are replaced by what they stand for: a short file may stand for billions
MAX_VALUES = 500_000
# a key or value that begins with a typographic quotation mark, which YAML reads as a part of the text; at the beginning of a line,
# after a key or a dash, or in a list or block on one line. Marks inside a text are no error
_QUOTED = re.compile(
    r"""^ *(?:- +)*(?:[^\s#"':\[{][^#"':\n]*: +)?(?:[\[{](?:[^#"'\n]*[\[{,:])? *)?[\u2018-\u201f]""", re.MULTILINE
)
# PyYAML raises YAMLError for invalid YAML, and the other errors for invalid values such as the date 2024-13-45
_INVALID = (yaml.YAMLError, ValueError, AttributeError, LookupError, TypeError, RecursionError)


def _mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    """Return the dict of a YAML block; raise ConstructorError for a repeated key, and for a list or null as a key."""
    loader.flatten_mapping(node)
    content: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, (str, int, float, bool)):
            raise yaml.constructor.ConstructorError(None, None, "a key must be text or a number", key_node.start_mark)
        if key in content:
            raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is repeated", key_node.start_mark)
        content[key] = loader.construct_object(value_node, deep=True)
    return content


def _finite(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    """Return a number; raise ConstructorError for nan, infinity, and a number too large for a float."""
    if math.isfinite(value := loader.construct_yaml_float(node)):
        return float(value)
    raise yaml.constructor.ConstructorError(None, None, f"{node.value} is not a finite number", node.start_mark)


def _strict(base: Any) -> Any:
    """Return a subclass of the loader `base` that rejects repeated keys and reads numbers such as 3e-4 as floats."""
    loader: Any = type("StrictLoader", (base,), {})
    loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
    loader.add_constructor("tag:yaml.org,2002:float", _finite)
    loader.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9]+)[eE][-+]?[0-9]+$"),
        list("-+.0123456789"),
    )
    return loader


_PLAIN = _strict(yaml.SafeLoader)
# the loader of libyaml, which is eight times as fast, or PyYAML's own loader if libyaml is missing
_FAST = _strict(getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file.

    Raises ConfigError with the file, the line and the fix if the file is missing, unreadable or too large, or if the
    YAML is invalid, for example because of a repeated key.
    """
    try:
        if what := ConfigError.not_a_file(path):
            raise ConfigError(what, str(path), "give the path of a YAML file")
        # check the size before the file is read; `parse_yaml` checks the number of characters
        if path.stat().st_size > MAX_BYTES:
            raise _too_large(str(path))
        content = path.read_bytes()
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise ConfigError(f"cannot read the file: {reason}", str(path), "check the file's name") from error
    try:
        text = content.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigError("the file is not UTF-8 text", f"{path}:{line}", "save it as UTF-8") from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, where: str) -> Any:
    """Return the content of YAML text; `where` is the location that error messages name.

    >>> parse_yaml("lr: 3e-4", "here")
    {'lr': 0.0003}
    """
    if len(text) > MAX_BYTES:
        raise _too_large(where)
    if quoted := _QUOTED.search(text):
        line = text.count("\n", 0, quoted.end()) + 1
        raise ConfigError("a typographic quotation mark quotes nothing", f"{where}:{line}", "write \" or '")
    try:
        return deepcopy(_parsed(text, where))
    except _INVALID as error:
        invalid = error  # below, the Python parser parses this text again, for its better error messages
    try:
        _check_depth(text, where, _PLAIN)  # libyaml may have stopped before it had seen all levels
        yaml.load(text, Loader=_PLAIN)  # noqa: S506
        raise invalid  # the Python parser accepts some texts that libyaml does not
    except _INVALID as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        if not problem:
            raise ConfigError(f"invalid value or character: {error}", where, "correct or quote it") from error
        raise ConfigError(problem, _location(where, mark), "correct the YAML at this line") from error


@lru_cache(maxsize=16)
def _parsed(text: str, where: str) -> Any:
    """Return the content of YAML text; the registry is read several times by a command, and many times by a session of Python."""
    _check_depth(text, where, _FAST)
    return yaml.load(text, Loader=_FAST)  # noqa: S506  (a SafeLoader with stricter keys)


def line_of_key(path: Path, key: str) -> int:
    """Return the line (from 1) of a key of a YAML file, or 0 if the file does not have the key.

    `key` has a form such as `base.schedule.lr` or `sweeps[0].loss`. The file must be readable, valid YAML.
    """
    return _line(yaml.compose(path.read_text(encoding="utf-8"), Loader=_FAST), key)


def _line(node: Any, key: str) -> int:
    """Return the line (from 1) of a key below a node of the YAML document; 0 if the node has no such key."""
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if key == name.value:
                return int(name.start_mark.line) + 1
            if key.startswith((f"{name.value}.", f"{name.value}[")):
                return _line(value, key[len(name.value) :].removeprefix("."))
    if isinstance(node, yaml.SequenceNode) and (item := re.match(r"\[(\d+)\]\.?", key)):
        entry = node.value[int(item[1])]
        rest = key[item.end() :]
        return _line(entry, rest) if rest else int(entry.start_mark.line) + 1
    return 0


def _check_depth(text: str, where: str, loader: Any) -> None:
    """Raise ConfigError for more than MAX_DEPTH nested lists or blocks, or MAX_VALUES values. loader: the loader that will read the text.

    The loop reads the parser's events, such as the start of a list, one by one. This needs no recursion, so deep
    nesting cannot crash this function.
    """
    depth, number = 0, 0
    size_of: dict[str, int] = {}  # anchor -> number of values
    open_at: list[tuple[str, int]] = []  # anchor of each open list or block, and the number of values before it
    for event in yaml.parse(text, Loader=loader):
        if isinstance(event, yaml.AliasEvent):
            number += size_of.get(event.anchor or "", 0)
        elif isinstance(event, yaml.NodeEvent):
            number += 1
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            open_at.append((event.anchor or "", number - 1))
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
            anchor, before = open_at.pop()
            size_of[anchor] = number - before
        if number > MAX_VALUES:
            what = f"more than {MAX_VALUES:,} values, counting each alias (*name) as what it stands for"
            fix = "write the values without aliases, or fewer of them"
            raise ConfigError(what, _location(where, event.start_mark), fix)
        if depth > MAX_DEPTH:
            what = f"more than {MAX_DEPTH} nested lists or blocks"
            raise ConfigError(what, _location(where, event.start_mark), "close the brackets, or nest less")


def _location(where: str, mark: Any) -> str:
    """Return the location with its line, if the parser knows the line."""
    return f"{where}:{mark.line + 1}" if mark else where


def _too_large(where: str) -> ConfigError:
    return ConfigError(
        f"the file has more than {MAX_BYTES:,} bytes", where, "write a shorter file, or correct the path"
    )
