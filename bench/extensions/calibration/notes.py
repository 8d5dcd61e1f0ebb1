"""What `bench compare --metric ece` says about the direction of miscalibration, which the ECE does not have."""

from collections.abc import Sequence

import pandas as pd

from bench.results.compare_two_runs import GridRun
from bench.scoring.metrics_of_split import Key
from bench.store.checked_folders import ScoresFolder
from reports.formatting import number


def of_comparison(planned: Sequence[GridRun], key: Key, table: pd.DataFrame) -> tuple[str, ...]:  # noqa: ARG001
    """State the median slope, intercept and O:E of both runs at external hospitals; () for another metric than ECE."""
    if key.metric != "ece":
        return ()
    runs = [f"{which} run: {_medians(entry)}" for which, entry in zip(("first", "second"), planned, strict=True)]
    where = "Medians over findings and external hospitals after Platt scaling"
    meaning = "A slope below 1: predictions are too extreme; O:E above 1: probabilities are too low."
    return (f"The ECE has no direction. {where}: {'; '.join(runs)}. {meaning}",)


def _medians(entry: GridRun) -> str:
    rows = ScoresFolder(entry.manifest.scores / entry.run.id).table("calibration")
    external = [cohort.name for cohort in entry.manifest.external_to(entry.run)]
    rows = rows[(rows["calibrator"] == "platt") & rows["dataset"].isin(external)]
    slope, intercept, observed = rows[["slope", "intercept", "observed_expected"]].median()
    return f"slope {number(slope, '.2f')}, intercept {number(intercept, '+.2f')}, O:E {number(observed, '.2f')}"
