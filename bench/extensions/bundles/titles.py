"""Titles of the runs in a bundle, as this installation's registry states them, and the facts that only the submitter states."""

from collections.abc import Mapping
from dataclasses import replace

from bench.config.registry import Entry, Registry
from bench.planning.manifest import Manifest, links_of
from bench.planning.planned_grid import PlannedRun
from bench.planning.run import RunSpec, read_run
from bench.store.store import canonical_json
from harmonize.errors import CxrError

STATED = (  # facts about every run that its submitter states and nobody can check
    "training time, memory and speed",
    "parameters and operations",
    "learning curves",
    "environment",
    "titles and image counts of cohorts",
)


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
            run = replace(run, corpus=str(start.facts.get("corpus", "")), licence=start.weights_licence)
        runs[run.id] = run
    derived = tuple(
        run if run.is_imported else replace(run, titles={"architecture": runs[run.of[0]].titles["architecture"]})
        for run in manifest.derived
    )
    return replace(manifest, runs=tuple(runs.values()), derived=derived, links=links_of(entries))


def stated_facts(manifest: Manifest, registry: Registry) -> tuple[str, ...]:
    """Return the facts that the submitter of a bundle states and this installation cannot check."""
    runs = [read_run(manifest.store, run.id) for run in manifest.runs]
    unknown = [run.id for run in runs if len(known_entries(run, registry)) < len(run.config.named)]
    return (*STATED, *([f"titles of {', '.join(unknown)}"] if unknown else []))
