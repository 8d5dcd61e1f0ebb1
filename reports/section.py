"""A section of the page, and the templates that write it."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import jinja2
from markupsafe import Markup

from reports import text


@dataclass(frozen=True, slots=True)
class Section:
    """One section: its anchor, its word in the navigation ("" for none) and its HTML."""

    key: str
    nav: str
    html: Markup
    charts: tuple[dict[str, Any], ...] = ()  # what plotly draws in it, see `charts`


@cache
def environment() -> jinja2.Environment:
    """Return the templates: everything is escaped, an unknown name is an error."""
    env = jinja2.Environment(
        loader=jinja2.PackageLoader("reports", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters |= {
        "places": text.places,
        "whole": text.whole,
        "two_figures": text.two_figures,
        "word": text.word,
        "plural": text.plural,
        "case": text.sentence_case,
        "say": text.keep_intervals,
        "signed": text.signed,
    }
    env.globals["DASH"] = text.DASH
    return env


def write(template: str, **context: object) -> Markup:
    """Fill a template."""
    return Markup(environment().get_template(template).render(**context))  # noqa: S704  (autoescaped above)
