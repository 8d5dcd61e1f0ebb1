"""Numbers to sentences. The verb follows the interval, never the estimate alone.

Words that no function here may write: significant, outperforms, robust, no difference, equal.
"""

from collections.abc import Sequence

from reports.formatting import interval, listing, percent, places, plural, sentence_case, word
from reports.report_data.headline_rows import Estimate

NO_SCORE = "No run has a score at external hospitals"


def headline(
    num_runs: int,
    num_worse: int,
    num_better: int,
    num_external: int,
    phantom: bool,
    only: str = "",
    common: bool = True,
) -> str:
    """Return the page's first sentence; the counts are of runs whose simultaneous interval excludes 0.

    `num_runs` are those with a score at external hospitals, or at the internal hospital where there is no external hospital. `only` is the one run's
    name and loss, used where there is one run. `common` is whether internal and external label any finding that is the same.
    """
    where = "hospitals they have never seen" if num_external != 1 else "a hospital they have never seen"
    unclear = num_runs - num_worse - num_better
    if num_external == 0:
        known_at_internal = f"{_few(num_runs)} network{'' if num_runs == 1 else 's'} at the internal hospital only"
        said = f"{known_at_internal if num_runs else 'no network has a score'}: no other hospital was tested"
    elif num_runs == 0:
        said = "no network has a score at external hospitals"
        said += "" if common else ": no finding is labelled both there and at the internal hospital"
    elif num_runs == 1:
        said = f"one network, no ranking: {only}"
    elif num_worse == num_runs:
        said = f"{'both' if num_runs == 2 else f'all {_few(num_runs)}'} networks read worse in {where}"
    elif num_better == num_runs:
        said = f"{'both' if num_runs == 2 else f'all {_few(num_runs)}'} networks read better in {where}"
    elif num_worse == num_better == 0:
        whose = "neither network" if num_runs == 2 else f"none of the {_few(num_runs)} networks"
        said = f"for {whose} can the data tell whether it reads worse at external hospitals"
    else:
        parts = [f"{_few(num_worse)} of {_few(num_runs)} networks {_read(num_worse)} worse in {where}"]
        if num_better:
            parts.append(f"{_few(num_better)} {_read(num_better)} better")
        if unclear:
            parts.append(f"for {_few(unclear)} the data cannot tell")
        said = "; ".join(parts)
    return f"On synthetic images, {said}" if phantom else sentence_case(said)


def one_run(label: str, gap: Estimate) -> str:
    """Return what the headline says where there is one run."""
    if not gap.known:
        return f"what {label} loses at external hospitals could not be measured"
    if not gap.clear:
        return f"whether {label} reads worse at external hospitals, the data cannot tell"
    return f"{label} reads {'worse' if gap.value > 0 else 'better'} at external hospitals"


def mean_loss(
    internal: str,
    num_external: int,
    num_runs: int,
    lost: Estimate,
    hospitals: Sequence[tuple[str, Estimate]],
    common: bool = True,
    trained: bool = True,
) -> str:
    """Return how much is lost on average and where most and least; `hospitals` are (title, mean loss).

    `trained`: at the internal hospital; else the models came from elsewhere, and the internal hospital is what they are compared with.
    """
    if num_external == 0:
        return "No other hospital was tested, so what is lost at external hospitals is not known."
    if not common:
        return f"No finding is labelled both at {internal} and at another hospital, so nothing can be compared."
    if num_runs == 0:
        return f"{NO_SCORE}; the ranking says why, run by run."
    they = "it" if num_runs == 1 else "they"
    others = f"{word(num_external)} others" if num_external != 1 else "one other"
    start = f"Trained at {internal} and tested unchanged at {others}, {they}"
    if not trained:
        start = f"Trained elsewhere, and tested unchanged at {internal} and at {others}, {they}"
    average = " on average" if num_runs > 1 or num_external > 1 else ""
    if not lost.known:
        return f"{start} {_verb(num_runs, 'have', 'has')} too few patients for a mean loss."
    if lost.clear:
        verb = _verb(num_runs, "lose", "loses") if lost.value > 0 else _verb(num_runs, "gain", "gains")
        said = f"{start} {verb}{average} {places(abs(lost.value))} of AUROC {_turned(lost)}."
    else:
        said = f"{start} {_verb(num_runs, 'lose', 'loses')}{average} {lost.with_interval} of AUROC, which cannot be told from none."
    measured = sorted(((title, e) for title, e in hospitals if e.known), key=lambda pair: pair[1].value)
    if len(measured) > 1:
        (least, low), (most, high) = measured[0], measured[-1]
        said += f" The measured loss is largest at {most}, {high.with_interval}, and smallest at {least}, {low.with_interval}."
    return said


