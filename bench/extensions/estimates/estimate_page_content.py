"""The content of the page of `bench estimate`."""

from collections.abc import Sequence

from bench.extensions.estimates.estimate_page import EstimatePage, ExpectedFinding, ExpectedRun, LocalScore
from bench.extensions.estimates.estimate_summary import (
    SHOWN,
    basis_of,
    left_out_of_means,
    measured_rows,
    names_of,
    order_of,
    reasons_of,
    safest_of,
)
from bench.extensions.estimates.expected_at_hospital import ExpectedScores
from bench.scoring.gaps.gap import MACRO
from reports import extensions
from reports.formatting import places, signed
from reports.report_data.headline_rows import MISSING, Estimate


def page_of(result: ExpectedScores, notes: Sequence[str]) -> EstimatePage:
    """Return the content of the HTML page."""
    names, mean, order = names_of(result.manifest), result.means["auroc"], order_of(result)
    runs = []
    for r in order:
        bounds = float(mean.value[r]), float(mean.low[r]), float(mean.high[r])
        auroc = Estimate(*bounds) if mean.findings else _predicted(result, r, "auroc", MACRO)
        ranks = int(mean.rank_low[r]), int(mean.rank_high[r])
        runs.append(
            ExpectedRun(
                names[result.run_ids[r]], result.run_ids[r], auroc, *ranks, bool(mean.best[r]), not mean.findings
            )
        )
    findings = []
    for k, finding in enumerate(result.findings):
        values = {}
        for quantity in SHOWN:
            one, r = result.results[quantity], order[0]
            bounds = float(one.value[r, k]), float(one.low[r, k]), float(one.high[r, k])
            values[quantity] = Estimate(*bounds) if one.stated[r, k] else _predicted(result, r, quantity, finding)
        stated = frozenset(quantity for quantity in SHOWN if result.results[quantity].stated[order[0], k])
        findings.append(ExpectedFinding(finding, values, frozenset(SHOWN) - stated))
    return EstimatePage(
        result.manifest.title,
        result.manifest.phantom,
        result.num_images,
        result.learned_from,
        runs,
        findings,
        SHOWN,
        reasons_of(result, order[0]),
        basis_of(result, places, signed),
        notes,
        [
            LocalScore(
                row["finding"],
                SHOWN[row["quantity"]],
                Estimate(row["value"], row["low"], row["high"]),
                Estimate(row["labels_value"], row["labels_low"], row["labels_high"]),
                int(row["num_patients"]),
            )
            for row in measured_rows(result, order[0])
        ],
        next((module.advice(result, order, names) for module in extensions.modules("label_advice")), None),
        left_out_of_means(result),
        safest_of(result, names, places),
    )


def _predicted(result: ExpectedScores, r: int, quantity: str, finding: str) -> Estimate:
    """Return the prediction for a run without any image of the hospital."""
    found = result.predictions.get((result.run_ids[r], quantity, finding))
    return Estimate(*found) if found else MISSING
