"""What the text and the page of `bench estimate` say: order of the runs, reasons, and what the estimates rest on."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bench.extensions.estimates.expected_at_hospital import ExpectedScores
from bench.extensions.estimates.expected_scores import LEAST_HOSPITALS, LEAST_IMAGES
from bench.planning.manifest import Manifest
from bench.scoring.gaps.gap import MACRO

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


def order_of(result: ExpectedScores) -> list[int]:
    """Return the indices of the runs, the highest expected macro AUROC first.

    Without an estimate from images, the first run is the one whose prediction interval has the highest lower end.
    """
    mean = result.means["auroc"]
    lower_end = {run: numbers[1] for (run, *what), numbers in result.predictions.items() if what == ["auroc", MACRO]}
    value = mean.value if mean.findings else [lower_end.get(run, 0.0) for run in result.run_ids]
    return sorted(range(len(result.run_ids)), key=lambda r: (-value[r], result.run_ids[r]))


def names_of(manifest: Manifest) -> dict[str, str]:
    """Return {run id: name} of trained and derived runs."""
    return {**{i: str(name) for i, name in manifest.names.items()}, **{r.id: r.name for r in manifest.derived}}


def safest_of(result: ExpectedScores, names: Mapping[str, str], write: Write) -> list[str]:
    """Return sentences: the run that is the safest choice without images, or that none is; and what an estimate needs.

    [] if the images show which run is the best.
    """
    if (mean := result.means["auroc"]).findings and not (mean.best.sum() > 1 and result.safest):
        return []
    needed = f"Estimates from images need {LEAST_IMAGES} images. To plan labels: bench labels-needed"
    if not result.safest:
        return ["No run can be recommended, because no finding has an estimate for every run."]
    first = result.safest[0]
    low = result.predictions[first, "auroc", MACRO][1]
    above = f"at 97.5 % of such hospitals, its macro AUROC is above {write(low)}"
    if len(result.run_ids) == 1:
        choice = f"There is only one run: {above}."
    elif len(result.safest) == 1:
        choice = f"Safest choice: {names[first]}; {above}, and no other run is as safe."
    else:
        choice = f"No run is clearly the safest. {names[first]} has the highest lower end: {above}."
    chance = ["So at some of them, it may be no better than chance."] if low < CHANCE else []
    return [choice, *chance, *([needed] if result.num_images < LEAST_IMAGES else [])]


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


def basis_of(result: ExpectedScores, write: Write, write_signed: Write) -> list[str]:
    """Return sentences: what the estimates were learned from, and how wrong they were there.

    write, write_signed: format a share and a difference; text and page have different formats.
    """
    num = len(result.learned_from)
    if num < LEAST_HOSPITALS:
        return [f"The grid has {num} labeled {'hospital' if num == 1 else 'hospitals'}; {LEAST_HOSPITALS} are needed."]
    out = [f"Learned from {num} labeled hospitals: {', '.join(result.learned_from)}."]
    rows = result.accuracy[result.accuracy["finding"] == "macro"].set_index("estimator")
    if result.estimator.name in rows.index:
        own: Any = rows.loc[result.estimator.name]
        value, low, high = (write(own[name]) for name in ("value", "low", "high"))
        out.append(
            f"When each of them was left out, the expected macro AUROC was wrong by {value} on average [{low}, {high}]."
        )
        if "mean_gap" in rows.index and result.estimator.name != "mean_gap":
            out.append(_against_mean_gap(own, write_signed))
    return out


def _against_mean_gap(row: Any, write: Write) -> str:
    """Return a sentence: whether the estimator was better than the mean gap at the labeled hospitals."""
    columns = ("difference", "difference_low", "difference_high")
    value, low, high = (write(row[name]) for name in columns)
    # no verdict from an interval that is printed without width, or that is missing
    has_width = bool(np.isfinite(row["difference_low"])) and low != high
    difference = f"difference {value} [{low}, {high}]" if has_width else f"difference {value}"
    if has_width and row["difference_high"] < 0:
        return f"That is better than the mean gap ({difference})."
    if has_width and row["difference_low"] > 0:
        return f"That is worse than the mean gap ({difference})."
    return f"That is not clearly better or worse than the mean gap ({difference})."
