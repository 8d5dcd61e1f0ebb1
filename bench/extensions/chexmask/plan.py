"""Which cohorts of a plan have a table of CheXmask."""

from bench.extensions.chexmask.file import find_table
from bench.planning.plan import Plan

KEY = "chexmask"


def remarks(_plan: Plan) -> list[str]:
    """Return no line: the page states the tables."""
    return []


def facts(plan: Plan) -> dict[str, list[str]]:
    """Return the names of the cohorts with a table; {} if there are none."""
    found = [ref.name for ref in plan.refs if any(find_table(place.layout, place.root) for place in ref.places)]
    return {KEY: found} if found else {}
