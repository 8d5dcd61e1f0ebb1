"""Run one configuration, or a sweep of it, in this process, without a grid file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bench.config.grid import Grid
from bench.config.registry import Registry
from bench.config.run_config import RunConfig, differing
from bench.executors.in_process import Here
from bench.planning.plan import make_plan
from bench.store.store import Store, write_bytes
from bench.study import run_grid
from bench.study.job_progress import Display
from bench.study.request import Request, command
from bench.system.devices import check_device
from harmonize.errors import StoreError


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


def run_alone(
    wanted: SingleRequest,
    store: Path,
    places: tuple[Path | None, Path | None, Path | None],
    device: str,
    workers: int,
    display: Display,
) -> run_grid.Result:
    """Train and score the requested runs and write the page; return the result.

    `places`: paths of the registry, the data and the starting weights, each may be None. After planning, the grid file is
    written to `grids/<name>.yaml` of the store. Raises the errors of `Request.of` and `make_plan`, and StoreError when a run fails or another
    process works on a run.
    """
    check_device(device)
    registry_file, data, weights = places
    registry, raw = Registry.read(registry_file), wanted.content
    grid = Grid.of(raw, Path("run()"), registry)
    request = Request.of(grid, registry, data, weights, command(f"{grid.name}.yaml", data, weights, registry_file))
    opened = Store.open(store)
    request.check_weights(opened)
    plan = make_plan(grid, registry, opened, data, weights, workers, request.command, display.progress)
    request.fetch_weights(plan.runs, opened, display.progress)
    text = yaml.safe_dump(raw, sort_keys=False, default_flow_style=None, width=120)
    write_bytes(opened.root / "grids" / f"{grid.name}.yaml", text.encode())
    # another process would run a script a second time if the script does not ask for `__name__`
    result = run_grid.execute(plan, plan.runs, (), Here(device), workers, display, beside=False)
    for run_id, reason in result.failed.items():
        fix = "read its log; correct the configuration or the data, and run it again"
        raise StoreError(f"run {run_id} failed: {reason}", str(result.logs[run_id]), fix)
    if result.held:
        raise StoreError("another process is at work on this run", str(opened.root), "wait for it, then call again")
    return result
