"""A section of the page, and the template environment."""

import json
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import jinja2
from markupsafe import Markup

from reports import formatting as text
from reports.html.compression import Packed

LATER = 16_000  # characters; longer folded tables stay plain text until they are opened


@dataclass(frozen=True, slots=True)
class Section:
    """One section: anchor, navigation label ("" for none) and HTML."""

    key: str
    nav: str
    html: Markup
    charts: tuple[dict[str, Any], ...] = ()  # plotly charts of the section, see `charts`
    packed: Packed = field(default_factory=Packed)  # unpacked by a script on demand


@cache
def environment() -> jinja2.Environment:
    """Return the template environment: text is escaped, unknown names are errors."""
    env = jinja2.Environment(
        loader=jinja2.PackageLoader("reports", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters |= {
        "places": text.places,
        "integer": text.integer,
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
    """Compile every template in advance, which takes a quarter of a second."""
    for name in environment().list_templates(("j2",)):
        environment().get_template(name)


def rounded(value: Any) -> Any:
    """Round chart data to six digits, which is finer than a pixel; 500 runs have 20,000 numbers."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def data_block(value: object) -> str:
    """Return JSON that cannot close its script element."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False, default=float)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
