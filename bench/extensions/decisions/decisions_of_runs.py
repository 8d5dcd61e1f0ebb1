"""Write what the decisions of a run are worth: net benefit, and the workload at thresholds that reach a goal."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from bench.extensions.decisions.benefits_of_runs import METRIC, NO_BENEFIT, Benefit, Key, benefit_verdict, lookup
from reports.formatting import DASH, integer, interval, is_number, places
from reports.html.section import write
from reports.report_data.hospitals_and_runs import Run
from reports.report_data.report_data import EXTERNAL, MACRO, ReportData
from reports.sections import run_cells
from reports.tables import records_of

LEVEL = 0.9  # the page shows the goals of this level; the table has further goals
NO_THRESHOLD = "no threshold: too few internal validation patients"


@dataclass(frozen=True, slots=True)
class Decisions:
    """Net benefit and workload of some runs.

    findings: (run id, finding) with a net benefit or its counts. workload: (run id, finding, goal) -> cohort -> row of the
    table `workload`.
    """

    data: ReportData
    benefits: Mapping[Key, Benefit]
    findings: Collection[tuple[str, str]]
    workload: Mapping[tuple[str, str, str], Mapping[str, Mapping[str, Any]]]

    @classmethod
    def of(cls, data: ReportData, run_ids: Collection[str]) -> "Decisions":
        """Select the rows of these runs."""
        tables = (data.tables[name] for name in ("net_benefit", "workload"))
        table, workload = (table[table["run_id"].isin(list(run_ids))] for table in tables)
        rows: dict[tuple[str, str, str], dict[str, Mapping[str, Any]]] = {}
        for row in records_of(workload[workload["level"] == LEVEL]):
            rows.setdefault((row["run_id"], row["finding"], row["goal"]), {})[row["dataset"]] = row
        benefits = lookup(table, {})
        macros: Mapping[Key, Any] = data.further[METRIC]
        benefits |= {key: macros[key] for key in benefits if key in macros}
        return cls(data, benefits, {(run_id, finding) for run_id, _, finding in benefits}, rows)

    def html(self, run: Run) -> Markup:
        """Return the HTML of a run; empty without a net benefit and without a workload."""
        benefits = self._benefits(run)
        goals = self._goals(run)
        heads = [*(h.short for h in self.data.hospitals.all), "External, mean"]
        return write("run_decisions.html.j2", data=self.data, benefits=benefits, goals=goals, run=run, heads=heads)

    def _keys(self) -> list[str]:
        return [*(h.key for h in self.data.hospitals.all), EXTERNAL]

    def _benefits(self, run: Run) -> list[tuple[str, str, Markup]]:
        """Return (finding, its threshold in words, cells of the cohorts) for each finding with a row, and for the macro."""
        rows, measured = [], False
        for finding in (*self.data.findings, MACRO):
            cells = [self.benefits.get((run.id, key, finding), NO_BENEFIT) for key in self._keys()]
            if (run.id, finding) not in self.findings:
                continue
            measured |= any(cell.value.has_value for cell in cells)
            threshold = next((cell.threshold for cell in cells if is_number(cell.threshold)), float("nan"))
            known = finding == MACRO or is_number(threshold)
            reasons = [self._why_missing(run, key, finding) if known else NO_THRESHOLD for key in self._keys()[:-1]]
            texts = [_benefit(cell, why) for cell, why in zip(cells, [*reasons, ""], strict=True)]
            words = "" if finding == MACRO or not known else f"threshold {places(threshold)}"
            rows.append(
                (self.data.members(run).macro_name if finding == MACRO else finding, words, run_cells.row(texts))
            )
        return rows if measured else []

    def _why_missing(self, run: Run, key: str, finding: str) -> str:
        """Return why a net benefit is missing; "" for a labeled finding of a recipe, because only its runs have the number."""
        only_runs = run.kind == "recipe" and finding != MACRO and (key, finding) in self.data.labeled
        return "" if only_runs else self.data.why_missing(key, finding)

    def _goals(self, run: Run) -> list[dict[str, Any]]:
        """Return for each goal its name and the rows of the workload."""
        goals = []
        for goal in ("sensitivity", "specificity"):
            of_finding = {f: self.workload.get((run.id, f, goal), {}) for f in self.data.findings}
            rows = [
                (finding, run_cells.row([self._cell(cohorts.get(key), key, finding) for key in self._keys()]))
                for finding, cohorts in of_finding.items()
                if cohorts
            ]
            if rows:
                without = [finding for finding in learned(self.data, run.id) if not of_finding.get(finding)]
                goals.append({"name": f"{goal} .90", "without": ", ".join(without), "rows": rows})
        return goals

    def _cell(self, row: Mapping[str, Any] | None, key: str, finding: str) -> str:
        """Return the HTML of one threshold at one cohort, or the reason why it is missing."""
        if row is None:
            return DASH + ("" if key == EXTERNAL else f"<i>{escape(self.data.why_missing(key, finding))}</i>")
        return _load(row)


def learned(data: ReportData, run_id: str) -> list[str]:
    """Return the findings that a run predicts and could learn."""
    predicted = data.meta.get("learns", {}).get(run_id, data.findings)
    return [finding for finding in predicted if finding not in data.meta.get("unlearnt", {}).get(run_id, ())]


def _benefit(benefit: Benefit, reason: str) -> str:
    """Return the HTML of a net benefit with its interval and verdict, or the reason why it is missing."""
    if not benefit.value.has_value:
        return f"{DASH}<i>{escape(reason)}</i>"
    words = benefit_verdict(benefit)
    return run_cells.number(benefit.value) + (f'<i class="w">{words}</i>' if words else "")


def _load(row: Mapping[str, Any]) -> str:
    """Return the HTML of one threshold at one cohort: sensitivity, specificity, and images per 1,000."""
    shares = [
        f"{word} {places(row[name])}{_bounds(interval(row[f'{name}_low'], row[f'{name}_high']))}"
        for word, name in (("sens.", "sensitivity"), ("spec.", "specificity"))
    ]
    counts = [f"{word} {_per_1000(row, name)}" for word, name in (("read", "called"), ("missed", "missed"))]
    return "".join(f'<div class="nw">{words}</div>' for words in (*shares, *counts))


def _bounds(words: str) -> str:
    return f"<i>{words}</i>" if words else ""


def _per_1000(row: Mapping[str, Any], name: str) -> str:
    """Return a share as a number of images per 1,000, with its interval."""
    number, low, high = (1000 * row[name + end] for end in ("", "_low", "_high"))
    known = is_number(low) and is_number(high)
    return f"{integer(round(number))}{_bounds(f'[{integer(round(low))}, {integer(round(high))}]' if known else '')}"
