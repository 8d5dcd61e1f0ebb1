"""One verdict per recipe, and one per recipe and finding: headline, ranking, terminal, predictions and model cards read them.

A verdict is a state that the tables show, with its number. `of_recipe` and `matrix` alone decide, and `clause` alone says it.
So no title, sentence or command denies what a table shows as clear.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from reports.formatting import listing, of_all, plural, sentence_case
from reports.report_data.headline_rows import EXTERNAL, MACRO, MISSING, Estimate
from reports.report_data.hospitals_and_runs import Run
from reports.report_data.page_rows import HEALTHY
from reports.report_data.report_data import ReportData
from reports.sentences.members import over

LEAST_GAP = 0.05  # a clear gap of at least this AUROC at a hospital is a failure
SMALL = 0.02  # a gap whose interval ends below this AUROC is small
USEFUL_FROM = 0.7  # AUROC from which a model is useful, if the grid states no other

WRONG, CHANCE, SHORTCUT = "wrong way round", "not better than chance", "uses a shortcut"
FAILS, AT_CHANCE = "fails at a hospital", "not better than chance at a hospital"
GAP, UNCLEAR_GAP, SMALL_GAP, HIGHER, NO_GAP = "clear gap", "unclear gap", "small gap", "higher elsewhere", "no gap"
USEFUL, UNCERTAIN = "useful at a new hospital", "too uncertain to tell"
TOO_FEW, UNKNOWN = "too few hospitals", "not predicted"  # UNKNOWN: the tables have no prediction
WORSE_THAN_NONE = "worse than none"
AT_NEW = (USEFUL, UNCERTAIN)
# a finding of a recipe has one of these states
OF_FINDING = (USEFUL, UNCERTAIN, CHANCE, WRONG, SHORTCUT, TOO_FEW, UNKNOWN)
# what one and several recipes do whose worst state this is, worst first
OF_RECIPES = {
    WRONG: ("ranks a finding the wrong way round", "rank a finding the wrong way round"),
    CHANCE: ("is not clearly better than chance", "are not clearly better than chance"),
    FAILS: ("fails at a hospital", "fail at a hospital"),
    AT_CHANCE: ("is not clearly better than chance at a hospital", "are not clearly better than chance at a hospital"),
    GAP: ("has a clear gap", "have a clear gap"),
    UNCLEAR_GAP: ("has an unclear gap", "have an unclear gap"),
    SMALL_GAP: ("has a small gap", "have a small gap"),
    HIGHER: ("has a higher AUROC at external hospitals", "have a higher AUROC at external hospitals"),
    NO_GAP: ("has no measured gap", "have no measured gap"),
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """A state and its number. hospital: key of the hospital of the number, "" for a mean; finding: "" for a mean."""

    state: str
    number: Estimate = MISSING
    hospital: str = ""
    finding: str = ""


def of_recipe(data: ReportData, run: Run) -> tuple[Verdict, ...]:
    """Return what the tables show of a recipe at external hospitals, worst first; the first state is one of OF_RECIPES."""
    return (*_failures(data, run), _gap(data, run), *_uses(data, run))


def of_findings(data: ReportData, run: Run) -> dict[str, Verdict]:
    """Return the verdict on each finding of a recipe or a run; see `matrix`."""
    predicted = {finding: data.at_new_hospital.get((run.id, finding)) for finding in data.findings}
    return matrix(_cells(data, run), predicted, _shortcuts(data, run), useful_from(data))


def useful_from(data: ReportData) -> float:
    """Return the AUROC from which a model is useful at a new hospital."""
    return float(data.meta.get("useful") or USEFUL_FROM)


def matrix(
    cells: Mapping[tuple[str, str], Estimate],
    predicted: Mapping[str, tuple[Estimate, Estimate] | None],
    shortcuts: Collection[str],
    useful: float,
) -> dict[str, Verdict]:
    """Return the verdict on each finding, one of OF_FINDING.

    cells: (external hospital, finding) -> AUROC. predicted: finding -> AUROC to expect at a new hospital, with its interval and with
    the prediction interval, which becomes the number of the verdict; None if the tables have no prediction. WRONG has the AUROC at
    the hospital. shortcuts: the findings with a shortcut. useful: AUROC from which a model is useful.
    """
    found = {verdict.finding: verdict for verdict in reversed(_wrong(cells))}
    for finding, numbers in predicted.items():
        mean, new = numbers or (MISSING, MISSING)
        scored = [cell.low for (_, other), cell in cells.items() if other == finding and cell.has_interval]
        lower_ends = [mean.low] if mean.has_interval else scored
        if finding in found:
            continue
        if lower_ends and max(lower_ends) <= 0.5:
            state = CHANCE
        elif finding in shortcuts:
            state = SHORTCUT
        elif not new.has_interval:
            state = TOO_FEW if numbers else UNKNOWN
        else:
            state = USEFUL if new.low >= useful else UNCERTAIN
        found[finding] = Verdict(state, new, finding=finding)
    return {finding: found[finding] for finding in predicted}


def _failures(data: ReportData, run: Run) -> Iterator[Verdict]:
    yield from _wrong(_cells(data, run))
    if data.hospitals.external and _lower_end(run.score) <= 0.5:
        of_mean = data.ranked_by.finding == MACRO
        yield Verdict(CHANCE, run.score, finding="" if of_mean else data.ranked_by.finding)
    gaps = {key: gap for key, gap in run.hospital_gaps.items() if gap.clear_above and gap.value >= LEAST_GAP}
    for key in sorted(gaps, key=lambda key: -gaps[key].value):
        yield Verdict(FAILS, gaps[key], key)
    if any(_lower_end(estimate) > 0.5 for estimate in run.hospitals.values()):
        low = {key: estimate for key, estimate in run.hospitals.items() if _lower_end(estimate) <= 0.5}
        for key in sorted(low, key=lambda key: low[key].value):
            yield Verdict(AT_CHANCE, low[key], key)


def _shortcuts(data: ReportData, run: Run) -> set[str]:
    """Return the findings for which a seed of the recipe uses a shortcut."""
    return {finding for member in run.members for finding in data.shortcuts.get(member.id, ())}


def _cells(data: ReportData, run: Run) -> dict[tuple[str, str], Estimate]:
    keys = [(hospital.key, finding) for hospital in data.hospitals.external for finding in data.findings]
    return {key: data.cells[run.id, *key] for key in keys if (run.id, *key) in data.cells}


def _wrong(cells: Mapping[tuple[str, str], Estimate]) -> list[Verdict]:
    """Return the AUROCs that are clearly below .5 after correction for all of them, lowest first."""
    num = sum(cell.has_interval for cell in cells.values())
    corrected = {key: cell.corrected(num) for key, cell in cells.items() if cell.high < 0.5}
    wrong = [Verdict(WRONG, cell, *key) for key, cell in corrected.items() if cell.bounds[1] < 0.5]
    return sorted(wrong, key=lambda verdict: verdict.number.value)


def _lower_end(auroc: Estimate) -> float:
    return auroc.low if auroc.has_interval else auroc.value


def _gap(data: ReportData, run: Run) -> Verdict:
    """Return the verdict on the gap: the mean gap, or a clear gap at a hospital or of a finding that the mean hides."""
    hospitals = [hospital.key for hospital in data.hospitals.external]
    for datasets, findings in (
        ([EXTERNAL], [MACRO]),
        (hospitals, [MACRO]),
        ([EXTERNAL], data.findings),
        (hospitals, data.findings),
    ):
        gaps = {(d, f): data.gaps.get((run.id, d, f), MISSING) for d in datasets for f in findings}
        if clear := {key: gap for key, gap in gaps.items() if gap.clear_above}:
            dataset, finding = max(clear, key=lambda key: clear[key].value)
            where = "" if dataset == EXTERNAL else dataset
            return Verdict(GAP, clear[dataset, finding], where, "" if finding == MACRO else finding)
    if not run.gap.has_interval:
        return Verdict(NO_GAP, run.gap)
    high = run.gap.bounds[1]
    if high < 0:
        return Verdict(HIGHER, run.gap)
    return Verdict(SMALL_GAP if high <= SMALL else UNCLEAR_GAP, run.gap)


def _uses(data: ReportData, run: Run) -> Iterator[Verdict]:
    shortcuts = _shortcuts(data, run)
    for finding in data.findings:
        if finding in shortcuts:
            yield Verdict(SHORTCUT, finding=finding)
    _, new = data.at_new_hospital.get((run.id, MACRO), (MISSING, MISSING))
    if new.has_interval:
        yield Verdict(USEFUL if new.low >= useful_from(data) else UNCERTAIN, new)
    benefit = data.further.get("net_benefit", {}).get((run.id, EXTERNAL, MACRO))
    if benefit and benefit.value.clear and benefit.value.value < 0:
        yield Verdict(WORSE_THAN_NONE, benefit.value)


def clause(data: ReportData, verdict: Verdict) -> str:
    """Return a verdict as a clause without its subject, such as "loses .070 [.032, .108] AUROC at external hospitals"."""
    number = verdict.number
    finding = f"“{HEALTHY}”" if verdict.finding == HEALTHY else verdict.finding
    where = f"at {data.hospitals[verdict.hospital].short_with_ages}" if verdict.hospital else "at external hospitals"
    of = f" for {finding}" if finding else ""
    goal = f"an AUROC of {Estimate(useful_from(data)).text} at a new hospital"
    may = number.high >= useful_from(data)
    return {
        WRONG: f"ranks {finding} the wrong way round {where}: AUROC {number.with_interval}",
        CHANCE: f"is not clearly better than chance{of} {where}: AUROC {number.with_interval}",
        FAILS: f"fails {where}: gap in AUROC {number.with_interval}",
        AT_CHANCE: f"is not clearly better than chance {where}: AUROC {number.with_interval}",
        GAP: f"loses {number.with_interval} AUROC{of} {where}",
        HIGHER: f"has a higher AUROC {where}: gap {number.with_interval}",
        UNCLEAR_GAP: f"has an unclear mean gap in AUROC, at most {Estimate(number.bounds[1]).text}",
        SMALL_GAP: f"has no mean gap in AUROC above {Estimate(number.bounds[1]).text}",
        NO_GAP: f"has {no_mean_gap(data)}",
        SHORTCUT: f"uses a marker of {data.hospitals.internal.short} to predict {finding}",
        USEFUL: f"reaches {goal} (lower end: {Estimate(number.low).text})",
        UNCERTAIN: f"may not reach {goal} (lower end: {Estimate(number.low).text})"
        if may
        else f"is not expected to reach {goal} (upper end: {Estimate(number.high).text})",
        WORSE_THAN_NONE: f"is worse than treating no image as positive: net benefit {number.with_interval}, at the grid’s thresholds",
    }[verdict.state]


def no_mean_gap(data: ReportData) -> str:
    """Return the words for a mean gap that is unknown."""
    reason = data.members_of_first.reason if data.members_of_first else ""
    return f"{reason.partition(':')[0] or 'too few patients'} for a mean gap"


def objection(data: ReportData, run: Run) -> str:
    """Return the clause because of which no sentence may praise a score of a recipe; "" for none."""
    worst = of_recipe(data, run)[0] if data.hospitals.external else None
    return f"it {clause(data, worst)}" if worst and worst.state in (WRONG, CHANCE) else ""


def mark(data: ReportData, run: Run) -> str:
    """Return the failure of a recipe for its row in the ranking; "" for none."""
    worst = of_recipe(data, run)[0]
    where = data.hospitals[worst.hospital].short_with_ages if worst.hospital else ""
    return {
        WRONG: f"{worst.finding} the wrong way round at {where}",
        CHANCE: "not clearly better than chance",
        FAILS: f"fails at {where}",
        AT_CHANCE: f"chance at {where}",
    }.get(worst.state, "")


def titles(data: ReportData) -> tuple[str, str]:
    """Return the headline of the page, and the sentence below it that counts the recipes by their worst state."""
    return _headline(data), _counts(data)


def _counts(data: ReportData) -> str:
    """Count the ranked recipes by their worst state, in one sentence; "" for fewer than two, and without external hospitals."""
    if len(data.ranked) < 2 or not data.hospitals.external:
        return ""
    worst = Counter(of_recipe(data, run)[0].state for run in data.ranked)
    does = {state: of_one if worst[state] == 1 else of_many for state, (of_one, of_many) in OF_RECIPES.items()}
    if len(worst) == 1:
        (state,) = worst
        return f"{of_all(worst[state], len(data.ranked), data.unit)} {does[state]}."
    said = [f"{worst[state]} {words}" for state, words in does.items() if worst[state]]
    return f"Of {plural(len(data.ranked), data.unit)}, {listing(said, len(said))}."


def _headline(data: ReportData) -> str:
    """Return the headline of the page: the worst state of the first recipe, or why nothing is compared."""
    num_scored = len(data.scored)
    if data.only_exposed_models:
        return "No ranking: every model was trained elsewhere, on data of an external hospital"
    if data.ranked and data.hospitals.external:
        worst = of_recipe(data, data.ranked[0])[0]
        members = data.members(data.ranked[0])
        is_partial = members.left_out or members.num_hospitals < members.num_external
        text = f"{data.name(data.ranked[0])} {clause(data, worst)}"
        if is_partial and members.findings and not worst.finding:
            text += f" ({over(members, brief=True)})"
        return f"On synthetic images, {text}" if data.tables.synthetic else text
    if data.hospitals.num_external:
        text = "no run is ranked"
        text += "" if data.has_common else ": internal and external hospitals label no finding in common"
    elif data.ranked or num_scored:
        number = plural(len(data.ranked) or num_scored, data.unit)
        text = f"{number} scored on internal images; no external hospital was tested"
    else:
        text = "no run has a score, and no external hospital was tested"
    return f"On synthetic images, {text}" if data.tables.synthetic else sentence_case(text)
