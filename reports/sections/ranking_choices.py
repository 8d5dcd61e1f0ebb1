"""The menu "Rank by" of the ranking: all rankings of the recipes, as data for a script.

The page shows one ranking at first. The script replaces it by the ranking that a reader chooses.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from reports import verdicts
from reports.formatting import DASH, is_number, keep_intervals, places, plural, sentence_case
from reports.html.compression import packed
from reports.html.section import write
from reports.report_data.headline_rows import EXTERNAL, MACRO, MISSING, Estimate
from reports.report_data.hospitals_and_runs import Run
from reports.report_data.rankings import Rows, rankings
from reports.report_data.report_data import ReportData
from reports.schemas.criterion import Criterion, further_scores
from reports.sentences import main_findings as sentences
from reports.sentences import members as member_sentences

METRICS = {"auroc": "AUROC", "gap": "gap in AUROC", "auprc": "AUPRC", "ece": "ECE"}
SMALLEST_FIRST = frozenset({"gap", "ece"})
LIKE_AUROC = frozenset({"auroc", "gap", "auprc"})  # metrics whose macros have the findings of the macro AUROC
OPEN = 10  # number of tie groups with visible rows at first
# number of rows of a tie group that are visible at first, if the page has more than FIRST recipes; the style sheet has the
# same number
SHOWN = 10
# number of rows that the table has at first; a script adds the other rows (without JavaScript, a second table has them)
FIRST = 60


@dataclass(frozen=True, slots=True)
class Choice:
    """One option of the menu "Rank by". rows: recipe id -> row of the table `ranks`, best recipe first."""

    criterion: Criterion
    rows: Rows
    metric: str  # name of the metric
    place: str  # short name of the hospital, "external mean" or name of the finding; for the menu and the column head
    words: str  # name of the score in a sentence
    head: str  # name of the metric in the column head
    smallest_first: bool  # whether the smallest score ranks first

    @property
    def metric_and_place(self) -> str:
        """The option as text for the menu."""
        return f"{self.metric}, {self.place}"


def choices(data: ReportData) -> dict[str, list[Choice]]:
    """Return the options of "Rank by": title of a group of options -> its options; {} if there is only one option, or nothing is ranked.

    The first option is the ranking that the page shows at first.
    """
    if not data.ranked:
        return {}
    custom = {str(metric["name"]): metric for metric in data.meta["settings"]["custom_metrics"]}
    further = {m.METRIC: m.TITLE for m in further_scores()}
    names = METRICS | {name: f"{title[0].lower()}{title[1:]}" for name, title in further.items()}
    names |= {name: str(metric["title"]) for name, metric in custom.items() if name not in names}
    heads = names | {"gap": "Gap", **further}
    smallest_first = SMALLEST_FIRST | {
        name for name, metric in custom.items() if metric["facts"].get("better") == "lower"
    }
    places_of = {EXTERNAL: "external mean", **{h.key: h.short for h in data.hospitals.external}}
    places_of |= {data.hospitals.internal.key: f"{data.hospitals.internal.short} (internal)"}
    found = rankings(data.tables["ranks"])
    options: dict[str, list[Choice]] = {}

    def add(title: str, criterion: Criterion, place: str, words: str) -> None:
        if len(found.get(criterion, ())) > 1:
            low, name = criterion.metric in smallest_first, names[criterion.metric]
            head = heads[criterion.metric]
            option = Choice(criterion, found[criterion], name, place, words, head, low)
            options.setdefault(title, []).append(option)

    for metric, name in names.items():
        title = sentence_case(name) + (", smallest first" if metric in smallest_first else "")
        for key, place in places_of.items():
            words = f"{name} at {place}, {_over_findings(data, metric, key)}"
            if key == EXTERNAL:
                words = external_mean(name, data if metric in LIKE_AUROC else None)
            add(title, Criterion(metric, key, MACRO), place, words)
    for metric in ("auroc", *further):
        title = f"{sentence_case(names[metric])} of one finding, external mean"
        for finding in data.findings:
            words = member_sentences.of_finding(names[metric], finding, _scoring(data, finding))
            add(title, Criterion(metric, EXTERNAL, finding), finding, words)
    shown = next((title for title, of in options.items() if data.ranked_by in {choice.criterion for choice in of}), "")
    if shown:
        first = sorted(options.pop(shown), key=lambda choice: choice.criterion != data.ranked_by)
        options = {shown: first} | options
    return options if sum(map(len, options.values())) > 1 else {}


def packed_rankings(data: ReportData, options: Iterable[Choice], order: Mapping[str, int]) -> str:
    """Return the rankings as a compressed JSON text: key of the option -> ranking.

    `order`: recipe id -> index of its row in the table of the page.
    """
    return packed(json.dumps({c.criterion.key: _ranking(data, c, order) for c in options}, separators=(",", ":")))


def _over_findings(data: ReportData, metric: str, key: str) -> str:
    """Return words such as "mean over 5 findings" for the first recipe's macro at a hospital; only AUROC states the number."""
    first = data.ranked[0]
    macro = first.internal if key == data.hospitals.internal.key else first.hospitals.get(key, MISSING)
    number = plural(macro.num_findings, "finding") if metric == "auroc" and macro.num_findings else "findings"
    return f"mean over {number}"


def of_one_finding(data: ReportData) -> str:
    """Return the name of the score that decides the ranking if it is a score of one finding; else ""."""
    finding = data.ranked_by.finding
    return "" if finding == MACRO else member_sentences.of_finding("AUROC", finding, _scoring(data, finding))


