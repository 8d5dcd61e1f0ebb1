"""The label spaces and the label states.

One state per image and finding, an Int8 that may be null (null = the dataset cannot express this finding: unmapped).
"""

from functools import cache
from importlib.resources import files
from typing import Any

from harmonize.errors import ConfigError
from harmonize.yamlfile import parse_yaml

PRESENT, ABSENT, UNCERTAIN, NOT_MENTIONED = 1, 0, -1, -2
UNMAPPED_CODE = -3  # how null is written where an array cannot hold null
STATES = (PRESENT, ABSENT, UNCERTAIN, NOT_MENTIONED)

NO_FINDING = "No Finding"


@cache
def labels_yaml() -> dict[str, Any]:
    """Return the reviewed mapping table `harmonize/labels.yaml`."""
    text = (files("harmonize") / "labels.yaml").read_text(encoding="utf-8")
    content: dict[str, Any] = parse_yaml(text, "harmonize/labels.yaml")
    return content


def space(name: str = "shared-9") -> tuple[str, ...]:
    """Return the findings of a label space, in the order of every array of this project.

    >>> len(space())
    9
    """
    spaces = labels_yaml()["spaces"]
    if name not in spaces:
        raise ConfigError(f"no label space {name!r}", "space", f"known spaces: {', '.join(spaces)}")
    return tuple(spaces[name])


FINDINGS = space()
