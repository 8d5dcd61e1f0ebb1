"""The label spaces and the label states.

One state per image and finding, an Int8 that may be null (null: the dataset does not map this finding).
"""

from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import Any

from harmonize.errors import ConfigError
from harmonize.yaml_file import parse_yaml

PRESENT, ABSENT, UNCERTAIN, NOT_MENTIONED = 1, 0, -1, -2
UNMAPPED_CODE = -3  # stands for null in arrays that cannot hold null
STATES = (PRESENT, ABSENT, UNCERTAIN, NOT_MENTIONED)

NO_FINDING = "No Finding"


@cache
def labels_yaml() -> dict[str, Any]:
    """Return the reviewed mapping table `harmonize/labels/labels.yaml`."""
    text = (files("harmonize.labels") / "labels.yaml").read_text(encoding="utf-8")
    content: dict[str, Any] = parse_yaml(text, "harmonize/labels/labels.yaml")
    return content


def space(name: str = "shared-9") -> tuple[str, ...]:
    """Return the findings of a label space, in the order of every array of this project.

    >>> len(space())
    9
    """
    spaces = labels_yaml()["spaces"]
    if name not in spaces:
        close = get_close_matches(name, spaces, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ConfigError(f"no label space {name!r}", "space", f"{hint}known spaces: {', '.join(spaces)}")
    return tuple(spaces[name])


def label_sources(layout: str) -> dict[str, Any]:
    """Return the label sources of a layout besides `default`: name -> reference, title, says, source.

    >>> list(label_sources("chexpert"))
    ['chexbert', 'visualchexbert']
    """
    found: dict[str, Any] = labels_yaml()["label_sources"].get(layout, {})
    return found


def check_source(layout: str, source: str, where: str) -> None:
    """Raise ConfigError if a layout does not have this label source."""
    known = ("default", *label_sources(layout))
    if source not in known:
        raise ConfigError(f"{layout} has no label source {source!r}", where, f"one of {', '.join(known)}")


FINDINGS = space()
