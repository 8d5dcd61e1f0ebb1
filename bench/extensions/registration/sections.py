"""Section on the registration of the grid: registered hypotheses with their answers, and deviations from the registered plan.

A check of a hypothesis asks for a number of this page. The answer is the verdict that the page gives this number, with the
correction for multiple comparisons that the page uses; no test is added here.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from reports.formatting import listing, plural
from reports.html.section import DATA, PlacedSection, Section, write
from reports.report_data.headline_rows import MISSING, Estimate
from reports.report_data.hospitals_and_runs import Run
from reports.report_data.report_data import EXTERNAL, ReportData
from reports.sections.factors import VERDICTS, mean_change
from reports.sentences.verdicts import CLEAR, HIGHER, LOWER, UNCLEAR, UNCLEAR_MEAN, verdict
from reports.tables import records_of

SUPPORTED, CONTRADICTED, UNANSWERED = "supported", "contradicted", "not answered"
ROOM = 12  # maximum number of names that a row of the table of the plan lists


class Answer(NamedTuple):
    """The answer to a hypothesis: SUPPORTED, CONTRADICTED, UNCLEAR or UNANSWERED, with the number of the page that decides.

    A hypothesis in words only has the answer "".
    `verdict` is the word of the page for this number; `reason` states why there is no answer, or what is missing.
    """

    answer: str
    estimate: Estimate = MISSING
    verdict: str = ""
    reason: str = ""


def registration(data: ReportData) -> Section:
    """Write the section: for each registration its date, hash, hypotheses and deviations; empty without a registration."""
    registered = list(data.meta.get("registrations") or ())
    if not registered:
        return Section("registration", "", Markup(""))
    parts = [_part(data, facts) for facts in registered]
    html = write("registration.html.j2", data=data, parts=parts, title=_title(parts))
    return Section("registration", "Registration", html)


def _part(data: ReportData, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that the template shows for one registration."""
    hypotheses = [{**item, "answered": answer(data, item["question"])} for item in facts["hypotheses"]]
    return {
        **facts,
        "day": str(facts["date"])[:10],
        "hypotheses": hypotheses,
        "rows": _planned(facts["plan"]),
        "exploratory": listing([row["reported"] for row in facts["deviations"] if not row["registered"]][:ROOM]),
    }


def _title(parts: Sequence[Mapping[str, Any]]) -> str:
    """State the number of deviations, and the answers to the registered hypotheses."""
    num = sum(len(part["deviations"]) for part in parts)
    deviations = (
        "no deviation from the registered plan" if not num else f"{plural(num, 'deviation')} from the registered plan"
    )
    answers = [item["answered"].answer for part in parts for item in part["hypotheses"] if item["question"]]
    counts = [(word, answers.count(word)) for word in (SUPPORTED, CONTRADICTED, UNCLEAR, UNANSWERED)]
    hypotheses = ", ".join(f"{count} {word}" for word, count in counts if count)
    first = f"Registered hypotheses: {hypotheses}; " if hypotheses else "Registered: "
    return f"{first}{deviations}"