def best(label: str, external: Estimate, num_tied: int, p_best: float, num_runs: int) -> str:
    """Return who is first at external hospitals, and whether the data can tell; `num_tied` counts the others of group 1."""
    if num_runs == 1:
        return (
            f"{label} reads {external.with_interval} at external hospitals; with one run there is nothing to compare."
        )
    start = f"{label} has the highest mean at external hospitals, {external.with_interval}"
    chance = f"it comes first in {_chance(p_best)} of the resamples"
    if num_tied == 0:
        return f"{start}, and no other run is tied with it; {chance}."
    if num_tied == num_runs - 1:
        return f"{start}, but {'the other run' if num_tied == 1 else 'none of the others'} can{'not' if num_tied == 1 else ''} be told from it, and {chance}."
    runs = "one other run" if num_tied == 1 else f"{word(num_tied)} other runs"
    return f"{start}, but {runs} cannot be told from it, and {chance}."


def smallest_gap(label: str, gap: Estimate, is_first: bool) -> str:
    """Return who has the smallest measured gap."""
    who = "It also has" if is_first else f"{label} has"
    tail = "" if gap.clear else ", which cannot be told from none"
    return f"{who} the smallest measured gap, {gap.with_interval}{tail}."


def group_head(number: int, size: int, anchor: str) -> str:
    """Return the words after `Group n` in the ranking."""
    if size == 1:
        return "one run" if number == 1 else "one run, clearly below the first run of the group above"
    if size == 2:
        return f"two runs: the data cannot tell the second from {anchor}"
    return f"{word(size)} runs; the data cannot tell the others from {anchor}"


def counted(num_runs: int, num_scored: int) -> str:
    """Return how many runs the grid has, and how many of them have a score.

    >>> counted(4, 4), counted(4, 3), counted(1, 0)
    ('4 runs', '4 runs, 3 with scores', '1 run, none with scores')
    """
    few = "" if num_scored == num_runs else f", {num_scored or 'none'} with scores"
    return f"{plural(num_runs, 'run')}{few}"


def unranked(reason: str, internal: Estimate, num_external: int, common: bool) -> str:
    """Return why a run has no rank; what it has at the internal hospital is said, the reason that its record gives comes first."""
    if reason:
        return reason
    if num_external == 0:
        why = "no other hospital was tested"
    elif not common:
        why = "no finding is labelled both at internal and external"
    else:
        why = "no score at external hospitals"
    return f"{why}; at the internal hospital {internal.with_interval}" if internal.known else why


def zero(gap: Estimate) -> str:
    """Return where 0 lies against the interval, "" where there is no interval.

    >>> zero(Estimate(0.1, 0.05, 0.15)), zero(Estimate(0.1, -0.05, 0.25)), zero(Estimate(0.1))
    ('excludes 0', 'includes 0', '')
    """
    return ("excludes 0" if gap.clear else "includes 0") if gap.known and gap.has_interval else ""


def over_common(least: int, greatest: int) -> str:
    """Return over how many findings a gap is taken, where it is `least` to `greatest` by run and hospital; "" for none.

    >>> over_common(2, 2), over_common(1, 1), over_common(2, 9), over_common(0, 0)
    ('over the 2 findings both have', 'over the 1 finding both have', 'over the 2 to 9 findings both have', '')
    """
    if greatest == 0:
        return ""
    return (
        f"over the {plural(greatest, 'finding') if least == greatest else f'{least} to {greatest} findings'} both have"
    )


def below_line(num_below: int, num_runs: int, over: str) -> str:
    """Return what the scatter of internal against external shows, without a claim that four points cannot carry."""
    if num_below == num_runs:
        said = (
            f"{'Both' if num_runs == 2 else 'All'} measured external means lie below the dashed line of equal reading"
        )
    else:
        said = f"{num_below} of {num_runs} measured external means lie below the dashed line of equal reading"
    return f"{said}, {over}" if over else said


def breaks(
    costly: Sequence[str], num_external: int, most: str, num_worst: int, num_runs: int, common: bool = True
) -> str:
    """Return what the heat map shows: which hospitals clearly cost something, and which is worst most often."""
    if num_external == 0:
        return "No other hospital was tested"
    if not common:
        return "No finding is labelled both at internal and external"
    if num_runs == 0:
        return NO_SCORE
    if len(costly) == num_external:
        said = "Every hospital costs something" if num_external > 1 else "The other hospital costs something"
    elif costly:
        said = f"{sentence_case(word(len(costly)))} of {word(num_external)} hospitals clearly {_verb(len(costly), 'cost', 'costs')} something"
    else:
        said = "No hospital clearly costs something"
    if num_external == 1:
        return said
    whose = (
        "of every run" if num_worst == num_runs and num_runs > 1 else f"of {_few(num_worst)} of {_few(num_runs)} runs"
    )
    return f"{said}; {most} is the worst hospital {whose if num_runs > 1 else 'of this run'}"


