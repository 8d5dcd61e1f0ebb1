"""Print the output of `bench run --dry-run` and `--estimate`: the runs, and the estimate of an extension."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import typer

from bench.cli.plan_text import MORE, aligned, settings
from bench.config.run_names import RunName
from bench.planning.derived_runs import DerivedRun
from bench.planning.plan import Plan
from bench.planning.run import RunSpec
from bench.store.store import Store
from bench.study.plan_remarks import plan_remarks
from bench.system.devices import Devices
from reports import extensions


def say_plan(
    plan: Plan, runs: Sequence[RunSpec], derived: Sequence[DerivedRun], devices: Devices | None, as_json: bool
) -> None:
    """Print the planned runs with their states; with `devices`, also an estimate of time, disk space and memory.

    If all runs are done, there is no estimate.
    """
    store, names = plan.store, RunSpec.names(runs)
    todo = [run for run in runs if store.state(run.id) != "done"]
    modules = extensions.modules("run_estimate") if devices and todo else ()
    estimates = [(module, module.grid_forecast(plan, todo, derived, devices)) for module in modules]
    if as_json:
        rows = planned_rows(store, runs, derived, names)
        measured = {"runs": rows, "estimate": next((asdict(estimate) for _, estimate in estimates), None)}
        typer.echo(json.dumps(measured if devices else rows, indent=1))
        return
    lines = [*plan_remarks(plan), *run_lines(runs, names, store), *derived_lines(derived, names, store)]
    for module, estimate in estimates:
        lines += module.lines(estimate, devices.workers if devices else 1)
    if todo and not devices:
        lines.append(MORE)
    typer.echo("\n".join([*lines, f"nothing was run (--{'estimate' if devices else 'dry-run'})"]))


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
        rows.append(
            [run.id, run.kind, run.name, f"of {RunName.joined([names[member.id] for member in run.runs])}", state]
        )
    return aligned(rows)
