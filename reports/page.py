"""Render the page: the sections in order, style sheets, scripts, and a security policy.

The policy forbids all style sheets and scripts that are not part of the page.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from markupsafe import Markup

from reports import extensions, failed_parts, hooks, verdicts
from reports.formatting import listing
from reports.html.section import (
    CAUSES,
    COST,
    DATA,
    GROUPS,
    HOSPITALS,
    PATIENTS,
    RANKING,
    PlacedSection,
    Section,
    write,
)
from reports.html.shell import shell
from reports.report_data import report_data
from reports.schemas.tables import SCHEMAS
from reports.sections.algorithms import algorithms
from reports.sections.calibration import calibration
from reports.sections.cohorts import cohorts
from reports.sections.compare import compare
from reports.sections.cost import cost
from reports.sections.data_exposure import data_exposure
from reports.sections.factors import factors
from reports.sections.findings import findings
from reports.sections.gap_components import gap_components
from reports.sections.groups import groups
from reports.sections.hospitals import hospitals
from reports.sections.learning import learning
from reports.sections.mappings import mappings
from reports.sections.method import method
from reports.sections.opening import opening
from reports.sections.published import published
from reports.sections.ranking import ranking
from reports.sections.robustness import robustness
from reports.sections.runs import runs
from reports.sections.search import search
from reports.sections.shortcuts import shortcuts
from reports.sections.symptoms import symptoms
from reports.sections.transplants import transplants
from reports.sentences.data import pictures_notice
from reports.tables import Tables

# the sections of each group, in the order of the page
ORDER = (
    PlacedSection(opening, ""),
    PlacedSection(ranking, RANKING),
    PlacedSection(symptoms, RANKING),
    PlacedSection(compare, RANKING),
    PlacedSection(hospitals, HOSPITALS, ranked_only=True),
    PlacedSection(findings, HOSPITALS, ranked_only=True),
    PlacedSection(robustness, HOSPITALS, ranked_only=True),
    PlacedSection(groups, PATIENTS, ranked_only=True),
    PlacedSection(shortcuts, CAUSES, ranked_only=True),
    PlacedSection(transplants, CAUSES),
    PlacedSection(gap_components, CAUSES, ranked_only=True),
    PlacedSection(factors, CAUSES, ranked_only=True),
    PlacedSection(algorithms, CAUSES, ranked_only=True),
    PlacedSection(cost, COST, ranked_only=True),
    PlacedSection(calibration, COST, ranked_only=True),
    PlacedSection(learning, COST, ranked_only=True),
    PlacedSection(search, COST, ranked_only=True),
    PlacedSection(cohorts, DATA),
    PlacedSection(mappings, DATA, ranked_only=True),
    PlacedSection(published, DATA),
    PlacedSection(method, DATA),
    PlacedSection(data_exposure, DATA),
    PlacedSection(runs, DATA),
)


def placed_sections() -> list[PlacedSection]:
    """Return the sections in the order of the page; sections of extensions are the last of the groups that they name."""
    placed = [*ORDER]
    for module in extensions.modules(hooks.Sections):
        for section in module.SECTIONS:
            names = [each.write.__name__ for each in placed]
            placed.insert(names.index(section.before) if section.before in names else len(placed), section)
    return sorted(placed, key=lambda section: ("", *GROUPS).index(section.group))


STYLES = ("base.css", "ranking.css", "figures.css", "phone.css", "print.css")
SCRIPTS = (
    "theme.js",
    "packed.js",
    "ranking.js",
    "copy.js",
    "download.js",
    "pins.js",
    "drawer.js",
    "mine.js",
    "view.js",
    "calibration.js",
    *(name for module in extensions.modules(hooks.Sections) for placed in module.SECTIONS for name in placed.scripts),
)


def render(tables: Tables) -> str:
    """Return the page as one HTML text, which makes no network requests. Equal tables give equal bytes."""
    with uncollected():
        return _render(tables)


@contextmanager
def uncollected() -> Iterator[None]:
    """Pause garbage collection while the page is made.

    Collection would take a sixth of the time of the whole page, because a million small objects live until the page is
    done.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _render(tables: Tables) -> str:
    data = report_data.read(tables)
    groups: dict[str, list[Section]] = {}
    for placed in placed_sections():
        if not (data.only_exposed_models and placed.ranked_only):
            section = _written(placed, data)
            if section.html:
                groups.setdefault(placed.group, []).append(section)
    sections = [section for group in groups.values() for section in group]
    headline = failed_parts.attempt("the headline", lambda: verdicts.titles(data)[0], lambda _: "")
    study = str(tables.meta.get("title", ""))
    num_pictures = sum(
        int(tables[name]["picture"].count()) for name, columns in SCHEMAS.items() if "picture" in columns
    )
    page = write(
        "page.html.j2",
        **shell(STYLES, SCRIPTS),
        title=f"Unseen: {study}" if study else "Unseen",
        headline=headline,
        phantom=data.tables.synthetic,
        site=bool(tables.meta.get("site")),
        made=_made(data),
        repository=(data.meta.get("software") or {}).get("repository", ""),
        pictures_notice=pictures_notice(data.tables.synthetic, num_pictures),
        pins=len(data.ranked) > 1,
        failed={
            **{part["name"]: part["reason"] for part in tables.meta.get("failed", ())},
            **{part.name: part.reason for part in failed_parts.so_far()},
            **{f"the extension {name}": error.what for name, error in extensions.refused.items()},
        },
        unit=data.unit,
        details=Markup("".join(s.packed for s in sections)),  # noqa: S704  (base64)
        groups=groups,
    )
    return str(page) + "\n"


def _written(placed: PlacedSection, data: report_data.ReportData) -> Section:
    """Return a section. A section that fails has its name and the reason in its place."""
    key = placed.write.__name__

    def otherwise(part: failed_parts.FailedPart) -> Section:
        name = key.replace("_", " ").capitalize()
        return Section(key, name, write("failed_section.html.j2", key=key, name=name, reason=part.reason))

    return failed_parts.attempt(f"section {key}", lambda: placed.write(data), otherwise)


def _made(data: report_data.ReportData) -> list[str]:
    """Return the facts of the footer that are known: day of the last run, versions, and data."""
    software = data.meta.get("software") or {}
    commits = [commit[:12] for commit in data.distinct("commit")]
    return [
        *([f"Page of {data.meta['page_date']}"] if data.meta.get("page_date") else []),
        *([f"last run: {data.meta['date']}"] if data.meta.get("date") else []),
        *([f"Unseen {software['version']}"] if software.get("version") else []),
        *([f"commit {', '.join(commits)}"] if commits else []),
        f"data: {listing([hospital.title for hospital in data.hospitals.all], 12)}",
    ]
