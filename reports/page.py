"""The whole page: sections in their order, one style sheet, two scripts, and the policy that allows nothing else."""

import base64
import gzip
import json
import re
from collections.abc import Callable
from functools import cache
from importlib.resources import files

from markupsafe import Markup

from reports import board
from reports.board import Board
from reports.section import Section, write
from reports.sections.calibration import calibration
from reports.sections.choices import choices
from reports.sections.cohorts import cohorts
from reports.sections.cost import cost
from reports.sections.expected import expected
from reports.sections.findings import findings
from reports.sections.groups import groups
from reports.sections.hospitals import hospitals
from reports.sections.learning import learning
from reports.sections.mappings import mappings
from reports.sections.method import method
from reports.sections.opening import opening, title
from reports.sections.parts import parts
from reports.sections.policies import policies
from reports.sections.published import published
from reports.sections.ranking import ranking
from reports.sections.runs import runs
from reports.sections.shortcuts import shortcuts
from reports.sections.symptoms import symptoms
from reports.shell import joined, policy
from reports.tables import Tables

ORDER: tuple[Callable[[Board], Section], ...] = (
    opening, symptoms, ranking, hospitals, findings, parts, groups, mappings, policies, expected, choices, cost,
    calibration, shortcuts, learning, published, cohorts, method, runs,
)  # fmt: skip
STYLES = ("base.css", "ranking.css", "figures.css", "phone.css", "print.css")
SCRIPTS = ("theme.js", "charts.js", "page.js")


def render(tables: Tables) -> str:
    """Return the page as one HTML text that loads nothing: the same tables give the same bytes."""
    shared = board.read(tables)
    sections = [section(shared) for section in ORDER]
    charts = [chart for section in sections for chart in section.charts]
    plotly = plotly_source() if charts else ""
    style, plotly_style, script = joined(STYLES), joined(("plotly.css",)), joined(SCRIPTS)
    headline = title(shared)
    study = str(tables.meta.get("title", ""))
    page = write(
        "page.html.j2",
        policy=policy([script, plotly] if charts else [script], [style, plotly_style]),
        title=f"Unseen: {study}" if study else "Unseen",
        headline=headline,
        phantom=shared.phantom,
        sections=sections,
        style=Markup(style),  # noqa: S704  (our own files)
        plotly_style=Markup(plotly_style),  # noqa: S704
        script=Markup(script),  # noqa: S704
        plotly=Markup(packed(plotly)),  # noqa: S704  (base64)
        plotly_ids=style_ids(plotly),
        charts=Markup(as_data(charts)),  # noqa: S704  (escaped for a data block)
    )
    return str(page) + "\n"


def as_data(value: object) -> str:
    """Return JSON that cannot end the block it stands in."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False, default=float)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@cache
def plotly_source() -> str:
    """Return plotly.js as the installed Python package carries it."""
    return (files("plotly") / "package_data" / "plotly.min.js").read_text(encoding="utf-8")


@cache
def style_ids(source: str) -> list[str]:
    """Return the ids of the style sheets that plotly.js adds when it loads, unless an element has that id already.

    They dress its maps, of which the page has none, and the policy would refuse them with a message on the console.
    """
    return sorted(set(re.findall(r'getElementById\("([0-9a-f]{64})"\)', source)))


@cache
def packed(source: str) -> str:
    """Return a script as base64 of gzip: a third of the bytes, and nothing to parse before the first chart is seen."""
    return base64.b64encode(gzip.compress(source.encode(), 9, mtime=0)).decode() if source else ""
