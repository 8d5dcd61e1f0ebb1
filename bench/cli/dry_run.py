"""Print the output of `bench run --dry-run`."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import typer

from bench.cli.plan_text import aligned, settings
from bench.config.run_names import RunName
from bench.planning.derived_runs import DerivedRun
from bench.planning.plan import Plan
from bench.planning.run import RunSpec
from bench.store.store import Store
from bench.study.plan_remarks import plan_remarks


def say_plan(plan: Plan, runs: Sequence[RunSpec], derived: Sequence[DerivedRun], as_json: bool) -> None:
    """Print the planned runs with their states."""
    store, names = plan.store, RunSpec.names(runs)
    if as_json:
        typer.echo(json.dumps(planned_rows(store, runs, derived, names), indent=1))
        return
    lines = [*plan_remarks(plan), *run_lines(runs, names, store), *derived_lines(derived, names, store)]
    typer.echo("\n".join([*lines, "nothing was run (--dry-run)"]))


def planned_rows(
    store: Store, runs: Sequence[RunSpec], derived: Sequence[DerivedRun], names: Mapping[str, RunName]
) -> list[dict[str, Any]]:
    """Return one JSON object per run (id, state, name, settings) and per derived run (id, state, kind, name, its runs).

    `names`: run id -> name of the run.
    """
    trained = [(run.id, {"name": str(names[run.id]), **settings(run.config)}) for run in runs]
    combined = [
        (run.id, {"kind": run.kind, "name": run.name, "of": [str(names[member.id]) for member in run.runs]})
        for run in derived
    ]
    return [{"id": run_id, "state": store.state(run_id), **row} for run_id, row in trained + combined]


def run_lines(runs: Sequence[RunSpec], names: Mapping[str, RunName], store: Store) -> list[str]:
    """Return one line per run: its id, architecture, settings that vary among the runs, and state ("to do" if absent)."""
    states = [{"absent": "to do"}.get(state := store.state(run.id), state) for run in runs]
    return aligned([[run.id, *names[run.id].cells, state] for run, state in zip(runs, states, strict=True)])


def derived_lines(derived: Sequence[DerivedRun], names: Mapping[str, RunName], store: Store) -> list[str]:
    """Return one line per derived run: its id, kind, name, the names of the runs that it combines, and its state."""
    rows = []
    for run in derived:
        state = {"absent": "to do"}.get(state := store.state(run.id), state)
        row = [run.id, run.kind, run.name, f"of {RunName.joined([names[member.id] for member in run.runs])}", state]
        rows.append(row)
    return aligned(rows)
