"""The cells of a run's tables, written here and not by a template: a study of 500 runs has 50,000 of them."""

from markupsafe import Markup, escape

from reports.formatting import DASH, integer, plural
from reports.report_data.headline_rows import Estimate
from reports.sentences import main_findings as sentences


def number(estimate: Estimate, counted: bool = False) -> str:
    """Return a value with its interval below, and the number of images below that where it is asked for and known."""
    return f"{estimate.text}<i>{estimate.span}</i>" + (f"<i>n = {integer(estimate.n)}</i>" if counted else "")


def row(cells: list[str]) -> Markup:
    """Return the cells of one row of a table; each is HTML already."""
    return Markup(f"<td>{'</td><td>'.join(cells)}</td>")  # noqa: S704  (numbers, and what `escape` returned)


def auroc(estimate: Estimate, macro: bool, reason: str, symptom: str) -> str:
    """Return an AUROC with its interval and what it rests on, or why there is none; `symptom`: where a reversed one leads."""
    if not estimate.has_value:
        return f"{DASH}<i>{escape(reason)}</i>"
    on = (
        plural(estimate.num_findings, "finding")
        if macro
        else f"{integer(estimate.num_positive)} of {integer(estimate.n)}"
    )
    inverted = estimate.has_interval and estimate.high < 0.5
    doubt = "inverted or mislabeled?"
    said = f'<a class="s warn" href="#{symptom}">{doubt}</a>' if symptom else f'<span class="s warn">{doubt}</span>'
    return f"{number(estimate)}<i>{on}</i>" + said * inverted


def gap(estimate: Estimate, common: str = "") -> str:
    """Return a gap with its interval and where 0 lies against it; `common`: over how many findings."""
    zero = sentences.zero_in_interval(estimate)
    return number(estimate) + (f"<i>{zero}</i>" if zero else "") + (f"<i>{common} shared</i>" if common else "")


def call(counts: tuple[int, int] | None) -> list[str]:
    """Return two counts of a confusion matrix."""
    return [integer(n) for n in counts] if counts else [DASH, DASH]
