"""Sentences about the ranking, hospitals, findings and training.

A sentence states an effect only if the effect is clear (see `verdicts`). The estimate alone never decides. No function of
this module may write: significant, outperforms, robust, no difference, equal.
"""

from collections.abc import Mapping, Sequence

from reports.formatting import interval, listing, of_all, percent, places, plural
from reports.report_data.headline_rows import Estimate
from reports.report_data.page_rows import HEALTHY
from reports.sentences.verdicts import CLEAR, unclear, with_verdict

NONE_RANKED = "No run is ranked"


def mean_gap(
    internal: str,
    num_external: int,
    num_runs: int,
    gap: Estimate,
    num_measured: int = 0,
    shared_findings: bool = True,
    trained: bool = True,
    unknown: str = "too few patients for a mean gap",
) -> str:
    """State the mean generalization gap.

    `internal`: title of the internal hospital. `num_external`: number of external hospitals. `gap`: mean over runs and external
    hospitals. `num_measured`: number of hospitals in this mean. `trained`: whether the runs were trained at the internal hospital;
    imported models were trained elsewhere. `unknown`: words for a mean gap that is unknown.
    """
    if num_external == 0:
        return "No external hospital was tested, so the generalization gap is unknown."
    if not shared_findings:
        return f"{internal} and the other hospitals label no finding in common, so nothing can be compared."
    if num_runs == 0:
        return f"{NONE_RANKED}; the ranking gives the reason for each run."
    subject = "it" if num_runs == 1 else "the networks"
    tested = plural(num_external, "external hospital")
    start = f"Trained on {internal} and tested without changes at {tested}, {subject}"
    if not trained:
        start = f"Trained elsewhere and tested without changes at {internal} and at {tested}, {subject}"
    if not gap.has_value:
        return f"{start} {_verb(num_runs, 'have', 'has')} {unknown}."
    average = " on average" if num_runs > 1 or num_external > 1 else ""
    fewer = f" over {num_measured} of them" if 0 < num_measured < num_external else ""
    if gap.clear:
        verb = _verb(num_runs, "lose", "loses") if gap.value > 0 else _verb(num_runs, "gain", "gains")
        return f"{start} {verb} {places(abs(gap.value))} AUROC {_unsigned_interval(gap)}{average}{fewer}."
    mean = "mean " if average else ""
    return f"{start} {_verb(num_runs, 'have', 'has')} a {mean}gap in AUROC of {with_verdict(gap)}{fewer}."


def best_run(
    label: str,
    external: Estimate,
    num_tied: int,
    num_runs: int,
    unit: str = "run",
    lead: tuple[str, Estimate] | None = None,
    score: str = "mean external AUROC",
    smallest_first: bool = False,
    over: str = "",
    but: str = "",
) -> str:
    """Name the run that ranks first, and state how many other runs are tied with this run (`num_tied`).

    `score`: name of the score that decides the ranking. `external`: value of this score. `smallest_first`: whether the
    smallest value is best. `lead`: label of the second run in the ranking, and the paired difference between the first and the
    second run. `over`: findings in the mean, as in `members.over`. `but`: a clause because of which no sentence may praise the
    score; else "".
    """
    over = f", {over}" if over else ""
    but = f", but {but}" if but else ""
    if num_runs == 1:
        return (
            f"{label} has {'a' if score.startswith('mean') else 'an'} {score} of {external.with_interval}{over}{but}."
        )
    if but:
        first = f"{label} ranks first by {score}, {external.with_interval}{over}{but}"
    else:
        extreme = "smallest" if smallest_first else "highest"
        first = f"{label} has the {extreme} measured {score}, {external.with_interval}{over}"
    ties = f"{plural(num_tied, f'other {unit}')} {_verb(num_tied, 'are', 'is')} tied with it"
    if not lead:
        return f"{first}; {ties}."
    # The lead is clear if the second run is not in the tie group of the first run.
    clear = unclear(lead[1]) if num_tied else CLEAR
    return f"{first}. Its lead over {lead[0]}, {lead[1].with_interval}, is {clear}: {ties}."


def largest_share(shares: Mapping[str, float]) -> str:
    """Name the finding with the largest share of the mean gap; "" if it has at most twice its even share.

    `shares`: all findings with their shares, largest first. A share above 1 is possible if other shares are negative.

    >>> largest_share({"Edema": 0.7, "Mass": 0.2, "Pneumonia": 0.1})
    'Edema contributes 70 % of the mean gap'
    >>> largest_share({"Edema": 0.6, "Mass": 0.3, "Pneumonia": 0.1})
    ''
    >>> largest_share({"Edema": 1.2, "Mass": 0.0, "Pneumonia": -0.2})
    'Edema contributes more than the whole mean gap; other findings make it smaller'
    """
    finding, share = next(iter(shares.items()))
    if share * len(shares) <= 2:
        return ""
    if share > 1:
        return f"{quoted(finding)} contributes more than the whole mean gap; other findings make it smaller"
    return f"{quoted(finding)} contributes {percent(share, 1)} of the mean gap"


