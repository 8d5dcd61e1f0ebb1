"""Run one configuration, or a sweep of it, in this process, without a grid file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from bench.config.grid import Grid
from bench.config.registry import Registry
from bench.config.run_config import RunConfig, differing
from bench.executors.in_process import Here
from bench.planning.plan import Plan, make_plan
from bench.planning.run import RunSpec
from bench.store.store import Store, write_bytes
from bench.study import run_grid
from bench.study.job_progress import Display
from bench.study.request import Request, command
from harmonize.errors import StoreError
from harmonize.progress import Progress


@dataclass(frozen=True)
class SingleRequest:
    """A request for one configuration or one sweep, with the content of its grid file."""

    name: str
    config: Mapping[str, Any] | RunConfig
    evaluate_on: tuple[str, ...]
    sweep: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    min_count: int = 10
    synthetic: bool = False  # whether the cohorts are synthetic, because the caller gives no data

    @property
    def content(self) -> dict[str, Any]:
        """Return the content of the grid file, in plain values."""
        base = differing(self.config) if isinstance(self.config, RunConfig) else dict(self.config)
        raw = {"name": self.name, "evaluate_on": list(self.evaluate_on), "min_count": self.min_count}
        swept = {"sweeps": [{key: list(values) for key, values in self.sweep.items()}]} if self.sweep else {}
        phantom: dict[str, Any] = {"phantom": {}} if self.synthetic else {}
        return {**raw, "analyses": False, **phantom, "base": base, **swept}


@dataclass(frozen=True, kw_only=True, repr=False)
class SinglePlan(Plan):
    """The plan of a request. A notebook shows its runs."""

    request: Request
    content: Mapping[str, Any]  # content of the grid file

    def __repr__(self) -> str:
        """Return the number of runs in each state and the hospitals."""
        internal, *external = (f"{name} ({len(cohort.table):,} images)" for name, cohort in self.cohorts.items())
        return (
            f"{self.heading(self.runs)}, trained on {internal}, tested on {', '.join(external) or 'no other hospital'}"
        )

    def _repr_html_(self) -> str:
        named = RunSpec.names(self.runs)
        rows = [(run.id, str(named[run.id]), self.store.state(run.id)) for run in self.runs]
        table = pd.DataFrame(rows, columns=["id", "run", "state"]).replace({"absent": "to do"})
        return f"<p>{escape(repr(self))}</p>{table.to_html(index=False)}"


def plan_alone(
    wanted: SingleRequest,
    store: Path,
    places: tuple[Path | None, Path | None, Path | None],
    workers: int,
    progress: Progress,
) -> SinglePlan:
    """Return the plan of the requested runs.

    `places`: paths of the registry, the data and the starting weights, each may be None. Raises the errors of `Request.of` and `make_plan`.
    """
    registry_file, data, weights = places
    registry, raw = Registry.read(registry_file), wanted.content
    grid = Grid.of(raw, Path("run()"), registry)
    request = Request.of(grid, registry, data, weights, command(f"{grid.name}.yaml", data, weights, registry_file))
    opened = Store.open(store)
    request.check_weights(opened)
    plan = make_plan(grid, registry, opened, data, weights, workers, request.command, progress)
    return SinglePlan(**{each.name: getattr(plan, each.name) for each in fields(plan)}, request=request, content=raw)


def run_alone(plan: SinglePlan, device: str, workers: int, display: Display) -> None:
    """Train and score the runs of a plan and write the page.

    First, the grid file is written to `grids/<name>.yaml` of the store. Raises StoreError when a run fails or another process works on a run.
    """
    plan.request.fetch_weights(plan.runs, plan.store, display.progress)
    text = yaml.safe_dump(plan.content, sort_keys=False, default_flow_style=None, width=120)
    write_bytes(plan.store.root / "grids" / f"{plan.grid.name}.yaml", text.encode())
    # another process would run a script a second time if the script does not ask for `__name__`
    result = run_grid.execute(plan, plan.runs, (), Here(device), workers, display)
    for run_id, reason in result.failed.items():
        fix = "read its log; correct the configuration or the data, and run it again"
        raise StoreError(f"run {run_id} failed: {reason}", str(result.logs[run_id]), fix)
    if result.held:
        raise StoreError("another process is at work on this run", str(plan.store.root), "wait for it, then call again")
