"""The class of a section of the page, and functions that fill templates."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import jinja2
from markupsafe import Markup

from reports import extensions
from reports import formatting as text
from reports.html.markdown import escaped

# number of characters of HTML; if a folded table is longer, a browser parses it only when the reader opens it
LATER = 16_000
# the groups of sections: headings of the page and entries of its menu, in this order
RANKING, HOSPITALS, PATIENTS = "Ranking", "Hospitals and findings", "Patient groups"
CAUSES, COST, DATA = "Causes", "Cost and calibration", "Data and method"
GROUPS = (RANKING, HOSPITALS, PATIENTS, CAUSES, COST, DATA)


@dataclass(frozen=True, slots=True)
class Section:
    """A section of the page.

    key: HTML id of the section. nav: label in the list of sections below the heading of its group, "" for none. html: "" for a
    section that is left out.
    """

    key: str
    nav: str
    html: Markup
    packed: str = ""  # the result of `packed_fragments`: a script unpacks these fragments when a reader needs them


@dataclass(frozen=True, slots=True)
class PlacedSection:
    """A section with its place on the page.

    write: the function that writes it. group: one of GROUPS, "" for the first screen. ranked_only: whether it is left out if the
    ranking is empty because every model was trained on an external hospital. scripts: names of its scripts, in
    the folder `templates` of the extension. before: name of the function whose section follows; "" for the end of the group.
    """

    write: Callable[[Any], Section]
    group: str
    ranked_only: bool = False
    scripts: tuple[str, ...] = ()
    before: str = ""

    def __post_init__(self) -> None:
        if self.group not in ("", *GROUPS):
            raise ValueError(f"the page has no group {self.group!r}; name one of {', '.join(GROUPS)}")


@cache
def environment() -> jinja2.Environment:
    """Return the Jinja environment, which escapes all text and raises an error for unknown names."""
    folders = extensions.files("templates").values()
    env = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [jinja2.PackageLoader("reports", "templates"), *map(jinja2.FileSystemLoader, folders)]
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters |= {
        "places": text.places,
        "integer": text.integer,
        "two_figures": text.two_figures,
        "plural": text.plural,
        "case": text.sentence_case,
        "say": text.keep_intervals,
        "unbroken": text.unbroken_names,
        "md": escaped,
        "signed": text.signed,
    }
    env.globals |= {"DASH": text.DASH, "LATER": LATER}
    return env


def write(template: str, **context: object) -> Markup:
    """Return the HTML of a template filled with the values of `context`.

    `template`: name of a file in `reports/templates`, or in the folder `templates` of an extension.
    """
    return Markup(environment().get_template(template).render(**context))  # noqa: S704  (autoescaped above)


def data_block(value: object) -> str:
    """Return a value as JSON for a script element; `<`, `>` and `&` are escaped, so no text can close the element."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False, default=float)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
