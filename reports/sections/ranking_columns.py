"""Define the columns of the ranking: the text that is shown, and the number for sorting and copying.

The first column is the dot strip, a small figure of three AUROCs. `ranking` defines the dot strip.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from markupsafe import Markup

from reports import extensions, hooks
from reports.drawing import svg
from reports.formatting import integer, is_number, signed, two_figures
from reports.report_data.headline_rows import MISSING, Estimate
from reports.report_data.hospitals_and_runs import Run
from reports.report_data.report_data import EXTERNAL, MACRO, ReportData
from reports.sections.ranking_choices import p_best_text
from reports.sentences.verdicts import unclear, verdict
from reports.summaries.citation import publications

CUSTOM_COLUMNS = 6  # maximum number of columns for custom metrics: ranking.css has style rules for this number


@dataclass(frozen=True, slots=True)
class RankingColumn:
    """A column of the ranking: its head, the text that is shown for a run, and the number for sorting and copying."""

    key: str  # name of the column in the page's web address; also its CSS class
    head: str
    unit: str
    value: Callable[[Run], float]
    shown: Callable[[Run], str]
    estimate: Callable[[Run], Estimate | None] = lambda _: None
    small: Callable[[Run], str] = lambda _: ""
    note: Callable[[Run], str] = lambda _: ""  # text below the number
    figure: Callable[[Run], Markup] = lambda _: Markup("")
    css: str = "more"  # the class `more` hides the column on a phone
    low_first: bool = False  # whether lower is better
    axis: Markup = field(default_factory=Markup)  # SVG with the tick numbers of the figures, in the column head
    first: bool = True  # whether the column is visible at first
    help: str = ""  # sentences for "How to read this", of a column that an extension adds

    @property
    def name(self) -> str:
        """The name of the column in copied tables, with its unit."""
        score = " AUROC" if self.key in ("external", "gap", "worst", "internal") else ""
        return f"{self.head}{score} ({self.unit})".replace("−", "-").replace(" (AUROC)", "")


def columns_of(data: ReportData) -> list[RankingColumn]:
    """Return the columns after the dot strip: what decides first (external AUROC, gap, worst and next hospital), then what the menu adds.

    Columns without a value in any row are left out.
    """
    gaps = [b for r in data.ranked if r.gap.has_value for b in (r.gap.value, *r.gap.bounds) if is_number(b)]
    low, high = min([0.0, *gaps]), max([0.05, *gaps])
    chance = next((r.probe.chance for r in data.ranked if r.probe.has_value), 0.0)
    causal = [b for r in data.ranked if r.causal.has_value for b in (r.causal.value, *r.causal.bounds)]
    smallest, largest = min([0.0, *causal]), max([0.05, *causal])
    num_external = len(data.hospitals.external)
    robustness = _robustness(data)

    def estimate_column(
        key: str, head: str, unit: str, estimate_of: Callable[[Run], Estimate], **more: Any
    ) -> RankingColumn:
        more = {"small": lambda r: estimate_of(r).span, **more}
        return RankingColumn(
            key, head, unit, lambda r: estimate_of(r).value, lambda r: estimate_of(r).text, estimate_of, **more
        )

    def cost_column(key: str, head: str, unit: str, name: str, per: float, **more: Any) -> RankingColumn:
        text_of = more.pop("shown", two_figures)
        return RankingColumn(
            key, head, unit, lambda r: r.quantity(name), lambda r: text_of(r.quantity(name) / per), **more
        )

    num_in_mean = data.members_of_first.num_hospitals if data.members_of_first else num_external
    mean = f"mean of {num_in_mean}" if num_in_mean != 1 else "one hospital"
    mean = mean if data.ranked_by.finding == MACRO else data.ranked_by.finding
    best = RankingColumn(
        "best",
        "P(best)",
        "of draws",
        lambda r: r.p_best,
        lambda r: p_best_text(r.p_best),
        note=lambda r: _lead_note(r) if r is data.ranked[0] and len(data.groups[0]) > 1 else "",
        first=False,
    )
    at_hospitals = [
        estimate_column("external", "External", mean, lambda r: r.score, css="", note=_other_findings),
        estimate_column(
            "gap",
            "Gap",
            "int. − ext.",
            lambda r: r.gap,
            css="mc",
            low_first=True,
            note=lambda r: verdict(r.gap),
            figure=lambda r: svg.micro(r.gap, low, high, 0.0) if r.gap.has_value else Markup(""),
            axis=svg.micro_axis(low, high),
        ),
        estimate_column(
            "worst",
            "Worst hospital",
            "AUROC",
            lambda r: r.worst_auroc,
            css="",
            small=lambda r: data.hospitals[r.worst].short,
        ),
    ]
    internal = estimate_column(
        "internal",
        "Internal",
        _internal_findings(data),
        lambda r: r.internal_compared,
        css="more" if num_external else "",
        first=not num_external,
    )
    further = [column for module in extensions.modules(hooks.Rankings) for column in module.columns(data)]
    shortcut_column = partial(estimate_column, "shortcut", "Shortcut", css="more mc", low_first=True, first=False)
    columns = [
        *(at_hospitals if num_external else ()),
        *sorted(further, key=lambda column: not column.first),
        internal,
        estimate_column("ece", "ECE", "external", lambda r: r.ece, low_first=True, first=False),
        cost_column("gmacs", "GMACs", "per image", "macs", 1e9, low_first=True, first=False),
        shortcut_column(
            "change in p",
            lambda r: r.causal,
            note=lambda r: "" if r.causal.has_value else _why_without_transplants(data, r.id),
            figure=lambda r: svg.micro(r.causal, smallest, largest, 0.0) if r.causal.has_value else Markup(""),
            axis=svg.micro_axis(smallest, largest),
        )
        if causal
        else shortcut_column(
            "accuracy",
            lambda r: r.probe,
            figure=lambda r: svg.micro(r.probe, 0.0, 1.0, chance) if r.probe.has_value else Markup(""),
            axis=svg.micro_axis(0.0, 1.0),
        ),
        cost_column("params", "Params", "million", "params", 1e6, low_first=True, first=False),
        cost_column("speed", "Speed", "images/s", "images_per_second", 1.0, shown=integer, first=False),
        RankingColumn(
            "robust",
            "Effective",
            "robustness",
            lambda r: robustness(r).value,
            lambda r: signed(robustness(r).value),
            robustness,
            small=lambda r: robustness(r).span,
            first=False,
        ),
        *([best] if len(data.ranked) > 1 else []),
        RankingColumn(
            "training",
            "Training",
            "device minutes",
            _seconds,
            lambda r: two_figures(_seconds(r) / 60),
            low_first=True,
            first=False,
        ),
        cost_column(
            "memory", "Memory", "peak, MB", "peak_memory_bytes", 1e6, shown=integer, low_first=True, first=False
        ),
        *_custom_metrics(data),
    ]
    rows = (*data.ranked, *data.derived)
    return [*(c for c in columns if not rows or any(is_number(c.value(r)) for r in rows)), *_sources(data)]


def _why_without_transplants(data: ReportData, run_id: str) -> str:
    """Return why a run has no region transplant test: "it failed", "not run" or "not in this bundle"; "" if it is done or unknown."""
    analyses = data.meta.get("analyses") or []
    states = {str(a["run_id"]): str(a["state"]) for a in analyses if a["name"] == "transplants" and "run_id" in a}
    absent = "not in this bundle" if data.meta.get("bundles") else "not run"
    return {"failed": "it failed", "absent": absent}.get(states.get(run_id, ""), "")


def _lead_note(first: Run) -> str:
    """State below P(best) why the first of several tied recipes has no clear lead; .975 is approximate: paired tests decide."""
    return f"lead {unclear(first.lead)}" if first.p_best >= 0.975 else "below about .975: no clear lead"


def _sources(data: ReportData) -> list[RankingColumn]:
    """Return the column with links to paper and code of each network, the license of its weights, and the date; [] without any."""
    rows = (*data.ranked, *data.derived)
    known = {run.id: _links(data, run) for run in rows}
    facts = {
        run.id: " · ".join(filter(None, (str(run.facts.get(k) or "") for k in ("weights_licence", "date"))))
        for run in rows
    }
    if not any((*known.values(), *facts.values())):
        return []
    column = RankingColumn("sources", "Sources", "license, date", lambda _: float("nan"), lambda _: "", first=False)
    return [replace(column, small=lambda r: facts[r.id], figure=lambda r: known[r.id])]


def _links(data: ReportData, run: Run) -> Markup:
    of_keys = (publications(run, data.meta.get("links") or {}, key) for key in ("", "architecture", "weights"))
    links = {address: kind for of_key in of_keys for kind, _, address in of_key if address}
    return Markup(" ").join(Markup('<a href="{}">{}</a>').format(*link) for link in links.items())


def _custom_metrics(data: ReportData) -> list[RankingColumn]:
    """Return a column for each custom metric (a metric that the user adds to the registry), at most CUSTOM_COLUMNS.

    A column has the macro score at external hospitals and is hidden at first.
    """
    metrics = data.meta["settings"]["custom_metrics"][:CUSTOM_COLUMNS]
    return [_custom_metric(data, f"metric{number}", metric) for number, metric in enumerate(metrics, start=1)]


def _custom_metric(data: ReportData, key: str, metric: dict[str, Any]) -> RankingColumn:
    macros = data.headline.lookup(metric["name"], ("none",), finding=MACRO)

    def estimate(run: Run) -> Estimate:
        return macros.get((run.id, EXTERNAL, MACRO), MISSING)

    return RankingColumn(
        key,
        metric["title"],
        "external",
        lambda r: estimate(r).value,
        lambda r: estimate(r).text,
        estimate,
        lambda r: estimate(r).span,
        low_first=metric["facts"].get("better") == "lower",
        first=False,
    )


def _robustness(data: ReportData) -> Callable[[Run], Estimate]:
    """Return a function from a run to its effective robustness, averaged over external hospitals."""
    table = data.tables["robustness"]
    rows = table[table["dataset"] == EXTERNAL]
    distance_of_run = {str(row["run_id"]): Estimate.of(row) for row in rows.to_dict("records")}
    return lambda run: distance_of_run.get(run.id, MISSING)


def _seconds(run: Run) -> float:
    """Return the training time in seconds, summed over devices; NaN if not recorded."""
    value = run.facts.get("seconds")
    return float(value) if value is not None and is_number(value) else float("nan")


def _internal_findings(data: ReportData) -> str:
    """Return the words below the column head of the internal AUROC: "shared findings" or "AUROC".

    The column has the AUROC over the findings that internal and external hospitals share. If, for any recipe, this AUROC
    differs from the AUROC over every finding (shown in the details of a run), the words are "shared findings".
    """
    differs = any(r.internal_common.has_value and r.internal_common.text != r.internal.text for r in data.ranked)
    return "shared findings" if differs else "AUROC"


def _other_findings(run: Run) -> str:
    """Return a note with the mean external AUROC over shared findings; "" if it equals the AUROC that decides the rank."""
    differs = run.external_common.has_value and run.external_common.text != run.external.text
    return f"{run.external_common.text} on shared findings" if differs else ""
