"""`bench register`: write the plan and the hypotheses of a grid before the first prediction at an external hospital."""

import importlib.metadata
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.extensions.registration.grid_registrations import SCHEMA, amendments, plan_of
from bench.extensions.registration.hypotheses import in_words, read_hypotheses
from bench.extensions.registration.registrations import Registration, registered, write_next
from bench.planning.manifest import planned_manifest, read_manifest
from bench.planning.plan import Plan
from bench.results.read_predictions import SCORING_VERSION
from bench.runs.provenance import source_commit
from harmonize.errors import ConfigError, StoreError


@dataclass(frozen=True, slots=True)
class RegistrationResult:
    """The result of `register`: the registration and its file (None if nothing was written), and lines about it."""

    registration: Registration
    path: Path | None
    lines: Sequence[str]


def register(plan: Plan, hypotheses: Path | None, *, amend: bool = False, dry_run: bool = False) -> RegistrationResult:
    """Write the next registration of a grid into the store.

    `hypotheses`: YAML file, see `bench.extensions.registration.hypotheses`. With `amend`, an earlier registration is amended: the new one
    names its hash. With `dry_run`, everything is checked and nothing is written.

    Raises StoreError if a run of the grid was already tested at an external hospital, and if a registration exists without
    `amend`. Raises ConfigError for a grid with `search`, for invalid hypotheses, and for an amendment that changes nothing or amends nothing.
    """
    store, name = plan.store, plan.grid.name
    if plan.grid.search is not None:
        fix = "run the search first, then register a grid with the chosen settings and other seeds"
        raise ConfigError("a grid with `search` cannot be registered", plan.grid.location("search"), fix)
    manifest = planned_manifest(plan, {}, 0)
    _refuse_external_predictions(plan)
    earlier = registered(store, name)
    if earlier and not amend:
        fix = "look at it; to change the plan before the first external test, register again with --amend"
        raise StoreError(
            f"the grid {name} is registered already ({earlier[-1].content['date']}, {earlier[-1].sha256})",
            str(store.root / "registrations"),
            fix,
        )
    if amend and not earlier:
        raise ConfigError(f"the grid {name} has no registration to amend", "--amend", "register without --amend")
    content = {
        "schema": SCHEMA,
        "grid": name,
        "title": plan.grid.title,
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "version": importlib.metadata.version("unseen-cxr"),
        "commit": source_commit(),
        "scoring": SCORING_VERSION,
        "command": plan.command,
        "phantom": plan.phantom,
        "amends": earlier[-1].sha256 if earlier else "",
        "plan": plan_of(manifest),
        "hypotheses": read_hypotheses(hypotheses, manifest) if hypotheses else [],
    }
    made = Registration.of(content)
    changes = amendments(earlier[-1], made) if earlier else []
    if earlier and not changes:
        fix = "nothing has to be registered: the last registration has the same plan and hypotheses"
        raise ConfigError("the amendment changes nothing", "--amend", fix)
    path = None if dry_run else write_next(store, name, content)[0]
    lines = [
        f"changed: {row['field']}: {row['registered'] or 'none'} -> {row['reported'] or 'none'}" for row in changes
    ]
    return RegistrationResult(made, path, [*_lines(content), *lines])


def _refuse_external_predictions(plan: Plan) -> None:
    """Raise StoreError if a run of the grid, or of its stored manifest, has a prediction of an external hospital.

    The internal predictions of a run that leaves out a hospital of the pool have this hospital's images, too.
    """
    store, internal = plan.store, plan.grid.train_on
    left_out = {run.id: run.config.leave_out for run in plan.runs}
    left_out |= {derived.id: derived.runs[0].config.leave_out for derived in plan.derived}
    if store.has_grid(plan.grid.name):
        stored = read_manifest(store, plan.grid.name)
        left_out |= {run_id: run.config.leave_out for run_id, run in stored.run_of.items()}
    for run_id, hospital in left_out.items():
        folder = store.run_dir(run_id) / "predictions"
        predicted = [path.stem for path in folder.glob("*.parquet")]
        tested = sorted({hospital if name == internal else name for name in predicted} - {""})
        if tested:
            fix = (
                "a registration has to come before the first external test. Results that exist are exploratory: "
                "report them without registration, and register the next study"
            )
            raise StoreError(f"run {run_id} was already tested at {', '.join(tested)}", str(folder), fix)


def _lines(content: dict[str, Any]) -> list[str]:
    """Return lines that show what is registered, so that its author can check it."""
    plan = content["plan"]
    names = {item["id"]: item["name"] for item in plan["runs"]}
    external = [hospital["name"] for hospital in plan["hospitals"] if hospital["role"] == "external"]
    left_out = dict.fromkeys(item["config"].get("leave_out", "") for item in plan["runs"])
    external += [name if len(left_out) == 1 else f"{name} (in the runs without it)" for name in left_out if name]
    lines = [
        f"{len(plan['runs'])} runs, {len(plan['derived'])} combinations of runs",
        f"external hospitals: {', '.join(external) or 'none'}",
        f"{len(plan['findings'])} findings, label mapping {plan['mapping']}, min_count {plan['min_count']}",
    ]
    for item in content["hypotheses"]:
        asked = in_words(item["question"], names)
        lines.append(
            f"hypothesis {item['name']}: {item['statement']}" + (f" [{asked}]" if asked else " [in words only]")
        )
    return lines if content["hypotheses"] else [*lines, "no hypotheses (--hypotheses FILE adds some)"]
