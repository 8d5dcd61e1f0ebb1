"""Select the rows of the long tables that a page shows.

In a study of 2,000 runs, these tables have 20 million rows. The page shows a tenth of the rows, so only this tenth
needs to be in memory.
"""

import pyarrow as pa
import pyarrow.compute as pc

from reports.report_data.headline_rows import MACRO

POOLED = "pooled"  # in the column `finding`: a reliability curve over all findings
HEALTHY = "No Finding"
LONG = ("scores", "subgroups", "reliability", "decomposition")  # the long tables: they have hundreds of rows per run


def page_rows(name: str, table: pa.Table) -> pa.Table:
    """Return the rows of a long table that the sections of the page read; `name` is the name of the table.

    >>> rows = pa.table({"finding": ["macro", "Edema", "Edema"], "metric": ["ece", "ece", "auroc"]})
    >>> page_rows("scores", rows).to_pylist()
    [{'finding': 'macro', 'metric': 'ece'}, {'finding': 'Edema', 'metric': 'auroc'}]
    >>> page_rows("decomposition", pa.table({"finding": pa.nulls(0)})).num_rows
    0
    """
    if not table.num_rows:  # the columns of an empty table may have no type
        return table
    if name == "scores":  # the page shows the AUROC of each finding, and the macro of every metric
        shown = pc.or_(pc.equal(table["finding"], MACRO), pc.equal(table["metric"], "auroc"))
    else:
        findings = {"subgroups": [MACRO, HEALTHY], "reliability": [POOLED], "decomposition": [MACRO]}[name]
        shown = pc.is_in(table["finding"], pa.array(findings, table["finding"].type))
    return table.filter(shown)
