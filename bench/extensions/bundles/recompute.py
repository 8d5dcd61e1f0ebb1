"""Compute titles, numbers of parameters and MACs (multiply-accumulate operations) of the runs in a bundle again.

These values are computed from the configurations of the runs and this installation's registry. They replace the values that
the bundle states. `STATED` lists the facts that cannot be computed from a bundle.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bench.config.registry import Entry, Registry
from bench.extensions.bundles import limits
from bench.extensions.bundles.archive import refused
from bench.planning.manifest import Manifest, links_of
from bench.planning.planned_grid import PlannedRun
from bench.planning.run import RunSpec, read_run
from bench.store.checked_folders import CheckedFolder
from bench.store.store import Store, canonical_json, write_bytes
from harmonize.errors import CxrError

STATED = (  # facts about every run that its submitter states and nobody can check
    "training time, memory and speed",
    "learning curves",
    "environment",
    "titles and image counts of cohorts",
)
# fields of a configuration whose registry entries decide the network and the size of its input
_NETWORK = ("architecture", "preprocessing", "uncertainty")
_TIMM = re.compile(r"[A-Za-z0-9_.]+")  # name of a network in timm
# stated numbers that must equal the counted numbers
EXACT = ("params", "trainable_params", "deployed_params", "image_size")
ROUNDED = ("macs", "flops")  # stated numbers that may differ from the counted numbers by SLACK
SLACK = 0.01  # tolerance as a share of the number: versions of timm and fvcore count a few operations differently
_FIX = "install the versions of torch and timm in its env.json, or ask its maker how the number was counted"


def known_entries(run: RunSpec, registry: Registry) -> dict[str, Entry]:
    """Return {field of the configuration: registry entry} for the entries of a run that this registry has.

    An entry counts only if its code, options and version in the registry are those that the run states.
    """
    known = {}
    for key, section in run.config.named.items():
        try:
            entry = registry.find(section, str(getattr(run.config, key)), run.id)
        except CxrError:  # this registry does not have the entry
            continue
        if key in run.entries and canonical_json(entry.identity) == canonical_json(run.entries[key].identity):
            known[key] = entry
    return known


def starting_weights(known: Mapping[str, Entry]) -> Entry | None:
    """Return the registry entry that describes the starting weights of a run, None if the registry does not have it.

    known: result of `known_entries`. As in `Run.weights_entry`, it is the entry of the weights if these are a file, else the
    entry of the architecture.
    """
    weights = known.get("weights")
    return weights if weights is None or "file" in weights.facts else known.get("architecture")


def with_titles(manifest: Manifest, registry: Registry) -> Manifest:
    """Return the manifest with titles, family, license and corpus of its runs as the registry states them.

    Values stay if the registry does not have the entry. The papers and code of the registry entries are added as `links`.
    """
    runs: dict[str, PlannedRun] = {}
    entries: list[tuple[str, Entry]] = []
    for run in manifest.runs:
        known = known_entries(read_run(manifest.store, run.id), registry)
        entries += known.items()
        run = replace(run, titles={**run.titles, **{key: entry.title for key, entry in known.items()}})
        if architecture := known.get("architecture"):
            run = replace(run, family=str(architecture.facts.get("family", "other")))
        if start := starting_weights(known):
            run = replace(run, corpus=str(start.facts.get("corpus", "")), licence=start.licence)
        runs[run.id] = run
    derived = tuple(
        run if run.is_imported else replace(run, titles={"architecture": runs[run.of[0]].titles["architecture"]})
        for run in manifest.derived
    )
    return replace(manifest, runs=tuple(runs.values()), derived=derived, links=links_of(entries))


def take_costs(manifest: Manifest, registry: Registry, where: str) -> tuple[str, ...]:
    """Count parameters and MACs of every run again, write them into its cost.json, and return the facts that were not checked.

    If the registry does not have a network, or the network cannot be built here, the numbers of the bundle stay; they
    are then among the returned facts. Code that is named only by the bundle is never imported. Raises StoreError if the
    bundle states a number that differs from the counted number. `where`: path of the bundle, for the error message.
    """
    # key of a network and its input size -> counts ({} if the network cannot be counted); networks of runs with equal
    # keys are counted once
    found: dict[bytes, dict[str, Any]] = {}
    unknown, not_counted = [], []
    for row in manifest.runs:
        run = read_run(manifest.store, row.id)
        known = known_entries(run, registry)
        if len(known) < len(run.config.named):
            unknown.append(run.id)
        outputs = [len(run.config.findings), len(run.config.own_heads), run.config.channels]
        head = [run.config.head, run.config.lora.rank, json.loads(run.document).get(run.config.head)]
        key = canonical_json([outputs, head, *(run.entries[name].identity for name in _NETWORK)])
        if key not in found:
            found[key] = _count(run, known, registry) if set(_NETWORK) <= set(known) else {}
        if found[key]:
            _replace(manifest.store, run.id, found[key], where)
        else:
            not_counted.append(run.id)
    # ensembles come last, because the cost of an ensemble may need the cost of a TTA
    for row in sorted(manifest.derived, key=lambda row: bool(row.kind == "ensemble")):
        if row.is_imported or set(row.of) & set(not_counted):
            not_counted.append(row.id)
        else:
            _replace(manifest.store, row.id, _derived_cost(manifest.store, row), where)
    of_runs = [f"parameters and MACs of {', '.join(not_counted)}"] if not_counted else []
    of_runs += [f"titles of {', '.join(unknown)}"] if unknown else []
    return (*STATED, *of_runs)


def _count(run: RunSpec, known: Mapping[str, Entry], registry: Registry) -> dict[str, Any]:
    """Build the network of a run from the registry's entries and count its parameters and operations.

    Returns the counts as in cost.json, {} if the network is too large or cannot be built. `known`: result of `known_entries`.
    """
    import torch  # imported here, because the import takes seconds and only this function needs torch

    from bench.models.cost import counts
    from bench.runs.networks import initial_network

    run = replace(run, entries={**run.entries, **known})
    try:
        if run.config.architecture not in registry.sections["architectures"]:
            # only networks of timm itself are built: a name with ":" or "/" would start a download
            if not _TIMM.fullmatch(str(run.entries["architecture"].options["name"])):
                return {}
            with torch.device("meta"):
                if sum(p.numel() for p in initial_network(run, None).parameters()) > limits.MOST_PARAMS:
                    return {}
        network = initial_network(run, None)
        return counts(network, network.deployed(), run.input_size, run.config)
    except (CxrError, RuntimeError, AssertionError, TypeError, ValueError):
        return {}


def _derived_cost(store: Store, row: PlannedRun) -> dict[str, Any]:
    """Return the cost of a derived run as in cost.json, computed from the costs of its source runs."""
    from bench.runs.make_derived import cost_of

    stated = {"images_per_second": None, "throughput_device": "", "peak_memory_bytes": None}
    costs = [stated | CheckedFolder(store.run_dir(source)).facts()["cost"] for source in row.sources]
    return cost_of(costs, len(store.read_json(row.id[:2], row.id, "run.json")["views"]))


def _replace(store: Store, run_id: str, counted: Mapping[str, Any], where: str) -> None:
    """Write the numbers `counted` into a run's cost.json. Raises StoreError if cost.json states another number."""
    stated, folder = CheckedFolder(store.run_dir(run_id)).facts()["cost"], store.run_dir(run_id)
    for key in (key for key in (*EXACT, *ROUNDED) if key in counted and stated.get(key) is not None):
        if abs(stated[key] - counted[key]) > (SLACK * counted[key] if key in ROUNDED else 0):
            what = f"cost.json of {run_id} states {stated[key]:,} {key}, but its configuration gives {counted[key]:,}"
            raise refused(what, where, _FIX)
    if {**stated, **counted} != stated:
        write_bytes(folder / "cost.json", canonical_json({**stated, **counted}))
        CheckedFolder(folder).mark_done()
