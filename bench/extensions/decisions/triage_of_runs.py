"""Write the triage of a run: error rates of released and flagged images at each hospital, against the stated rates."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from bench.extensions.decisions.decisions_of_runs import learned
from bench.extensions.decisions.triage_rates import LEVEL, RATES, Key, Rate, lookup, triage_verdict
from reports.formatting import DASH, integer, places
from reports.html.section import write
from reports.report_data.hospitals_and_runs import Run
from reports.report_data.report_data import EXTERNAL, ReportData
from reports.sections import run_cells

WORDS = {"miss_rate": "miss rate", "false_positive_rate": "false positive rate"}
NOTHING = {
    "miss_rate": "nothing is released: too few internal patients with the finding",
    "false_positive_rate": "nothing is flagged: too few internal patients without the finding",
}


@dataclass(frozen=True, slots=True)
class Triage:
    """Rates and rows of the table `triage` for some runs."""

    data: ReportData
    rates: Mapping[tuple[str, Key], Rate]
    rows: Mapping[Key, Mapping[str, Any]]

    @classmethod
    def of(cls, data: ReportData, run_ids: Collection[str]) -> "Triage":
        """Select the rows of these runs."""
        table = data.tables["triage"]
        return cls(data, *lookup(table[table["run_id"].isin(list(run_ids))]))

    def html(self, run: Run) -> Markup:
        """Return the HTML of a run; empty without rows."""
        keys = [*(h.key for h in self.data.hospitals.all), EXTERNAL]
        rows = []
        for finding in self.data.findings:
            of_finding = [(run.id, key, finding) for key in keys]
            if any(key in self.rows for key in of_finding):
                reasons = [*(self.data.why_missing(key, finding) for key in keys[:-1]), ""]
                cells = [self._cell(key, reason) for key, reason in zip(of_finding, reasons, strict=True)]
                rows.append((finding, run_cells.row(cells)))
        heads = [*(h.short for h in self.data.hospitals.all), "External, mean"]
        shown = {finding for finding, _ in rows}
        without = ", ".join(finding for finding in learned(self.data, run.id) if finding not in shown)
        return write("run_triage.html.j2", rows=rows, heads=heads, level=places(LEVEL, 2), without=without)

    def _cell(self, key: Key, reason: str) -> str:
        """Return the HTML of one finding at one cohort: both rates with their verdicts, and images per 1,000."""
        row = self.rows.get(key)
        if row is None:
            return f"{DASH}<i>{escape(reason)}</i>"
        lines = []
        for name in RATES:
            rate = self.rates[name, key]
            words = triage_verdict(rate) if rate.has_threshold else NOTHING[name]
            number = run_cells.number(rate.estimate) if rate.has_threshold else DASH
            lines.append(f"{WORDS[name]} {number}" + (f'<i class="w">{words}</i>' if words else ""))
        lines += [f"{name} {integer(round(1000 * row[name]))}" for name in ("released", "flagged", "deferred")]
        return "".join(f"<div>{line}</div>" for line in lines)
