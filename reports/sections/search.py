"""Section on the search for settings: what was tried for each recipe, and which trial the report shows."""

from typing import Any

from markupsafe import Markup

from reports.formatting import is_number
from reports.html.section import Section, write
from reports.report_data.report_data import ReportData

WORDS = {"log": "from {} to {}, logarithmic", "linear": "from {} to {}"}


def search(data: ReportData) -> Section:
    """Write the section: a folded table of the trials of each recipe; empty for a grid without `search`."""
    table, facts = data.tables["trials"], data.tables.meta.get("search")
    if not facts or not len(table):
        return Section("search", "", Markup(""))
    rows: list[dict[str, Any]] = []
    for _, runs in table.groupby(["recipe_id", "trial"], sort=False):
        values = [float(value) for value in runs["val_auroc"] if is_number(value)]
        first = runs.iloc[0]
        rows.append(
            {
                "recipe": str(first["recipe"]),
                "trial": int(first["trial"]),
                "settings": str(first["settings"]) or "as in the grid",
                "num_runs": len(runs),
                "num_finished": len(values),
                "auroc": sum(values) / len(values) if values else None,
                "chosen": bool(first["chosen"]),
            }
        )
    context = {
        "data": data,
        "trials": int(facts["trials"]),
        "seed": int(facts["seed"]),
        "over": [(key, _space(*values)) for key, values in facts["over"].items()],
        "recipes": [(name, [r for r in rows if r["recipe"] == name]) for name in table["recipe"].unique()],
    }
    return Section("search", "", write("search.html.j2", **context))


def _space(kind: str, *values: object) -> str:
    """Return the values that a key could get as text.

    >>> _space("log", 1e-05, 0.001), _space("choice", 16, 32)
    ('from 1e-05 to 0.001, logarithmic', 'one of 16, 32')
    """
    return WORDS[kind].format(*values) if kind in WORDS else f"one of {', '.join(map(str, values))}"
