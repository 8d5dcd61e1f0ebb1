"""Section on shortcuts: source classifiers with controls, image properties that they use, and nuisances.

A source classifier predicts the hospital of an image; if its input is a run's features, it is called a source probe. A control
is the same classifier with changed data, such as shuffled hospitals. A nuisance is a property that varies inside a
hospital and that a network may use in place of a finding, such as view.
"""

import math
from typing import Any

import pandas as pd
from markupsafe import Markup

from reports.drawing import beeswarm, scatter, svg
from reports.formatting import Z
from reports.html.section import Section, write
from reports.report_data.headline_rows import MISSING, Estimate, probe_lookup
from reports.report_data.hospitals_and_runs import Run
from reports.report_data.report_data import ReportData
from reports.schemas.tables import LEAST_RELATED
from reports.sentences import main_findings as sentences
from reports.summaries import nuisances
from reports.summaries import source_classifiers as sources

SHOWN = 40  # number of runs in the table of selectivity


def shortcuts(data: ReportData) -> Section:
    """Write the section: source classifiers, image properties, nuisances, and a scatter of source probe accuracy and gap.

    Without any of them, the section is empty.

    The rank correlation of source probe accuracy and gap is computed only for LEAST_RELATED or more runs.
    """
    probes = probe_lookup(data.tables["sources"])
    runs = [r for r in data.ranked if r.probe.has_value and r.gap.has_value]
    probed = [r for r in data.runs if r.probe.has_value]  # runs without a gap are included
    table = data.tables["sources"]
    num_sources = int(table["num_sources"].max()) if len(table) else 0
    drawn = len(runs) >= LEAST_RELATED
    rho = spearman([r.probe.value for r in runs], [r.gap.value for r in runs]) if drawn else MISSING
    association = sentences.probe_and_gap(rho)
    on_axis = "balanced accuracy of the source classifier →"
    visible = math.tanh(Z / math.sqrt(len(runs) - 3)) if len(runs) > 3 else 1.0
    relation = ""
    if runs and not rho.clear:
        relation = sentences.relation_power(len(runs), LEAST_RELATED, visible, data.unit)
    estimates = sources.lookup(table)
    chance = probed[0].probe.chance if probed else float("nan")
    descriptors = [found for model in ("pixels", "header") if (found := beeswarm.described(data, model))]
    of_nuisances = _nuisances(data, probed or list(data.runs))
    if not (probed or descriptors or of_nuisances):
        return Section("shortcuts", "", Markup(""))
    context = {
        "accuracy_axis": svg.micro_axis(0, 1, sources.WIDTH),
        "data": data,
        "title": sentences.probe_title(
            [r.probe.value for r in probed],
            [e.value for r in probed if (e := sources.of_run(estimates, r, "random", "none")).has_value],
            chance,
            num_sources,
        )
        if probed
        else "",
        "association": association,
        "relation": relation,
        "runs": runs,
        "shuffled": {r.id: probes.get((r.id, "shuffled"), MISSING) for r in runs},
        "legend": scatter.families(runs),
        "chart": scatter.against_gap(runs, [r.probe for r in runs], "probe", on_axis, association) if drawn else "",
        "sources": _sources(data, estimates, probed, num_sources) if probed else {},
        "descriptors": descriptors,
        "nuisances": of_nuisances,
    }
    return Section("shortcuts", "Shortcuts", write("shortcuts.html.j2", **context))


def _sources(data: ReportData, estimates: sources.Estimates, probed: list[Run], num_sources: int) -> dict[str, Any]:
    """Return the source classifiers of the first run, and the selectivity of the first SHOWN runs."""
    run = probed[0]
    confused = sources.confusions(data, run)
    return {
        "run": run,
        "title": sources.verdict(estimates, run, num_sources),
        "meaning": sources.meaning(estimates, run),
        "first": sources.lines(estimates, run, sources.FIRST),
        "groups": sources.lines(estimates, run),
        "chance": run.probe.chance,
        "selectivities": sources.selectivities(data, estimates, SHOWN),
        "confusions": confused,
        "mistaken": sources.mistaken(confused),
    }


def _nuisances(data: ReportData, runs: list[Run]) -> dict[str, Any]:
    """Return the nuisances of the first run; {} if nuisances were not analyzed."""
    cells = nuisances.lookup(data.tables["nuisances"])
    if not cells or not runs:
        return {}
    run = runs[0]
    nuisance_rows = nuisances.rows(data, cells, run)
    return {
        "run": run,
        "title": nuisances.title(nuisance_rows),
        "meaning": nuisances.meaning(nuisance_rows, run),
        "rows": nuisance_rows,
        "everywhere": nuisances.everywhere(data, cells, run),
        "associations": nuisances.associations(data, cells),
    }


def spearman(xs: list[float], ys: list[float]) -> Estimate:
    """Return Spearman's rank correlation with its 95 % interval; MISSING if all values of `xs` or of `ys` are equal.

    Source: Bonett and Wright, Psychometrika 65 (2000) 23: Fisher's z with variance (1 + rho^2 / 2) / (n - 3).
    """
    if min(len(set(xs)), len(set(ys))) < 2:
        return MISSING
    rho = float(pd.Series(xs).rank().corr(pd.Series(ys).rank()))
    z = math.atanh(max(-0.999999, min(0.999999, rho)))
    half = Z * math.sqrt((1 + rho**2 / 2) / (len(xs) - 3))
    return Estimate(rho, math.tanh(z - half), math.tanh(z + half), len(xs))
