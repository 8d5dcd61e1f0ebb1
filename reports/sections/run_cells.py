"""Table cells of a run as HTML, without templates for speed: a study of 500 runs has 50,000 cells."""

from markupsafe import Markup, escape

from reports.formatting import DASH, integer, plural
from reports.report_data.headline_rows import Estimate
from reports.sentences import main_findings as sentences


def number(estimate: Estimate, counted: bool = False) -> str:
    """Return a value, its interval and, if `counted`, the number of images."""
    return f"{estimate.text}<i>{estimate.span}</i>" + (f"<i>n = {integer(estimate.n)}</i>" if counted else "")


def row(cells: list[str]) -> Markup:
    """Return the cells of one table row; each cell is HTML."""
    return Markup(f"<td>{'</td><td>'.join(cells)}</td>")  # noqa: S704  (numbers, and what `escape` returned)


def auroc(estimate: Estimate, macro: bool, reason: str, symptom: str) -> str:
    """Return an AUROC with interval and sample size, or the reason without one; `symptom`: anchor linked from an inverted AUROC."""
    if not estimate.has_value:
        return f"{DASH}<i>{escape(reason)}</i>"
    sample = (
        plural(estimate.num_findings, "finding")
        if macro
        else f"{integer(estimate.num_positive)} of {integer(estimate.n)}"
    )
    inverted = estimate.has_interval and estimate.high < 0.5
    doubt = "inverted or mislabeled?"
    warning = f'<a class="s warn" href="#{symptom}">{doubt}</a>' if symptom else f'<span class="s warn">{doubt}</span>'
    return f"{number(estimate)}<i>{sample}</i>" + warning * inverted


def gap(estimate: Estimate, common: str = "") -> str:
    """Return a gap with its interval and whether that includes 0; `common`: number of shared findings."""
    zero = sentences.zero_in_interval(estimate)
    return number(estimate) + (f"<i>{zero}</i>" if zero else "") + (f"<i>{common} shared</i>" if common else "")


def call(counts: tuple[int, int] | None) -> list[str]:
    """Return two counts of a confusion matrix."""
    return [integer(n) for n in counts] if counts else [DASH, DASH]
