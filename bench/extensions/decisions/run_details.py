"""What the details of a run show of its decisions: tables of net benefit, workload and triage, and decision curves."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import pandas as pd
from markupsafe import Markup

from bench.extensions.decisions.decision_figures import decision_panels
from bench.extensions.decisions.decisions_of_runs import Decisions
from bench.extensions.decisions.triage_of_runs import Triage
from reports.drawing.run_figures import by_run
from reports.html.section import write
from reports.report_data.hospitals_and_runs import Run
from reports.report_data.report_data import ReportData


@dataclass(frozen=True, slots=True)
class DecisionDetails:
    """Decisions of some runs. curves: run id -> its rows of the table `decision_curves`."""

    decisions: Decisions
    triage: Triage
    curves: Mapping[str, pd.DataFrame]

    @classmethod
    def of(cls, data: ReportData, run_ids: Collection[str]) -> "DecisionDetails":
        """Select the rows of these runs."""
        curves = by_run(data.tables["decision_curves"], run_ids)
        return cls(Decisions.of(data, run_ids), Triage.of(data, run_ids), curves)

    def html(self, data: ReportData, run: Run, _drawn: bool) -> Markup:
        """Return the tables of a run; data: the report data with its hospitals (`ReportData.of_run`)."""
        return replace(self.decisions, data=data).html(run) + replace(self.triage, data=data).html(run)

    def figures(self, data: ReportData, run: Run) -> Markup:
        """Return the figures of a run; data: the report data with its hospitals."""
        curves = decision_panels(data, self.curves[run.id]) if run.id in self.curves else []
        return write("decision_figures.html.j2", data=data, curves=curves)


details = DecisionDetails.of
