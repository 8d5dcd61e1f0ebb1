"""A section of the page, and the templates that write it."""

import json
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import jinja2
from markupsafe import Markup

from reports import formatting as text
from reports.html.compression import Packed

LATER = 16_000  # characters from which what is folded away stands in the page as text alone, until it is opened


@dataclass(frozen=True, slots=True)
class Section:
    """One section: its anchor, its word in the navigation ("" for none) and its HTML."""

    key: str
    nav: str
    html: Markup
    charts: tuple[dict[str, Any], ...] = ()  # what plotly draws in it, see `charts`
    packed: Packed = field(default_factory=Packed)  # what a script unpacks when it is asked for


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
    env.globals |= {"DASH": text.DASH, "LATER": LATER}
    return env


def write(template: str, **context: object) -> Markup:
    """Fill a template."""
    return Markup(environment().get_template(template).render(**context))  # noqa: S704  (autoescaped above)


def compile_all() -> None:
    """Compile every template, which takes a quarter of a second; `write` does not wait for them then."""
    for name in environment().list_templates(("j2",)):
        environment().get_template(name)


def rounded(value: Any) -> Any:
    """Return data of a chart with numbers of six figures: a pixel is coarser, and 500 runs have 20,000 of them."""
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(each) for each in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def data_block(value: object) -> str:
    """Return JSON that cannot end the block it stands in."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False, default=float)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