def quoted(finding: str) -> str:
    """Return the name of a finding inside a sentence; the finding “No Finding” has quotation marks.

    >>> quoted("Edema"), quoted("No Finding")
    ('Edema', '“No Finding”')
    """
    return f"“{finding}”" if finding == HEALTHY else finding


def group_caption(number: int, size: int, first_label: str, unit: str = "run") -> str:
    """Return the words that follow the title of a tie group in the ranking.

    `number`: number of the tie group, from 1. `size`: number of runs in the group. `first_label`: label of the group's
    first run.
    """
    if size == 1:
        return f"1 {unit}" if number == 1 else f"1 {unit}, clearly worse than the first {unit} of the group above"
    return f"{plural(size, unit)}, tied with {first_label}"


def run_count(num_runs: int, num_scored: int, num_recipes: int = 0) -> str:
    """State the number of runs, how many of the runs have a score, and the number of ranked recipes (unless it is 0).

    >>> run_count(4, 4), run_count(4, 3), run_count(1, 0), run_count(6, 6, 2)
    ('4 runs', '4 runs, 3 with scores', '1 run, 0 with scores', '2 recipes, 6 runs')
    """
    few = "" if num_scored == num_runs else f", {num_scored} with scores"
    recipes = f"{plural(num_recipes, 'recipe')}, " if num_recipes else ""
    return f"{recipes}{plural(num_runs, 'run')}{few}"


def unranked_reason(reason: str, internal: Estimate, num_external: int, shared_findings: bool) -> str:
    """State why a run has no rank: the recorded `reason` or, without one, a general reason and the internal AUROC."""
    if reason:
        return reason
    if num_external == 0:
        text = "no external hospital was tested"
    elif not shared_findings:
        text = "internal and external hospitals label no finding in common"
    else:
        text = "no score at external hospitals"
    if internal.has_value:
        text += f"; internal AUROC (mean of all internally scored findings) {internal.with_interval}"
    return text


def scatter_title(num_below: int, num_runs: int, unit: str = "run") -> str:
    """State how many runs (`num_below` of `num_runs`) have a lower measured AUROC at external hospitals.

    >>> scatter_title(3, 4)
    '3 of 4 runs have a lower measured AUROC at external hospitals'
    """
    runs = f"{of_all(num_below, num_runs, unit)} {_verb(num_below, 'have', 'has')}"
    return f"{runs} a lower measured AUROC at external hospitals"


def hospitals_title(
    num_costly: int, num_external: int, num_runs: int, shared_findings: bool = True, num_measured: int | None = None
) -> str:
    """State at how many external hospitals the AUROC of any run or the mean drops clearly; `num_costly` is this number.

    `num_measured`: number of external hospitals with a gap; None for all.

    >>> hospitals_title(0, 3, 2, num_measured=1)
    'AUROC drops clearly at 0 of 3 external hospitals (1 compared)'
    """
    if num_external == 0:
        return "No external hospital was tested"
    if not shared_findings:
        return "Internal and external hospitals label no finding in common"
    if num_runs == 0:
        return NONE_RANKED
    fewer = num_measured is not None and num_measured < num_external
    compared = f" ({num_measured or 0} compared)" if fewer else ""
    return f"AUROC drops clearly at {of_all(num_costly, num_external, 'external hospital')}{compared}"


def findings_title(clear: Sequence[str], num_some: int, num_findings: int, num_runs: int, unit: str = "run") -> str:
    """State for which findings the external AUROC is clearly lower than the internal AUROC.

    `clear`: findings with a clear drop in every run, largest gap first. `num_some`: number of findings with a clear drop in any
    run. `num_findings`: number of all compared findings.

    >>> findings_title(["Edema"], 3, 9, 4)
    'AUROC drops clearly in every run for Edema'
    >>> findings_title(["Edema", "Pneumonia", "Mass"], 3, 9, 4)
    'AUROC drops clearly in every run for 3 of 9 findings'
    >>> findings_title([], 3, 9, 4), findings_title([], 0, 9, 4)
    ('AUROC drops clearly in some runs for 3 of 9 findings', 'No finding with a clear drop of mean AUROC')
    """
    if num_runs == 0 or not num_findings:
        return "No finding has both an internal and an external score"
    if not num_some:
        return "No finding with a clear drop of mean AUROC"
    if not clear:
        return f"AUROC drops clearly in some {unit}s for {of_all(num_some, num_findings, 'finding')}"
    runs = f"{'every' if num_runs > 1 else 'this'} {unit}"
    names = listing([quoted(finding) for finding in clear])
    if len(clear) >= 3:
        names = of_all(len(clear), num_findings, "finding")
    return f"AUROC drops clearly in {runs} for {names}"


