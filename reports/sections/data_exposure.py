"""Passports: what each run had seen, what overlap was looked for, and the licences of data and weights."""

from reports.html.section import Section, write
from reports.report_data.report_data import Board
from reports.summaries.data_exposure import answer, checks, grouped

SYNTHETIC = "synthetic images, no licence needed"


def passports(board: Board) -> Section:
    """Write the section; the licences of cohorts are those that their agreements state."""
    found = grouped(board)
    cohorts = board.tables["cohorts"]
    order = {h.key: k for k, h in enumerate(board.everyone)}
    rows = sorted(
        zip(*(cohorts[c] for c in ("dataset", "role", "licence", "used")), strict=True),
        key=lambda row: (order.get(str(row[0]), len(order)), str(row[0])),
    )
    context = {
        "board": board,
        "title": answer(board.internal.title, found),
        "passports": found,
        "checks": checks(board),
        "data": [(board.title(str(d)), str(role), _licence(board, licence), used) for d, role, licence, used in rows],
    }
    return Section("passports", "Passports", write("passports.html.j2", **context))


def _licence(board: Board, licence: object) -> str:
    """Return the licence of a cohort in words."""
    if board.phantom:
        return SYNTHETIC
    return licence if isinstance(licence, str) and licence else "not stated"
