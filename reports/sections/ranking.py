"""Section with the ranking: runs by mean external AUROC, in tie groups.

The data cannot distinguish the scores of the runs in a tie group. The dot strip of a run shows three AUROCs as marks on
one axis: the AUROC at the worst hospital, the mean AUROC at external hospitals, and the AUROC at the internal hospital.
The worst hospital is the external hospital with the largest gap.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from harmonize.cohorts.hospital_names import SYNTHETIC_NOTICE
from reports import verdicts
from reports.drawing import svg
from reports.formatting import is_number, signed
from reports.html.section import Section, data_block, write
from reports.report_data.headline_rows import Estimate
from reports.report_data.hospitals_and_runs import Run
from reports.report_data.report_data import MACRO, ReportData
from reports.schemas.select import select
from reports.sections import mine, ranking_choices
from reports.sections.ranking_choices import FIRST
from reports.sections.ranking_columns import RankingColumn, columns_of
from reports.sections.run_detail import submission
from reports.sections.symptoms import inverted_cells, symptom_anchor
from reports.sentences import data as data_sentences
from reports.sentences import main_findings as sentences
from reports.sentences import members as member_sentences
from reports.sentences.verdicts import CLEAR, HIGHER, LOWER, verdict
from reports.summaries import rank_agreement

WIDTH = 262.0  # px: width of the dot strip
# maximum number of values of a filter, and maximum number of filters; a longer list would be hard to use
MOST_VALUES, MOST_FACTORS = 40, 12
WORDS = {
    "family": "Family",
    "architecture": "Architecture",
    "optimizer": "Optimizer",
    "loss": "Loss",
    "uncertainty": "Uncertain labels",
    "preprocessing": "Preprocessing",
    "augmentation": "Augmentation",
    "weights": "Weights",
}


RESAMPLED = "Each seed trains on another sample of the patients; the test patients are the same."
NOT_RESAMPLED = "All seeds train on the same patients: intervals do not include the variation between training samples."
NOT_SEARCHED = "Settings of training were not searched: with others, the order can change."


@dataclass(frozen=True, slots=True)
class Factor:
    """A filter of the ranking: a setting in which the ranked recipes differ.

    key: name in the page's web address. values: the possible values. value_of_run: recipe id -> its value.
    """

    key: str
    title: str
    values: Sequence[str]
    value_of_run: Mapping[str, str]

    def index(self, run: Run) -> int:
        """Return the position of a run's value in `values`."""
        return self.values.index(self.value_of_run[run.id])

    def same_partition(self, other: Mapping[str, str]) -> bool:
        """Return whether another factor divides the runs into the same groups; `other`: run id -> value of that factor."""
        pairs = {(self.value_of_run[run], other[run]) for run in self.value_of_run}
        return len(pairs) == len(self.values) == len(set(other.values()))


