"""The whole page: sections in their order, one style sheet, two scripts, and the policy that allows nothing else."""

import gc
import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from importlib.resources import files

from markupsafe import Markup

from reports.html.compression import packed
from reports.html.section import Section, compile_all, rounded, write
from reports.html.shell import joined, policy
from reports.report_data import report_data as board
from reports.report_data.report_data import Board
from reports.sections.attention import attention
from reports.sections.calibration import calibration
from reports.sections.choices import choices
from reports.sections.cohorts import cohorts
from reports.sections.compare import compare
from reports.sections.cost import cost
from reports.sections.data_exposure import passports
from reports.sections.findings import findings
from reports.sections.gap_components import parts
from reports.sections.groups import groups
from reports.sections.hospitals import hospitals
from reports.sections.learning import learning
from reports.sections.mappings import mappings
from reports.sections.method import method
from reports.sections.opening import opening, title
from reports.sections.policies import policies
from reports.sections.published import published
from reports.sections.ranking import ranking
from reports.sections.robustness import expected
from reports.sections.runs import runs
from reports.sections.shortcuts import shortcuts
from reports.sections.symptoms import symptoms
from reports.sections.transplants import transplants
from reports.sentences.data import images_said
from reports.tables import Tables

ORDER: tuple[Callable[[Board], Section], ...] = (
    opening, symptoms, ranking, compare,
    hospitals, findings, groups, expected,  # where it breaks
    cost, calibration, choices, shortcuts, transplants, attention,
    parts, mappings, policies, learning, published,  # what else may lie behind the numbers
    cohorts, method, passports, runs,
)  # fmt: skip
OF_THE_RANKED = (
    hospitals,
    findings,
    groups,
    expected,
    cost,
    calibration,
    choices,
    shortcuts,
    parts,
    mappings,
    policies,
    learning,
)
STYLES = ("base.css", "ranking.css", "figures.css", "phone.css", "print.css")
SCRIPTS = (
    "theme.js",
    "packed.js",
    "charts.js",
    "ranking.js",
    "copy.js",
    "pins.js",
    "drawer.js",
    "view.js",
    "gallery.js",
)


def render(tables: Tables) -> str:
    """Return the page as one HTML text that loads nothing: the same tables give the same bytes."""
    with uncollected(), ThreadPoolExecutor(1) as beside:
        beside.submit(packed_plotly)  # to compress takes no turn of the interpreter, and nearly every page has charts
        return _render(tables)


def prepare() -> None:
    """Make what every page is made with, and keep it until this process ends: compiled templates and the packed plotly.js."""
    packed_plotly()
    compile_all()


@contextmanager
def uncollected() -> Iterator[None]:
    """Do not look for garbage meanwhile: a page is made of a million small objects that all live to its end, a sixth of its time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.freeze()
            gc.unfreeze()  # what lives counts as old now: else all of it would be walked over at once
            gc.enable()


def _render(tables: Tables) -> str:
    shared = board.read(tables)
    shown = [each for each in ORDER if not (shared.none_unseen and each in OF_THE_RANKED)]
    sections = [section(shared) for section in shown]
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
        images_said=images_said(shared.phantom, int(tables["gallery"]["picture"].notna().sum())),
        pins=len(shared.ranked) > 1,
        details=Markup("".join(s.packed.text() for s in sections)),  # noqa: S704  (base64)
        sections=sections,
        style=Markup(style),  # noqa: S704  (our own files)
        plotly_style=Markup(plotly_style),  # noqa: S704
        script=Markup(script),  # noqa: S704
        plotly=Markup(packed_plotly() if charts else ""),  # noqa: S704  (base64)
        plotly_ids=style_ids(plotly),
        charts=Markup(packed(json.dumps(rounded(charts), separators=(",", ":"), allow_nan=False)) if charts else ""),  # noqa: S704  (base64)
    )
    return str(page) + "\n"


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
def packed_plotly() -> str:
    """Return plotly.js as the page keeps it."""
    return packed(plotly_source())
