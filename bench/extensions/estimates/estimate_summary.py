"""What the text and the page of `bench estimate` say: numbers, order of the runs, reasons, and what the estimates rest on."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bench.extensions.estimates.estimators import MEAN_GAP
from bench.extensions.estimates.expected_at_hospital import ExpectedScores
from bench.extensions.estimates.expected_scores import LEAST_HOSPITALS, LEAST_IMAGES
from bench.planning.manifest import Manifest
from bench.runs.elsewhere import elsewhere, state_of
from bench.scoring.gaps.gap import MACRO
from reports.report_data.headline_rows import MISSING, Estimate

CHANCE = 0.5  # AUROC of guessing
Write = Callable[[float], str]

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


def macro_of(result: ExpectedScores, r: int) -> Shown:
    """Return the expected macro AUROC of a run."""
    mean = result.means["auroc"]
    if mean.findings:
        return Shown(Estimate(float(mean.value[r]), float(mean.low[r]), float(mean.high[r])), False)
    return _predicted(result, r, "auroc", MACRO)


def number_of(result: ExpectedScores, r: int, k: int, quantity: str) -> Shown:
    """Return the expected value of a quantity for a run and a finding."""
    one = result.results[quantity]
    if one.stated[r, k]:
        return Shown(Estimate(float(one.value[r, k]), float(one.low[r, k]), float(one.high[r, k])), False)
    return _predicted(result, r, quantity, result.findings[k])


def _predicted(result: ExpectedScores, r: int, quantity: str, finding: str) -> Shown:
    found = result.predictions.get((result.run_ids[r], quantity, finding))
    return Shown(Estimate(*found) if found else MISSING, True)


def from_images(result: ExpectedScores) -> bool:
    """Return whether any number is estimated from images. The mean may be, although each finding is too uncertain."""
    return bool(result.means["auroc"].findings) or any(one.stated.any() for one in result.results.values())


def headline(result: ExpectedScores) -> str:
    """Return the headline: which run to choose, that runs cannot be told apart, or that the images tell nothing."""
    mean, names, num = result.means["auroc"], names_of(result.manifest), len(result.run_ids)
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
    mean, index = result.means["auroc"], {run_id: r for r, run_id in enumerate(result.run_ids)}
    groups = [[index[run_id] for run_id in recipe] for recipe in result.recipes]
    if mean.findings:
        groups.sort(key=lambda group: -float(mean.value[group].mean()))
    return [r for group in groups for r in group]


def names_of(manifest: Manifest) -> dict[str, str]:
    """Return {run id: name} of trained and derived runs."""
    return {**{i: str(name) for i, name in manifest.names.items()}, **{r.id: r.name for r in manifest.derived}}


def without_images(result: ExpectedScores, names: Mapping[str, str], write: Write) -> list[str]:
    """Return sentences: what is known of the first run of the page without images; and what an estimate needs.

    [] if the images show which run is the best.
    """
    if (mean := result.means["auroc"]).findings and mean.best.sum() == 1:
        return []
    needed = f"Estimates from images need {LEAST_IMAGES} images. To plan labels: bench labels-needed"
    first = result.recipes[0][0]
    predicted = result.predictions.get((first, "auroc", MACRO))
    if not predicted:
        return ["No score at a new hospital can be predicted: fewer than three hospitals have a mean over findings."]
    low = predicted[1]
    rank = f"{names[first]} ranks first at the labeled hospitals. " if len(result.recipes) > 1 else ""
    said = f"{rank}At one more hospital like these, the macro AUROC of {names[first]} is above {write(low)} with a probability of 97.5 %."
    chance = ["So it may be no better than chance there."] if low < CHANCE else []
    return [said, *chance, *([needed] if result.num_images < LEAST_IMAGES else [])]


def states_of(result: ExpectedScores, r: int) -> dict[str, str]:
    """Return finding -> verdict on it at a new hospital, as on the page of the grid; {} for a run without scores."""
    table = elsewhere(result.manifest, result.run_ids[r])
    return {row["finding"]: state_of(row) for row in table.to_dict("records")}


def measured_rows(result: ExpectedScores, r: int) -> list[dict[Any, Any]]:
    """Return the rows of a run's scores from local labels that are shown."""
    table = result.measured
    return table[(table["run_id"] == result.run_ids[r]) & table["quantity"].isin(list(SHOWN))].to_dict("records")


def reasons_of(result: ExpectedScores, r: int) -> list[str]:
    """Return why numbers of a run are missing, each reason once with the number of cells."""
    count: Counter[str] = Counter()
    for quantity in SHOWN:
        for reason in result.results[quantity].reason[r]:
            count[reason.split(":")[0]] += bool(reason)
    return [f"{reason} ({num} {'values' if num > 1 else 'value'})" for reason, num in count.items() if num]


def left_out_of_means(result: ExpectedScores) -> list[str]:
    """Return the findings that the means over findings leave out: at least one run has no estimate of them."""
    return [finding for k, finding in enumerate(result.findings) if k not in result.means["auroc"].findings]


def basis_of(result: ExpectedScores, write: Write) -> list[str]:
    """Return sentences: what the estimates were learned from, and how wrong they were there."""
    num = len(result.learned_from)
    if num < LEAST_HOSPITALS:
        return [f"The grid has {num} labeled {'hospital' if num == 1 else 'hospitals'}; {LEAST_HOSPITALS} are needed."]
    out = [f"Learned from {num} labeled hospitals: {', '.join(result.learned_from)}."]
    if result.errors:
        own = write(result.errors[result.estimator])
        baseline = "" if result.estimator == MEAN_GAP else f" (the mean gap: by {write(result.errors[MEAN_GAP])})"
        out.append(f"When each of them was left out, the expected macro AUROC was wrong by {own} on average{baseline}.")
    return out
