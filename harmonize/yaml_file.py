"""Load YAML files safely; a repeated key is an error, and 3e-4 is a number.

PyYAML alone keeps the last of two equal keys without an error, and reads `3e-4` as text. ruamel.yaml does not have
these problems, but it is two to ten times slower on registry.yaml, and accepts lists as keys.
"""

import re
from pathlib import Path
from typing import Any

import yaml

from harmonize.errors import ConfigError


def _mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    """Construct a dict; raise an error for a repeated key and for a key that is not text, a number or a bool."""
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


def _strict(base: Any) -> Any:
    """Return a loader class that rejects repeated keys and reads every float that Python reads."""
    loader: Any = type("StrictLoader", (base,), {})
    loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
    loader.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9]+)[eE][-+]?[0-9]+$"),
        list("-+.0123456789"),
    )
    return loader


_PLAIN = _strict(yaml.SafeLoader)
# the loader of libyaml, if available, is eight times as fast
_FAST = _strict(getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file.

    Raises ConfigError with the file, the line and the fix if the file is missing, unreadable or ambiguous.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror or "").lower() if isinstance(error, OSError) else error
        raise ConfigError(
            f"cannot read the file: {reason}", str(path), "check the file's name; the file must be UTF-8 text"
        ) from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, where: str) -> Any:
    """Return the content of YAML text; `where` is the location that error messages name.

    >>> parse_yaml("lr: 3e-4", "here")
    {'lr': 0.0003}
    """
    try:
        return yaml.load(text, Loader=_FAST)  # noqa: S506  (a SafeLoader with stricter keys)
    except yaml.YAMLError:
        pass  # parse again with the Python parser, which has better error messages
    try:
        return yaml.load(text, Loader=_PLAIN)  # noqa: S506
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        location = f"{where}:{mark.line + 1}" if mark else where
        problem = getattr(error, "problem", None) or str(error)
        raise ConfigError(problem, location, "correct the YAML at this line") from error