def worst_finding(finding: str, internal: float, external: float, num_runs: int) -> str:
    """State the internal and external AUROC of the finding with the largest mean gap."""
    mean = "mean " if num_runs > 1 else ""
    return f"{finding}: {mean}AUROC {places(internal)} internal, {places(external)} external"


def pareto_title(labels: Sequence[str], num_runs: int, unit: str = "run") -> str:
    """State how many runs are on the Pareto front of operations and AUROC. `labels`: labels of these runs."""
    if num_runs == 0:
        return f"{NONE_RANKED}, so cost and AUROC cannot be compared"
    if num_runs == 1:
        return f"Only one {unit}: there is no other cost to compare with"
    if len(labels) == 1:
        return f"1 {unit} is Pareto-optimal in GMACs and AUROC: {labels[0]}"
    return f"{of_all(len(labels), num_runs, unit)} are Pareto-optimal in GMACs and AUROC"


def probe_title(values: Sequence[float], untrained: Sequence[float], chance: float, num_sources: int) -> str:
    """State how well a linear classifier on a run's frozen features identifies the hospital of an image.

    `values`: balanced accuracy for each run, at least one. `untrained`: the same with the features before training, for each run that has it.
    `chance`: the accuracy of guessing. `num_sources`: number of hospitals.

    >>> probe_title([0.95, 0.919], [0.947], 1 / 6, 6)
    'Features reveal the hospital: accuracy .919–.950; before training .947; chance .167'
    """
    if num_sources < 2:
        return "There is only one hospital, so a source classifier has nothing to distinguish"
    before = f"; before training {_range(untrained)}" if untrained else ""
    return f"Features reveal the hospital: accuracy {_range(values)}{before}; chance {places(chance)}"


def _range(values: Sequence[float]) -> str:
    """Return the smallest and the largest of several values as text."""
    low, high = places(min(values)), places(max(values))
    return low if low == high else f"{low}–{high}"


def probe_and_gap(rho: Estimate) -> str:
    """State whether runs whose features reveal the hospital have a larger gap; `rho`: rank correlation of accuracy and gap."""
    if not rho.clear:
        return f"No clear relation to the gap (Spearman {rho.with_interval})"
    size = "larger" if rho.value > 0 else "smaller"
    return f"Features that reveal the hospital: {size} gap (Spearman {rho.with_interval})"


def relation_power(num_runs: int, num_needed: int, visible: float, unit: str = "run") -> str:
    """State which rank correlation `num_runs` runs can show; `visible` is the smallest |ρ| that they can show.

    >>> relation_power(4, 8, 1.0)
    'A rank correlation of source classification with the gap needs at least 8 runs'
    >>> relation_power(24, 8, 0.41)
    'With 24 runs, only |ρ| above about .41 would show'
    """
    if num_runs < num_needed:
        return f"A rank correlation of source classification with the gap needs at least {num_needed} {unit}s"
    return f"With {num_runs} {unit}s, only |ρ| above about {places(visible, 2)} would show"


def learning_title(num_runs: int, num_at_end: int, epochs: int) -> str:
    """State how many runs have their best epoch at the end; the training of these runs may have been too short.

    `num_runs`: number of runs with a learning curve. `num_at_end`: number of these runs with the best internal AUROC in
    the last epoch. `epochs`: number of epochs.
    """
    if num_runs == 0:
        return "No learning curve of a scored run is stored"
    if num_at_end == 0:
        return f"{'Every run' if num_runs > 1 else 'The run'} had its best internal AUROC before the last epoch"
    runs = f"{of_all(num_at_end, num_runs, 'run')} had {_verb(num_at_end, 'their', 'its')}"
    return f"{runs} best internal AUROC in the last of {epochs} epochs: longer training might help"


def _verb(number: int, plural_form: str, singular_form: str) -> str:
    return singular_form if number == 1 else plural_form


def _unsigned_interval(gap: Estimate) -> str:
    """Return the interval of a gap's absolute value, as text."""
    return interval(gap.low, gap.high) if gap.value > 0 else interval(-gap.high, -gap.low)