def _planned(plan: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the registered plan as pairs of title and text."""
    lists = {
        "Runs": plan["runs"],
        "Hospitals": plan["hospitals"],
        "Findings": plan["findings"],
        "Metrics": plan["metrics"],
    }
    rows = [(title, _some(map(str, names))) for title, names in lists.items()]
    return rows + [(key[:1].upper() + key[1:], str(value)) for key, value in plan.items() if isinstance(value, str)]


def _some(names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - ROOM} more" if len(every) > ROOM else ""
    return f"{len(every)}: {', '.join(every[:ROOM])}{more}"


def answer(data: ReportData, question: Mapping[str, Any]) -> Answer:
    """Return the answer of the page to a registered question; `question`: as `bench.extensions.registration.hypotheses` writes it.

    An empty question, of a hypothesis in words only, has no answer.
    """
    kind = question.get("kind")
    if kind == "pair":
        return _pair(data, question)
    if kind == "factor":
        return _factor(data, question)
    if kind == "gap":
        return _gap(question["sign"], _mean_gap(data, question["at"]))
    if kind == "recipe_gap":
        recipe, reason = _recipe(data, question["runs"])
        gap = data.gaps.get((recipe.id, question["at"], question["finding"]), MISSING) if recipe else MISSING
        return _gap(question["sign"], gap, reason)
    return Answer("")


def _recipe(data: ReportData, run_ids: Sequence[str]) -> tuple[Run | None, str]:
    """Return the recipe of these registered runs, None if it is not ranked; and a note about missing runs."""
    for recipe in data.ranked:
        members = {run.id for run in recipe.members}
        if members <= set(run_ids):
            missing = len(set(run_ids) - members)
            return recipe, f"without {plural(missing, 'registered run')}" if missing else ""
    return None, "the registered runs are not in the ranking"


def _pair(data: ReportData, question: Mapping[str, Any]) -> Answer:
    """Answer which of two recipes has the higher score, from the table `pairs`."""
    (higher, note), (lower, other) = (_recipe(data, question[side]) for side in ("higher", "lower"))
    if not (higher and lower):
        return Answer(UNANSWERED, reason=note if not higher else other)
    table = data.tables["pairs"]
    table = table[(table["dataset"] == question["at"]) & (table["metric"] == question["metric"])]
    for row in records_of(
        table[table["first"].isin([higher.id, lower.id]) & table["second"].isin([higher.id, lower.id])]
    ):
        difference = Estimate.of(row)
        if row["first"] == lower.id:
            difference = _negative(difference)
        words = verdict(difference, HIGHER, LOWER)
        return _answered(difference, words, HIGHER, LOWER, "; ".join(dict.fromkeys(filter(None, (note, other)))))
    return Answer(UNANSWERED, reason="the page has no such paired difference")


def _factor(data: ReportData, question: Mapping[str, Any]) -> Answer:
    """Answer which of two levels of a factor has the higher mean, from the table `ablation`."""
    metric, factor, higher, lower = (str(question[key]) for key in ("metric", "factor", "higher", "lower"))
    above, below = VERDICTS[metric]
    effect, words = mean_change(data.tables["ablation"], metric, factor, higher, lower)
    if not words:  # the hypothesis names the reference level of the page as the higher one
        effect, words = mean_change(data.tables["ablation"], metric, factor, lower, higher)
        effect, above, below = _negative(effect), below, above
    if not words:
        return Answer(UNANSWERED, reason="the page has no such comparison")
    if words not in (above, below, UNCLEAR_MEAN):
        return Answer(UNCLEAR, effect, words)
    return _answered(effect, words, above, below, "")


def _mean_gap(data: ReportData, at: str) -> Estimate:
    """Return the mean gap over recipes: of all external hospitals, or of one hospital."""
    if at == EXTERNAL:
        return data.mean_gap
    return next((hospital.mean_gap for hospital in data.hospitals if hospital.key == at), MISSING)


def _gap(sign: str, gap: Estimate, note: str = "") -> Answer:
    """Answer whether a gap is above or below 0, as registered in `sign`."""
    if not gap.has_value:
        return Answer(UNANSWERED, reason=note or "the page has no such gap")
    words = verdict(gap)
    if words != CLEAR:
        return _answered(gap, words, "", "", note)
    return Answer(SUPPORTED if (gap.value > 0) == (sign == "above") else CONTRADICTED, gap, words, note)


def _answered(estimate: Estimate, words: str, above: str, below: str, note: str) -> Answer:
    """Return the answer that follows from a verdict of the page."""
    if not words:
        return Answer(UNANSWERED, estimate, reason=note or "the number has no interval")
    found = {above: SUPPORTED, below: CONTRADICTED}.get(words, UNCLEAR)
    return Answer(found, estimate, words, note)


def _negative(e: Estimate) -> Estimate:
    """Return the estimate of the opposite difference."""
    return Estimate(-e.value, -e.high, -e.low, all_low=-e.all_high, all_high=-e.all_low)


SECTIONS = (PlacedSection(registration, DATA),)
