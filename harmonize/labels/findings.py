"""Define label spaces and label states.

Each image has one state per finding: an Int8, or null if the image's labels do not express the finding.
"""

from functools import cache
from importlib.resources import files
from typing import Any

from harmonize.errors import ConfigError
from harmonize.yaml_file import parse_yaml

PRESENT, ABSENT, UNCERTAIN, NOT_MENTIONED = 1, 0, -1, -2
UNMAPPED_CODE = -3  # code for null in arrays that cannot store null
STATES = (PRESENT, ABSENT, UNCERTAIN, NOT_MENTIONED)

NO_FINDING = "No Finding"
ABNORMAL = "Abnormal"
SUMMARIES = (NO_FINDING, ABNORMAL)  # labels of a space that follow from its other findings


@cache
def labels_yaml() -> dict[str, Any]:
    """Return the label mapping table `harmonize/labels/labels.yaml`."""
    text = (files("harmonize.labels") / "labels.yaml").read_text(encoding="utf-8")
    content: dict[str, Any] = parse_yaml(text, "harmonize/labels/labels.yaml")
    return content


def space(name: str = "shared-9") -> tuple[str, ...]:
    """Return the findings of a label space, in the order that all arrays of this project use.

    >>> len(space())
    9
    """
    spaces = labels_yaml()["spaces"]
    if name not in spaces:
        fix = f"{ConfigError.hint(name, spaces)}available: {', '.join(spaces)}"
        raise ConfigError(f"no label space {name!r}", "space", fix)
    return tuple(spaces[name])


def label_sources(layout: str) -> dict[str, Any]:
    """Return the label sources of a layout except `default`: name -> {reference, title, says, source, maybe findings}.

    reference  who made the labels: report (a program that reads reports) or radiologist
    title      the name of the label source on pages
    says       the files or rows from which the labels are read
    source     the publication
    findings   finding -> rule, if the label source has other labels than the layout

    >>> list(label_sources("chexpert"))
    ['chexbert', 'visualchexbert']
    """
    sources: dict[str, Any] = labels_yaml()["label_sources"].get(layout, {})
    return sources


HYBRID = "hybrid"  # name of a label source that takes the training labels of some findings from other label sources


def check_source(layout: str, source: str, where: str) -> None:
    """Raise ConfigError if a layout does not have this label source."""
    sources = ("default", *label_sources(layout))
    if source not in sources:
        raise ConfigError(f"{layout} has no label source {source!r}", where, f"use one of {', '.join(sources)}")


FINDINGS = space()
# the findings of all label spaces, each once
ALL_FINDINGS = tuple(dict.fromkeys(finding for name in labels_yaml()["spaces"] for finding in space(name)))
