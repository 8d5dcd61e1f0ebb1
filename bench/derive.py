"""Runs that are made of other runs and train nothing: test-time augmentation (TTA) and ensembles.

A derived run is scored like a trained one. Its predictions are the logits of a mean probability: over views of each
image by one network (tta), or over several runs (ensemble). This module says what they are; `bench.average` makes them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.combine import TTA, Ensemble, View
from bench.config import RunConfig
from bench.run import Run
from bench.store import Store, canonical_json, short_hash, table_facts

COMPLETE = ("trained.json", "cost.json", "seal.json", "env.json")  # what a finished one has beside its predictions


@dataclass(frozen=True, slots=True)
class Derived:
    """A mean of predictions: `id` is the first 12 hex digits of the SHA-256 of `document`, as of a run."""

    id: str
    kind: str  # tta or ensemble
    name: str
    views: tuple[View, ...]  # of a tta
    sources: tuple[str, ...]  # ids, sorted, of the runs whose predictions are averaged; of a tta its one run
    runs: tuple[Run, ...]  # the trained networks behind it
    document: bytes

    @property
    def config(self) -> RunConfig:
        """Return the configuration of its first network: what is learnt and how it is scored is the same in all."""
        return self.runs[0].config


def derived_runs(runs: Sequence[Run], tta: Sequence[str], ensembles: Sequence[Ensemble]) -> tuple[Derived, ...]:
    """Return a grid's derived runs: every TTA of every run, then the ensembles, which may be of TTA rows."""
    rows = {(name, run.id): _derived("tta", name, TTA[name], [run.id], [run]) for name in tta for run in runs}
    found = list(rows.values())
    for asked in ensembles:
        members = [run for run in runs if run.config in asked.configs]
        sources = [rows[asked.tta, run.id].id if asked.tta else run.id for run in members]
        found.append(_derived("ensemble", asked.name, (), sources, members))
    return tuple(found)


def _derived(kind: str, name: str, views: tuple[View, ...], sources: Sequence[str], runs: Sequence[Run]) -> Derived:
    """Return a derived run; names and the order of the runs are no part of its id."""
    content = {"schema": 1, "kind": kind, "views": views, "mean": "probability", "sources": sorted(sources)}
    document = canonical_json(content)
    return Derived(short_hash(document), kind, name, views, tuple(sorted(sources)), tuple(runs), document)


def waits_for(store: Store, sources: Sequence[str]) -> str:
    """Return which run a derived run still needs, and why it is not there; "" when all are done."""
    for source in sources:
        if (state := store.state(source)) != "done":
            said = {"absent": "has not begun", "started": "is not finished"}
            return f"needs run {source}, which {said.get(state) or f'failed: {store.reason(source)}'}"
    return ""


def prediction_facts(store: Store, derived: Derived, cohort: str, cohort_id: str) -> dict[str, str]:
    """Return what a derived prediction file depends on: images and weights of the files that it is the mean of."""
    stored = [table_facts(store.run_dir(s) / "predictions" / f"{cohort}.parquet") for s in derived.sources]
    joined = {key: [facts.get(key, "") for facts in stored] for key in ("fingerprint", "weights")}
    facts = {k: v[0] if len(v) == 1 else short_hash(canonical_json(v), 64) for k, v in joined.items()}
    return {**facts, "cohort": cohort_id}


def lacks(store: Store, derived: Derived, cohorts: Mapping[str, str]) -> bool:
    """Whether a derived run is not finished, or what it is made of has changed since; cohorts: name -> id."""
    folder = store.run_dir(derived.id)
    if store.state(derived.id) != "done" or not all((folder / name).is_file() for name in COMPLETE):
        return True
    return any(
        table_facts(folder / "predictions" / f"{name}.parquet") != prediction_facts(store, derived, name, cohort_id)
        for name, cohort_id in cohorts.items()
    )
