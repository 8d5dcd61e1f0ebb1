"""The tables of this extension that compare runs."""

import pandas as pd

from bench.extensions.labels.label_efficiency import efficiency_table
from bench.extensions.labels.policies import policies_table
from bench.extensions.labels.reading_gaps import reading_tables
from bench.results.cross_run_tables import ScoredRuns


def tables(runs: ScoredRuns) -> dict[str, pd.DataFrame]:
    """Return the tables `reading_gaps`, `mean_reading_gaps`, `policies` and `label_efficiency`."""
    return {
        **reading_tables(runs),
        "policies": policies_table(runs),
        "label_efficiency": efficiency_table(runs),
    }