def findings_lost(clear: Sequence[tuple[str, float]], unclear: int, num_runs: int) -> str:
    """Return which findings lose in every run: (finding, mean gap), largest first."""
    if num_runs == 0 or not (clear or unclear):
        return "No finding has a score both at internal and external"
    whose = "in every run" if num_runs > 1 else "in this run"
    if not clear:
        return f"For no finding does the gap’s interval lie above 0 {whose}"
    names = listing([f"{name} ({places(value)})" for name, value in clear])
    rest = f"; for the other {word(unclear)} the data cannot say so" if unclear else ""
    return f"The gap’s interval lies above 0 {whose} for {names}{rest}"


def one_finding(finding: str, internal: float, external: float, num_runs: int, clear: int) -> str:
    """Return the story of the finding with the largest mean gap."""
    mean = "on average " if num_runs > 1 else ""
    tail = (
        ""
        if clear == num_runs
        else f", though only {_few(clear)} of {_few(num_runs)} intervals exclude{_verb(clear, '', 's')} 0"
    )
    return (
        f"{finding} loses most: {mean}{places(internal)} at the internal hospital, {places(external)} externally{tail}"
    )


def pareto(names: Sequence[str], num_runs: int) -> str:
    """Return which runs no other beats on cost and AUROC at once."""
    if num_runs == 0:
        return f"{NO_SCORE} to weigh against its cost"
    if num_runs == 1:
        return "One run: nothing to weigh against its cost"
    verb = "run is" if len(names) == 1 else "runs are"
    return f"{sentence_case(word(len(names)))} {verb} not beaten on both axes: {listing(names)}"


def probe(values: Sequence[float], chance: float, shuffled: Sequence[float], num_sources: int) -> str:
    """Return how well a linear classifier names the hospital from frozen features."""
    if not values:
        return "The source classifier was not run"
    if num_sources < 2:
        return "There is one hospital, so there is no other to tell it from"
    spread = places(values[0]) if len(values) == 1 else f"{places(min(values))} to {places(max(values))}"
    said = f"From frozen features a linear classifier names one of {word(num_sources)} hospitals with a balanced accuracy of {spread} (chance {places(chance)}"
    return said + (f", with shuffled labels {places(sum(shuffled) / len(shuffled))})" if shuffled else ")")


def association(rho: Estimate, num_runs: int, needed: int, visible: float) -> str:
    """Return whether a clearer reading of the hospital goes with a larger gap, over runs."""
    if num_runs < needed:
        runs = f"{_few(num_runs)} run{'' if num_runs == 1 else 's'}"
        return f"Whether it goes with a larger gap cannot be said from {runs}: a rank correlation needs {word(needed)}"
    where = f"Spearman {rho.with_interval}"
    if not rho.clear:
        power = f"with {num_runs} runs only |ρ| above about {places(visible, 2)} would show"
        return f"Whether a clearer reading goes with a larger gap is not distinguishable ({where}; {power})"
    return f"Runs in which the hospital is easier to read lose {'more' if rho.value > 0 else 'less'} ({where})"


def learning(num_runs: int, at_end: int, epochs: int) -> str:
    """Return where the chosen epoch lies; the best at the very end may mean too short a training."""
    if num_runs == 0:
        return "No learning curve of a run with a score was kept"
    if at_end == 0:
        return (
            "Every run was best at the internal hospital before its last epoch"
            if num_runs > 1
            else "The run was best at the internal hospital before its last epoch"
        )
    if num_runs == 1:
        return f"The run was best at the internal hospital in the last of {epochs} epochs: more training might help"
    everyone = f"All {_few(num_runs)} runs were"
    some = f"{sentence_case(_few(at_end))} of {_few(num_runs)} runs {_verb(at_end, 'were', 'was')}"
    who = everyone if at_end == num_runs else some
    return f"{who} best at the internal hospital in the last of {epochs} epochs: more training might help"


def _few(number: int) -> str:
    """Return a count for a headline: words to nine, figures from ten."""
    return word(number) if 0 < number < 10 else str(number)


def _chance(share: float) -> str:
    """Return a share of the resamples, never as all or none of them: of other resamples it might not be."""
    return "more than 99 %" if share > 0.99 else "fewer than 1 %" if share < 0.01 else percent(share, 1.0)


def _read(number: int) -> str:
    return "reads" if number == 1 else "read"


def _verb(number: int, many: str, one: str) -> str:
    return one if number == 1 else many


def _turned(lost: Estimate) -> str:
    """Return the interval of the size of a loss or a gain."""
    return interval(lost.low, lost.high) if lost.value > 0 else interval(-lost.high, -lost.low)
