"""Render the pages of a board that several laboratories share: the leaderboard of each division, and a page per submission."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from markupsafe import Markup

from bench.extensions.board.decisions import Decision
from reports.drawing import svg
from reports.formatting import plural
from reports.html.section import write
from reports.html.shell import shell
from reports.report_data.headline_rows import Estimate
from reports.schemas.exposure import NO

STYLES = ("base.css", "ranking.css", "figures.css", "phone.css", "print.css")
SCRIPTS = ("theme.js", "board.js")
WIDTH, HEIGHT = 260.0, 24.0
# in place of the number of a tie group: self-reported; not tested at unseen hospitals alone; mean over other findings
UNRANKED, EXPOSED, PARTIAL = 0, -1, -2


@dataclass(frozen=True, slots=True)
class BoardRow:
    """A row of a board. group: number of its tie group, UNRANKED, EXPOSED or PARTIAL.

    moved: what a new scoring version changed, "" if nothing. seen: names of the external hospitals that the model had seen, or
    may have seen, "" if none. missing: findings of the board that the model does not predict, "" if none.
    """

    group: int
    recipe: str
    laboratory: str
    submission: str
    status: str
    auroc: Estimate
    gap: Estimate
    num_seeds: int
    moved: str = ""
    seen: str = ""
    missing: str = ""
    licence: str = ""  # of the predictions
    date: str = ""  # of the submission


@dataclass(frozen=True, slots=True)
class BoardPage:
    """The content of the board. divisions: name -> rows, ranked ones first. waiting: names of submissions without decision.

    broken: name and reason of each submission that is left out, because it is not what it states.
    """

    title: str
    about: str
    synthetic: bool
    divisions: Mapping[str, Sequence[BoardRow]]
    about_division: Mapping[str, str]
    statuses: Mapping[str, str]  # status -> its meaning
    decisions: Sequence[Decision]
    waiting: Sequence[str]
    hospitals: Sequence[str]
    broken: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True)
class SubmissionPage:
    """The content of a submission's page. facts: name -> text. checks: state, what, text. at_hospitals: recipe, hospital, AUROC, answer."""

    board: str
    synthetic: bool
    name: str
    laboratory: str
    rows: Sequence[BoardRow]
    facts: Mapping[str, str]
    checks: Sequence[tuple[str, str, str]]
    at_hospitals: Sequence[tuple[str, str, Estimate, str]]
    decisions: Sequence[Decision]
    files: Sequence[str]
    has_report: bool


def render_board(page: BoardPage) -> str:
    """Return the page of the board as HTML; it makes no network requests. Equal content gives equal bytes."""
    scale = svg.Scale.of_areas([row.auroc for rows in page.divisions.values() for row in rows], WIDTH)
    grid = svg.ticks(scale.low, scale.high, 5)
    divisions = []
    for name, rows in page.divisions.items():
        groups = [
            {"title": _group_title(number, members), "rows": [_cells(row, scale, grid) for row in members]}
            for number, members in ((n, list(g)) for n, g in groupby(rows, key=lambda row: row.group))
        ]
        divisions.append({"name": name, "about": page.about_division[name], "groups": groups, "num": len(rows)})
    text = write(
        "board_page.html.j2",
        **shell(STYLES, SCRIPTS),
        title=f"{page.title} · Unseen",
        headline=headline(page),
        phantom=page.synthetic,
        page=page,
        divisions=divisions,
        axis=svg.tick_axis(scale, grid),
        sections=[],
    )
    return str(text) + "\n"


def render_submission(page: SubmissionPage) -> str:
    """Return the page of a submission as HTML; it makes no network requests."""
    estimates = [estimate for _, _, estimate, _ in page.at_hospitals]
    scale = svg.Scale.of_areas(estimates, WIDTH)
    grid = svg.ticks(scale.low, scale.high, 5)
    text = write(
        "submission_page.html.j2",
        **shell(STYLES),
        title=f"{page.name} · Unseen",
        headline=f"{page.name}: a submission of {page.laboratory}",
        phantom=page.synthetic,
        page=page,
        hospitals=[
            {
                "recipe": recipe,
                "hospital": hospital,
                "auroc": estimate,
                "answer": answer,
                "figure": _dot(estimate, scale, grid, hollow=answer != NO),
            }
            for recipe, hospital, estimate, answer in page.at_hospitals
        ],
        axis=svg.tick_axis(scale, grid),
        sections=[],
    )
    return str(text) + "\n"


def headline(page: BoardPage) -> str:
    """Return the headline: the best row of the first division that has ranked rows, and with how many others it is tied.

    >>> row = BoardRow(1, "A", "Lab", "a", "re-run", Estimate(0.8), Estimate(0.1), 3)
    >>> headline(BoardPage("Board", "", False, {"closed": [row, row]}, {}, {}, (), (), ()))
    'Closed division: Lab has the highest AUROC; 1 other row tied with it'
    """
    for name, rows in page.divisions.items():
        first = [row for row in rows if row.group == 1]
        if len(first) == 1 and len([row for row in rows if row.group > 0]) > 1:
            return f"{name.capitalize()} division: {first[0].laboratory} has the highest AUROC"
        if len(first) == 1:
            return f"{name.capitalize()} division: one ranked row, of {first[0].laboratory}"
        if first:
            tied = plural(len(first) - 1, "other row")
            return f"{name.capitalize()} division: {first[0].laboratory} has the highest AUROC; {tied} tied with it"
    return f"{page.title}: no row is ranked yet"


def _group_title(number: int, rows: Sequence[BoardRow]) -> str:
    if number == UNRANKED:
        return "Not ranked · nobody else has computed these numbers"
    if number == EXPOSED:
        return "Not ranked · the model had seen an external hospital, or may have seen one"
    if number == PARTIAL:
        return "Not ranked · the mean is over other findings than those of the board"
    if len(rows) == 1:
        return f"Group {number}"
    return f"Group {number} · {plural(len(rows), 'row')}: the others are tied with the first"


def _cells(row: BoardRow, scale: svg.Scale, grid: Sequence[float]) -> dict[str, object]:
    return {"row": row, "figure": _dot(row.auroc, scale, grid, hollow=row.group <= 0)}


def _dot(estimate: Estimate, scale: svg.Scale, grid: Sequence[float], hollow: bool = False) -> Markup:
    body = svg.grid_lines(scale, grid, HEIGHT)
    if estimate.has_value:
        body += svg.intervals(estimate, scale, 12)
        body += svg.circle(scale(estimate.value), 12, 3.4, "dot o" if hollow else "dot")
    return svg.svg(WIDTH, HEIGHT, body, estimate.with_interval if estimate.has_value else "no value", "st")
