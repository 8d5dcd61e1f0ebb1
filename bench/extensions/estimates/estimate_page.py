"""Render the page of `bench estimate`: what to expect at a hospital without labels, for the person who decides.

Intervals of estimates are 90 % intervals over hospitals. Without an estimate from images, gray numbers are the 95 % prediction
intervals for any hospital like the labeled ones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from reports.drawing import svg
from reports.formatting import plural
from reports.html.section import write
from reports.html.shell import shell
from reports.report_data.headline_rows import Estimate

STYLES = ("base.css", "ranking.css", "figures.css", "phone.css", "print.css")
WIDTH, HEIGHT = 260.0, 24.0


@dataclass(frozen=True, slots=True)
class ExpectedRun:
    """A run with its expected macro AUROC, and the interval of its rank.

    may_be_best: no other run is clearly better. is_predicted: the AUROC is not from images of the hospital.
    """

    name: str
    id: str
    auroc: Estimate
    rank_low: int
    rank_high: int
    may_be_best: bool
    is_predicted: bool = False


@dataclass(frozen=True, slots=True)
class ExpectedFinding:
    """One finding of the first run: quantity -> expected value, without value if nothing is known.

    predicted: quantities whose values are not from images of the hospital.
    """

    finding: str
    values: Mapping[str, Estimate]
    predicted: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class LocalScore:
    """A score of the first run from labels of this hospital: with the predictions for all images, and from labels alone."""

    finding: str
    score: str
    combined: Estimate
    labels_alone: Estimate
    num_patients: int


@dataclass(frozen=True, slots=True)
class LabelAdvice:
    """How many labeled patients of this hospital are needed, learned from the hospitals with labels.

    goals: what the labels are for. findings: finding -> for each goal, the number of patients or why there is none.
    pair: a sentence on the labels that tell two runs apart, "" without one.
    """

    goals: Sequence[str]
    findings: Mapping[str, Sequence[str]]
    pair: str = ""


@dataclass(frozen=True, slots=True)
class EstimatePage:
    """The content of the page.

    runs: the run with the highest expected value first. findings: of the first run. quantities: quantity -> title.
    reasons: why values are missing. basis: sentences about what the estimates rest on. notes: further remarks. measured:
    scores from labels of this hospital. needs: None if the labeled hospitals are too small to learn it. left_out: findings
    that the means over findings leave out. safest: sentences on the safest run, if the images do not show the best one.
    """

    study: str
    synthetic: bool
    num_images: int
    learned_from: Sequence[str]
    runs: Sequence[ExpectedRun]
    findings: Sequence[ExpectedFinding]
    quantities: Mapping[str, str]
    reasons: Sequence[str]
    basis: Sequence[str]
    notes: Sequence[str]
    measured: Sequence[LocalScore] = ()
    needs: LabelAdvice | None = None
    left_out: Sequence[str] = ()
    safest: Sequence[str] = ()


def render(page: EstimatePage) -> str:
    """Return the page as one HTML text, which makes no network requests. Equal content gives equal bytes."""
    macro = [run.auroc for run in page.runs]
    scale = svg.Scale.of_areas(macro, WIDTH)
    grid = svg.ticks(scale.low, scale.high, 5)
    aurocs = [row.values["auroc"] for row in page.findings]
    scale_of_findings = svg.Scale.of_areas(aurocs, WIDTH)
    grid_of_findings = svg.ticks(scale_of_findings.low, scale_of_findings.high, 5)
    text = write(
        "estimate_page.html.j2",
        **shell(STYLES),
        title="Unseen: expected scores",
        headline=headline(page),
        phantom=page.synthetic,
        page=page,
        sections=[],
        has_values=any(value.has_value for row in page.findings for value in row.values.values()),
        has_predictions=any(
            row.values[name].has_value for row in page.findings for name in row.predicted & {*row.values}
        ),
        has_estimates=not all(run.is_predicted for run in page.runs)
        or any(
            row.values[name].low < row.values[name].high  # equal bounds: the user stated the prevalence
            for row in page.findings
            for name in {*row.values} - row.predicted
        ),
        words={title: title if title.isupper() else title.lower() for title in page.quantities.values()},
        runs=[{"run": run, "figure": _dot(run.auroc, scale, grid)} for run in page.runs],
        axis=svg.tick_axis(scale, grid),
        findings=[
            {"row": row, "figure": _dot(row.values["auroc"], scale_of_findings, grid_of_findings)}
            for row in page.findings
        ],
        axis_of_findings=svg.tick_axis(scale_of_findings, grid_of_findings),
    )
    return str(text) + "\n"


def headline(page: EstimatePage) -> str:
    """Return the headline: which run to choose, that runs cannot be told apart, or that this hospital's images tell nothing.

    >>> best = ExpectedRun("A", "1", Estimate(0.8, 0.7, 0.9), 1, 1, True)
    >>> second = ExpectedRun("B", "2", Estimate(0.6, 0.5, 0.7), 2, 2, False)
    >>> headline(EstimatePage("", False, 100, (), [best, second], (), {}, (), (), ()))
    'A is expected to be the best run at this hospital'
    >>> equal = ExpectedRun("B", "2", Estimate(0.8, 0.7, 0.9), 1, 2, True)
    >>> headline(EstimatePage("", False, 100, (), [equal, equal], (), {}, (), (), ()))
    'The 2 runs cannot be told apart at this hospital'
    """
    if page.runs[0].is_predicted or not page.runs[0].auroc.has_value:
        return "No run can be recommended for this hospital"
    best = [run.name for run in page.runs if run.may_be_best]
    if len(page.runs) == 1:
        return f"{best[0]}: expected scores at this hospital"
    if len(best) == 1:
        return f"{best[0]} is expected to be the best run at this hospital"
    number = "The" if len(best) == len(page.runs) else f"{len(best)} of"
    return f"{number} {plural(len(page.runs), 'run')} cannot be told apart at this hospital"


def _dot(estimate: Estimate, scale: svg.Scale, grid: Sequence[float]) -> Markup:
    if not estimate.has_value:
        return Markup("")
    body = svg.grid_lines(scale, grid, HEIGHT)
    body += svg.intervals(estimate, scale, 12) + svg.circle(scale(estimate.value), 12, 3.4, "dot")
    return svg.svg(WIDTH, HEIGHT, body, estimate.with_interval, "st")