def _scoring(data: ReportData, finding: str) -> list[str]:
    """Return the names of the hospitals in the mean external score of a finding."""
    cells = {key[1:] for key, auroc in data.cells.items() if auroc.has_value}
    return [hospital.short for hospital in data.hospitals.averaged if (hospital.key, finding) in cells]


def left_out_of_mean(data: ReportData) -> str:
    """State which findings the mean of the first recipe leaves out, or why there is no mean; "" for none."""
    children = [hospital.short for hospital in data.hospitals.children]
    first = data.members_of_first
    return member_sentences.left_out(first, lambda key: data.hospitals[key].short, children) if first else ""


def external_mean(metric: str, data: ReportData | None) -> str:
    """Return the name of a mean over external hospitals in a sentence, with the number of its findings.

    `data`: None for a metric that may be known for fewer findings than the AUROC.
    """
    members = data.members_of_first if data else None
    over = member_sentences.over(members) if members else ""
    return f"mean {metric} at external hospitals{', ' if over else ''}{over}"


def _ranking(data: ReportData, choice: Choice, order: Mapping[str, int]) -> dict[str, Any]:
    """Return the data of one ranking: words, the HTML of each tie group's head, and the numbers of each recipe, best first.

    `order`: recipe id -> index of its row in the table of the page.
    """
    runs = {run.id: run for run in data.ranked}
    rows = [(runs[run_id], row) for run_id, row in choice.rows.items() if run_id in order]
    numbers = sorted({row["group"] for _, row in rows})
    members = [[run for run, row in rows if row["group"] == number] for number in numbers]
    ranked = {run.id for run, _ in rows}
    tied = groups(members, data)
    missing = [run for run in data.ranked if run.id not in ranked]
    if missing:
        words = f"{plural(len(missing), data.unit)} without this score"
        tied.append({"words": words, "number": 0, "runs": missing, "closed": False})
    return {
        "words": choice.words,
        "head": [choice.head, choice.place],
        "leader": _leader(data, choice, rows, len(members[0]) - 1),
        "low": int(choice.smallest_first),
        "groups": [str(group_head(group, data)) for group in tied],
        "row": [order[run.id] for run, _ in rows],
        "group": [numbers.index(row["group"]) for _, row in rows],
        "rank": [[round(row["rank_low"]), round(row["rank_high"])] for _, row in rows],
        "mean": [float(f"{row['mean_rank']:.4g}") for _, row in rows],
        "best": [p_best_text(float(row["p_best"])) for _, row in rows],
        "score": [_texts(Estimate.of(row)) for _, row in rows],
        "derived": [_texts(estimate) for estimate in _of_derived(data, choice.criterion)],
    }


def groups(members: Iterable[Sequence[Run]], data: ReportData) -> list[dict[str, Any]]:
    """Return one dict for each tie group: caption (`words`), number, runs, and whether its rows are folded.

    `members`: the runs of each group. `closed`: whether rows of the group are hidden at first. `partly`: whether the first
    SHOWN rows of a closed group stay visible.
    """
    return [
        {
            "words": sentences.group_caption(k, len(runs), runs[0].label, data.unit),
            "number": k,
            "runs": runs,
            "closed": k > OPEN or (len(data.ranked) > FIRST and len(runs) > SHOWN),
            "partly": k <= OPEN,
        }
        for k, runs in enumerate(members, start=1)
    ]


def group_head(group: Mapping[str, Any], data: ReportData, span: int = 1, again: bool = False) -> Markup:
    """Return the HTML of the head of a tie group.

    `span`: number of columns. `again`: whether an earlier table has the first rows of the group.
    """
    single = len(data.ranked) == 1
    return write("ranking_group.html.j2", g=group, unit=data.unit, again=again, single=single, span=span)


def p_best_text(p_best: float) -> str:
    """Return the share of draws in which a recipe ranks first, with two decimals; "< .01" below .005."""
    if not is_number(p_best):
        return DASH
    return places(p_best, 2) if p_best >= 0.005 else "< .01"


def _leader(data: ReportData, choice: Choice, rows: list[tuple[Run, Mapping[str, Any]]], num_tied: int) -> Markup:
    """Return the sentence on the first recipe of a ranking, as HTML."""
    (first, row), (second, _) = rows[:2]
    to_second = Estimate.of(row, "lead")
    text = sentences.best_run(
        first.label,
        Estimate.of(row),
        num_tied,
        len(rows),
        data.unit,
        (second.label, to_second) if to_second.has_interval else None,
        choice.words,
        choice.smallest_first,
        but=verdicts.objection(data, first),
    )
    return keep_intervals(text)


def _of_derived(data: ReportData, criterion: Criterion) -> list[Estimate]:
    """Return the score of each derived run (TTA, ensemble, imported model) by this criterion; these runs are not ranked."""
    if not data.derived:
        return []
    calibrator = "platt" if criterion.metric == "ece" else "none"
    if criterion.metric in data.further:
        scores = (data.further[criterion.metric].get((run.id, *criterion[1:])) for run in data.derived)
        return [score.value if score else MISSING for score in scores]
    other = {} if criterion.metric in ("auroc", "gap") else data.headline.lookup(criterion.metric, (calibrator,))
    estimates = {"auroc": data.cells, "gap": data.gaps}.get(criterion.metric, other)
    return [estimates.get((run.id, criterion.dataset, criterion.finding), MISSING) for run in data.derived]


def _texts(estimate: Estimate) -> list[str]:
    """Return the score as text, followed by the two bounds of its interval if these are known."""
    bounds = [places(estimate.low), places(estimate.high)] if estimate.has_interval else []
    return [estimate.text, *bounds]