def ranking(data: ReportData) -> Section:
    """Write the section: the table of ranked runs with filters, then the runs without a rank and the reason for each."""
    columns, factors = columns_of(data), _factors(data)
    strips, grid, scale = _strips(data)
    groups = ranking_choices.groups(data.groups, data)
    by = ranking_choices.choices(data)
    span = sum(column.first for column in columns) + 3
    order = {r.id: i for i, r in enumerate(r for group in groups for r in group["runs"])}
    first = data.members_of_first
    rows = [_sort_data(data, r, order[r.id], g["number"], columns, factors) for g in groups for r in g["runs"]]
    context = {
        "data": data,
        "mine": mine.panel(data),
        "columns": columns,
        "groups": groups,
        "strips": strips,
        "axis": svg.axis(scale, grid),
        "strip_grid": svg.strip_grid(scale, grid),
        "bars": {r.id: svg.rank_bar(r.rank_low, r.rank_high, r.mean_rank, len(data.ranked)) for r in data.ranked},
        "ranks": {
            r.id: str(r.rank_low) if r.rank_low == r.rank_high else f"{r.rank_low}–{r.rank_high}" for r in data.ranked
        },
        "keys": KEYS if any(_compared(r).has_value for r in data.ranked) else {**KEYS, "external": ""},
        "CLEAR": CLEAR,
        "slices": _row_slices(groups, data, span),
        "by": by,
        "rankings": Markup(  # noqa: S704  (base64)
            ranking_choices.packed_rankings(data, (choice for options in by.values() for choice in options), order)
            if by
            else ""
        ),
        "by_words": ranking_choices.of_one_finding(data) or ranking_choices.external_mean("AUROC", data)
        if data.hospitals.external
        else f"internal AUROC at {data.hospitals.internal.title}; no external hospital was tested",
        "protocol": _protocol(data),
        "warning": ranking_choices.left_out_of_mean(data),
        "num_in_mean": first.num_hospitals if first else len(data.hospitals.external),
        "others": _other_members(data),
        "later": len(data.ranked) > FIRST,
        "ranked": Markup(data_block(rows)),  # noqa: S704  (data_block escapes)
        "single": len(data.ranked) == 1,
        "failures": {r.id: verdicts.mark(data, r) for r in data.ranked if data.hospitals.external},
        "inverted": {
            run: symptom_anchor(run)
            for run, dataset, finding in inverted_cells(data)
            if finding == MACRO and dataset != data.hospitals.internal.key
        },
        "synthetic_notice": SYNTHETIC_NOTICE,
        "pins": len(data.ranked) > 1,
        "span": span,
        "causal": any(r.causal.has_value for r in data.ranked),
        "why": {
            r.id: sentences.unranked_reason(
                r.reason or _fewer_findings(data, r) or _incomplete(data, r),
                r.internal,
                data.hospitals.num_external,
                data.has_common,
            )
            for r in data.unranked
        },
        "submitted": {r.id: _submitted(data, r) for r in (*data.ranked, *data.derived, *data.unranked)},
        "factors": factors,
        "base": _base(data),
        "commits": " ".join(data.distinct("commit")),
        "alike": rank_agreement.agreement(data),
        "seeds": rank_agreement.seeds(data),
    }
    return Section("ranking", "Ranking", write("ranking.html.j2", **context))


def _other_members(data: ReportData) -> dict[str, str]:
    """Return {id: note} of the listed recipes and models: the members of a mean, if not those of the first recipe.

    The note also states that fewer seeds of a recipe are finished than of another recipe, and how much TTA or an ensemble changes.
    """
    changes = {str(row["run_id"]): Estimate.of(row) for row in data.tables["derived"].to_dict("records")}
    rows = (*data.ranked, *data.derived)
    members = {run.id: data.members(run) for run in rows}
    # without a ranked recipe, the model with the most findings stands for the first recipe
    first = data.members_of_first or max(members.values(), key=lambda of: len(of.findings), default=None)
    most = max((len(run.members) for run in data.ranked), default=1)
    notes = {}
    for run in rows:
        own = members[run.id]
        same = first is None or (set(own.findings), own.num_hospitals) == (set(first.findings), first.num_hospitals)
        parts = [] if same else [f"mean {member_sentences.over(own)}"]
        if not run.is_derived and data.unit == "recipe" and len(run.members) < most:
            parts.append(f"{len(run.members)} of {most} {data.words.member_noun(run)}s")
        if run.id in changes:
            change = changes[run.id]
            parts.append(f"{signed(change.value)} {change.span} against its runs ({verdict(change, HIGHER, LOWER)})")
        notes[run.id] = ", ".join(parts)
    return notes


def _fewer_findings(data: ReportData, run: Run) -> str:
    """Return the note on a run that was trained for fewer findings than the grid has; "" for other runs."""
    findings = data.meta.get("learns", {}).get(run.id)
    if findings is None or not run.external.has_value:
        return ""
    internal = ""
    if run.internal.has_value:
        internal = f", internal AUROC (mean of all internally scored findings) {run.internal.with_interval}"
    names = " and ".join(findings) if len(findings) < 3 else f"{len(findings)} findings"
    over = member_sentences.over(data.members(run))
    return f"trained only for {names}: external AUROC {run.external.with_interval} ({over}){internal}"


