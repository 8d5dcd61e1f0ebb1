"""Write the table cells of a run as HTML.

The functions use no templates, which would be slow: 500 runs have 50,000 cells.
"""

from markupsafe import Markup, escape

from reports.formatting import DASH, integer, plural
from reports.report_data.headline_rows import Estimate
from reports.sentences.verdicts import verdict


def number(estimate: Estimate, counted: bool = False) -> str:
    """Return the HTML of a value with its interval and, if `counted`, the number of images."""
    return f"{estimate.text}<i>{estimate.span}</i>" + (f"<i>n = {integer(estimate.n)}</i>" if counted else "")


def row(cells: list[str]) -> Markup:
    """Join the cells of a table row; each cell is HTML."""
    return Markup(f"<td>{'</td><td>'.join(cells)}</td>")  # noqa: S704  (numbers, and what `escape` returned)


def auroc(estimate: Estimate, macro: bool, reason: str, symptom: str | None) -> str:
    """Return the HTML of an AUROC with interval and sample size, or the reason why the AUROC is missing.

    An AUROC that seems inverted gets a warning; `symptom` is the HTML id to which the warning links, "" for no link, None for
    an AUROC that does not seem inverted.
    """
    if not estimate.has_value:
        return f"{DASH}<i>{escape(reason)}</i>"
    sample = f"{integer(estimate.num_positive)} of {integer(estimate.n)}"
    if macro:
        sample = plural(estimate.num_findings, "finding")
    warning = ""
    if symptom is not None:
        doubt = "inverted or mislabeled?"
        warning = f'<a class="s" href="#{symptom}">{doubt}</a>' if symptom else f'<span class="s">{doubt}</span>'
    return f'{number(estimate)}<i class="n">{sample}</i>{warning}'


def gap(estimate: Estimate, common: str = "") -> str:
    """Return the HTML of a gap: value, interval, verdict and, if `common` is not "", over which findings it is."""
    word = verdict(estimate)
    return number(estimate) + (f"<i>{word}</i>" if word else "") + (f'<i class="n">{common}</i>' if common else "")


def call(counts: tuple[int, int] | None) -> list[str]:
    """Return two counts of a confusion matrix as text; two dashes if there are no counts."""
    return [integer(n) for n in counts] if counts else [DASH, DASH]
