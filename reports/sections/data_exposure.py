"""Section on data exposure: training data of each network, leakage checks, licenses of data and weights.

A leakage check tests whether test images were also used for training.
"""

from reports.html.section import Section, write
from reports.report_data.report_data import ReportData
from reports.summaries.data_exposure import grouped_exposures, leakage_checks, title

SYNTHETIC = "synthetic images, no license needed"


def data_exposure(board: ReportData) -> Section:
    """Write the section; the licenses are those that the cohort table states."""
    exposures = grouped_exposures(board)
    cohorts = board.tables["cohorts"]
    order = {h.key: k for k, h in enumerate(board.all_hospitals)}
    rows = sorted(
        zip(*(cohorts[c] for c in ("dataset", "role", "licence", "used")), strict=True),
        key=lambda row: (order.get(str(row[0]), len(order)), str(row[0])),
    )
    context = {
        "board": board,
        "title": title(board.internal.short, exposures),
        "exposures": exposures,
        "checks": leakage_checks(board),
        "data": [(board.title(str(d)), str(role), _license(board, licence), used) for d, role, licence, used in rows],
    }
    return Section("exposure", "Data exposure", write("data_exposure.html.j2", **context))


def _license(board: ReportData, licence: object) -> str:
    """Return the license of a cohort as text; on a page of phantoms, the sentence that no license is needed."""
    if board.phantom:
        return SYNTHETIC
    return licence if isinstance(licence, str) and licence else "not stated"