def _incomplete(data: ReportData, run: Run) -> str:
    """Return the note on a run of a leave-one-out page whose recipe lacks the run without another hospital; "" for other runs."""
    if not (data.hospitals.leaves_one_out and run.left_out and run.external.has_value):
        return ""
    over = member_sentences.over(data.members(run))
    return f"another run of its recipe is missing or not ranked: external AUROC {run.external.with_interval} ({over})"


def _strips(data: ReportData) -> tuple[dict[str, Markup], list[float], svg.Scale]:
    """Return the dot strip of each run by run id, and the axis (grid lines, scale) that all strips share."""
    numbers = [
        b
        for r in (*data.ranked, *data.derived)
        for e in (r.internal_compared, _compared(r), r.worst_auroc)
        for b in (e.value, e.low, e.high, *_of_seeds(r))
        if is_number(b)
    ] or [0.5, 1.0]
    low, high = min(numbers), max(numbers)
    margin = max(0.02, 0.04 * (high - low))
    scale = svg.Scale(low - margin, min(1.0, high + margin), 8, WIDTH - 8)
    grid = svg.ticks(scale.low, scale.high, 6)
    strips = {
        r.id: svg.strip(r.worst_auroc, _compared(r), r.internal_compared, scale, _of_seeds(r))
        for r in (*data.ranked, *data.derived)
    }
    return strips, grid, scale


def _of_seeds(recipe: Run) -> list[float]:
    """Return the external AUROC of each run of a recipe; empty for a recipe with one run."""
    return [_compared(run).value for run in recipe.runs if len(recipe.runs) > 1 and _compared(run).has_value]


def _compared(run: Run) -> Estimate:
    """Return a run's mean external AUROC over the findings that the internal hospital also scores.

    If it is unknown, return the external AUROC that decides the rank.
    """
    return run.external_common if run.external_common.has_value else run.external


def _row_slices(groups: Sequence[dict[str, Any]], data: ReportData, span: int) -> list[dict[str, Any]]:
    """Split each tie group into the rows that the table has at first and the rows that a script adds later.

    Each part is a dict; its key `later` states whether a script adds the rows, and `start` is the number of rows before
    this part. `span`: number of columns.
    """
    slices: list[dict[str, Any]] = []
    start = 0
    for group in groups:
        first, later = group["runs"][: max(FIRST - start, 0)], group["runs"][max(FIRST - start, 0) :]
        for runs, is_later in ((first, False), (later, True)):
            if runs:
                head = ranking_choices.group_head(group, data, span, again=is_later and bool(first))
                slices.append({"group": group, "head": head, "runs": runs, "start": start, "later": is_later})
            start += len(runs)
    return slices


def _sort_data(
    data: ReportData, run: Run, place: int, group: int, columns: Sequence[RankingColumn], factors: Sequence[Factor]
) -> dict[str, Any]:
    """Return the data of a run with which the script sorts, filters and searches.

    Keys: `g` is the number of the tie group. `what` is text for the search. `k` is a list with the place in the ranking, then the
    number of each column (null if missing). `f` is a list with, for each factor, the index of the run's value in the
    values of this factor.
    """
    numbers = [place, *(column.value(run) for column in columns)]
    words = (run.family, run.variant or "base recipe", run.marks, _submitted(data, run))
    return {
        "id": run.id,
        "g": group,
        "name": run.name,
        "what": " · ".join(word for word in words if word),
        "k": [float(f"{v:.6g}") if is_number(v) else None for v in numbers],
        "f": [factor.index(run) for factor in factors],
    }


def _submitted(data: ReportData, run: Run) -> str:
    """Return the submitter and status of a run, such as "submitted by our lab, bundle verified"; "" if trained here."""
    signers, files = submission(data, run)
    submitter = f"submitted by {', '.join(signers)}" if signers else ""
    return ", ".join(filter(None, (submitter, "bundle verified" if files else "")))


