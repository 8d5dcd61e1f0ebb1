"""What `bench estimate` answers: the facts that its text and its page show, and their sentences."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.extensions.estimates.estimators import ESTIMATORS, MEAN_GAP
from bench.extensions.estimates.expected_at_hospital import ExpectedScores
from bench.extensions.estimates.expected_scores import LEAST_HOSPITALS, LEAST_IMAGES
from bench.planning.manifest import Manifest
from bench.runs.elsewhere import elsewhere, state_of
from bench.scoring.gaps.gap import MACRO
from reports.formatting import DASH, places
from reports.report_data.headline_rows import MISSING, Estimate

CHANCE = 0.5  # AUROC of guessing
# quantities that are shown, with their titles
SHOWN = {
    "auroc": "AUROC",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "ece": "ECE",
    "prevalence": "Prevalence",
}


@dataclass(frozen=True, slots=True)
class Shown:
    """A number that is shown, MISSING if nothing is known. is_predicted: it is not from images of the hospital."""

    number: Estimate
    is_predicted: bool


def answer(result: ExpectedScores) -> dict[str, Any]:
    """Return what the text and the page of `bench estimate` show.

    runs: the best run first; findings, reasons (why numbers are missing) and measured (from labels of the hospital) are of that
    run. A finding's verdict is that of the page of the grid on the finding at a new hospital. remarks: what is known without
    images, and the findings that the means leave out. basis: what the estimates rest on.
    """
    names = names_of(result.manifest)
    order = order_of(result)
    mean = result.means["auroc"]
    best = result.run_ids[order[0]]
    verdict_of = {row["finding"]: state_of(row) for row in elsewhere(result.manifest, best).to_dict("records")}
    remarks = without_images(result, names)
    left_out = [finding for k, finding in enumerate(result.findings) if k not in mean.findings]
    if left_out and mean.findings:
        remarks.append(f"The means leave out findings without an estimate for every run: {', '.join(left_out)}.")
    has_ranks = mean.findings and len(order) > 1
    measured = result.measured[(result.measured["run_id"] == best) & result.measured["quantity"].isin(list(SHOWN))]
    return {
        "subtitle": _subtitle(result),
        "headline": headline(result),
        "runs": [
            {
                "id": result.run_ids[r],
                "name": names[result.run_ids[r]],
                "auroc": _macro(result, r),
                "rank": f"{mean.rank_low[r]}-{mean.rank_high[r]}" if has_ranks else DASH,
            }
            for r in order
        ],
        "findings": [
            {
                "name": finding,
                "numbers": {quantity: _number(result, order[0], k, quantity) for quantity in SHOWN},
                "verdict": verdict_of.get(finding, DASH),
            }
            for k, finding in enumerate(result.findings)
        ],
        "remarks": remarks,
        "reasons": _reasons(result, order[0]),
        "measured": [
            {
                "finding": row["finding"],
                "title": SHOWN[row["quantity"]],
                "combined": Estimate(row["value"], row["low"], row["high"]),
                "labels_alone": Estimate(row["labels_value"], row["labels_low"], row["labels_high"]),
                "num_patients": int(row["num_patients"]),
            }
            for row in measured.to_dict("records")
        ],
        "basis": _basis(result),
        "notes": result.notes,
    }


def _subtitle(result: ExpectedScores) -> str:
    if not result.num_images:
        return "What to expect at a hospital without its images; 95 % prediction intervals"
    images = f"{result.num_images:,} images"
    if any(one.stated.any() for one in result.results.values()):
        return f"{images}, estimated without labels; 90 % intervals, {ESTIMATORS[result.estimator]}"
    return f"{images}, but no estimate from them (reasons below); 95 % prediction intervals"


def _macro(result: ExpectedScores, r: int) -> Shown:
    """Return the expected macro AUROC of a run."""
    mean = result.means["auroc"]
    if mean.findings:
        return Shown(Estimate(float(mean.value[r]), float(mean.low[r]), float(mean.high[r])), is_predicted=False)
    return _predicted(result, r, "auroc", MACRO)


def _number(result: ExpectedScores, r: int, k: int, quantity: str) -> Shown:
    """Return the expected value of a quantity for a run and a finding."""
    one = result.results[quantity]
    if one.stated[r, k]:
        return Shown(Estimate(float(one.value[r, k]), float(one.low[r, k]), float(one.high[r, k])), is_predicted=False)
    return _predicted(result, r, quantity, result.findings[k])


def _predicted(result: ExpectedScores, r: int, quantity: str, finding: str) -> Shown:
    found = result.predictions.get((result.run_ids[r], quantity, finding))
    return Shown(Estimate(*found) if found else MISSING, is_predicted=True)


def headline(result: ExpectedScores) -> str:
    """Return the headline: which run to choose, that runs cannot be told apart, or that the images tell nothing."""
    mean = result.means["auroc"]
    names = names_of(result.manifest)
    num = len(result.run_ids)
    if not mean.findings:
        return "No score of this hospital is estimated from images"
    best = [names[result.run_ids[r]] for r in order_of(result) if mean.best[r]]
    if num == 1:
        return f"{best[0]}: expected scores at this hospital"
    if len(best) == 1:
        return f"{best[0]} is expected to be the best run at this hospital"
    return f"{'The' if len(best) == num else f'{len(best)} of'} {num} runs cannot be told apart at this hospital"


def order_of(result: ExpectedScores) -> list[int]:
    """Return the indices of the runs by recipe: the recipe with the highest expected macro AUROC first, or the first of the page."""
    mean = result.means["auroc"]
    index = {run_id: r for r, run_id in enumerate(result.run_ids)}
    groups = [[index[run_id] for run_id in recipe] for recipe in result.recipes]
    if mean.findings:
        groups.sort(key=lambda group: -float(mean.value[group].mean()))
    return [r for group in groups for r in group]


def names_of(manifest: Manifest) -> dict[str, str]:
    """Return {run id: name} of trained and derived runs."""
    return {**{i: str(name) for i, name in manifest.names.items()}, **{r.id: r.name for r in manifest.derived}}


def without_images(result: ExpectedScores, names: Mapping[str, str]) -> list[str]:
    """Return sentences: what is known of the first run of the page without images; and what an estimate needs.

    [] if the images show which run is the best.
    """
    if (mean := result.means["auroc"]).findings and mean.best.sum() == 1:
        return []
    first = result.recipes[0][0]
    predicted = result.predictions.get((first, "auroc", MACRO))
    if not predicted:
        return ["No score at a new hospital can be predicted: fewer than three hospitals have a mean over findings."]
    low = predicted[1]
    rank = f"{names[first]} ranks first at the labeled hospitals. " if len(result.recipes) > 1 else ""
    known = f"the macro AUROC of {names[first]} is above {places(low)} with a probability of 97.5 %."
    out = [f"{rank}At one more hospital like these, {known}"]
    if low < CHANCE:
        out.append("So it may be no better than chance there.")
    if result.num_images < LEAST_IMAGES:
        out.append(f"Estimates from images need {LEAST_IMAGES} images.")
    return out


def _reasons(result: ExpectedScores, r: int) -> list[str]:
    """Return why numbers of a run are missing, each reason once with the number of values."""
    count = Counter(reason for quantity in SHOWN for reason in result.results[quantity].reason[r] if reason)
    return [f"{reason} ({num} {'values' if num > 1 else 'value'})" for reason, num in count.items()]


def _basis(result: ExpectedScores) -> list[str]:
    """Return sentences: what the estimates were learned from, and how wrong they were there."""
    num = len(result.learned_from)
    if num < LEAST_HOSPITALS:
        return [f"The grid has {num} labeled {'hospital' if num == 1 else 'hospitals'}; {LEAST_HOSPITALS} are needed."]
    out = [f"Learned from {num} labeled hospitals: {', '.join(result.learned_from)}."]
    if result.num_images:
        error, of_gap = (places(result.errors[name]) for name in (result.estimator, MEAN_GAP))
        baseline = "" if result.estimator == MEAN_GAP else f" (the mean gap: by {of_gap})"
        sentence = (
            f"When each of them was left out, the expected macro AUROC was wrong by {error} on average{baseline}."
        )
        out.append(sentence)
    return out