def _protocol(data: ReportData) -> list[str]:
    """Return sentences on what the protocol of a grid leaves open."""
    if not data.ranked or data.imported == data.entries:
        return []
    scores = data.tables["scores"]
    of_first = select(scores[scores["run_id"] == data.ranked[0].id], dataset=data.hospitals.internal.key)
    validated = of_first["num_findings"][of_first["split"] == "val"]
    said = [data_sentences.few_validated(int(validated.max()), len(data.findings))] if len(validated) else []
    if data.words.and_seeds:
        kinds = {_flat(run.facts.get("config")).get("resample") for run in data.ranked_runs}
        said.append(RESAMPLED if kinds == {"split"} else NOT_RESAMPLED)
    if len(data.ranked) > 1 and not data.meta.get("search") and not data.meta.get("bundles"):
        said.append(NOT_SEARCHED)
    return [text for text in said if text]


def _factors(data: ReportData) -> list[Factor]:
    """Return the factors in which ranked recipes differ: first the factors in WORDS, then other configuration fields."""
    configs = {
        r.id: {f"config.{key}": value for key, value in _flat(r.facts.get("config")).items()} for r in data.ranked
    }
    keys = dict.fromkeys((*WORDS, *sorted({key for config in configs.values() for key in config} - {"config.seed"})))
    factors: list[Factor] = []
    for key in keys:
        value_of_run = {
            r.id: _value_text(r.facts.get(key) if key in WORDS else configs[r.id].get(key)) for r in data.ranked
        }
        values = sorted(set(value_of_run.values()), key=_by_number)
        # a factor that groups the recipes as an earlier factor does is left out; `config.optimizer.name` repeats
        # `optimizer`
        is_duplicate = any(factor.same_partition(value_of_run) for factor in factors)
        if 1 < len(values) <= MOST_VALUES and not is_duplicate:
            name = key.removeprefix("config.")
            factors.append(Factor(name, WORDS.get(key, name), values, value_of_run))
    return factors[:MOST_FACTORS]


def _flat(config: object, above: str = "") -> dict[str, str]:
    """Flatten a configuration to dotted keys with text values; {} if it is not valid JSON."""
    if isinstance(config, str) and not above:
        try:
            config = json.loads(config)
        except ValueError:
            return {}
    if not isinstance(config, dict):
        return {above: str(config)} if above else {}
    return {k: v for key, value in config.items() for k, v in _flat(value, f"{above}.{key}".strip(".")).items()}


def _value_text(value: object) -> str:
    """Return the value of a factor as text; "not set" if the run has no value."""
    return "not set" if value is None or value != value or value == "" else str(value)


def _by_number(word: str) -> tuple[float, str]:
    """Return the sort key of a value: numbers by size come before words in alphabetical order."""
    try:
        return (float(word), "")
    except ValueError:
        return (float("inf"), word)


def _base(data: ReportData) -> str:
    """Return the base recipe (the grid's base configuration) as text; "" if no ranked run uses the base recipe."""
    plain = next((r for r in data.ranked if not r.variant or re.fullmatch(r"seed \d+", r.variant)), None)
    if plain is None:
        return ""
    words = {"uncertainty": "uncertain labels", "weights": "starting weights"}
    keys = ("optimizer", "loss", "uncertainty", "preprocessing", "augmentation", "weights")
    return ", ".join(f"{words.get(k, k)} {plain.facts[k]}" for k in keys if plain.facts.get(k))


# marks of the legend of the dot strip: hospital with the largest gap, external mean, internal hospital
KEYS = {
    "worst": svg.svg(10, 10, svg.diamond(5, 5, 4.4, "m-wst"), "", "ky"),
    "external": svg.svg(22, 10, svg.line(2, 5, 20, 5, "i-ext") + svg.circle(11, 5, 4.4, "m-ext"), "", "ky"),
    "internal": svg.svg(10, 10, svg.circle(5, 5, 3.8, "m-int"), "", "ky"),
}
