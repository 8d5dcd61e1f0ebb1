"""Runs that are made of other runs and train nothing: test-time augmentation (TTA), ensembles and panels.

A derived run is scored like a trained one. Its predictions are the logits of a mean probability: over views of each
image by one network (tta), or over several runs (ensemble). A panel puts networks that learn one finding each side by
side, and averages nothing. This module says what they are; `bench.runs.make_derived` makes them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bench.config.run_config import RunConfig
from bench.config.tta_and_ensembles import TTA, Ensemble, View
from bench.planning.run import Run
from bench.store.checksums import FILE as CHECKSUMS
from bench.store.checksums import damaged_files
from bench.store.file_integrity import is_intact
from bench.store.store import Store, canonical_json, short_hash, table_facts

COMPLETE = (
    "trained.json",
    "cost.json",
    "seal.json",
    "env.json",
    CHECKSUMS,
)  # what a finished one has beside its predictions


@dataclass(frozen=True, slots=True)
class Derived:
    """A mean of predictions: `id` is the first 12 hex digits of the SHA-256 of `document`, as of a run."""

    id: str
    kind: str  # tta, ensemble or panel
    name: str
    views: tuple[View, ...]  # of a tta
    sources: tuple[str, ...]  # ids, sorted, of the runs whose predictions it is made of; of a tta its one run
    runs: tuple[Run, ...]  # the trained networks behind it
    document: bytes

    @property
    def config(self) -> RunConfig:
        """Return the configuration of its first network, which says how all are scored; a panel has every finding."""
        return whole(self.runs[0].config) if self.kind == "panel" else self.runs[0].config


def derived_runs(runs: Sequence[Run], tta: Sequence[str], ensembles: Sequence[Ensemble]) -> tuple[Derived, ...]:
    """Return a grid's derived runs: every TTA of every run, then panels and ensembles, which may be of TTA rows.

    Binary runs that differ in nothing but their finding make a panel, where there are at least two.
    """
    rows = {(name, run.id): _derived("tta", name, TTA[name], [run.id], [run]) for name in tta for run in runs}
    found = [*rows.values(), *_panels(runs)]
    for asked in ensembles:
        members = [run for run in runs if run.config in asked.configs]
        sources = [rows[asked.tta, run.id].id if asked.tta else run.id for run in members]
        found.append(_derived("ensemble", asked.name, (), sources, members))
    return tuple(found)


def whole(config: RunConfig) -> RunConfig:
    """Return the configuration of the panel that a binary run belongs to."""
    return replace(config, task="multilabel", finding="")


def _panels(runs: Sequence[Run]) -> list[Derived]:
    groups: dict[RunConfig, list[Run]] = {}
    for run in runs:
        if run.config.task == "binary":
            groups.setdefault(whole(run.config), []).append(run)
    members = [group for group in groups.values() if len(group) > 1]
    return [_derived("panel", "one network per finding", (), [r.id for r in group], group) for group in members]


def _derived(kind: str, name: str, views: tuple[View, ...], sources: Sequence[str], runs: Sequence[Run]) -> Derived:
    """Return a derived run; names and the order of the runs are no part of its id."""
    content = {
        "schema": 1,
        "kind": kind,
        "views": views,
        "mean": "" if kind == "panel" else "probability",
        "sources": sorted(sources),
    }
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
    if (
        store.state(derived.id) != "done"
        or damaged_files(folder)
        or not all(is_intact(folder / name) for name in COMPLETE)
    ):
        return True
    return any(
        table_facts(folder / "predictions" / f"{name}.parquet") != prediction_facts(store, derived, name, cohort_id)
        for name, cohort_id in cohorts.items()
    )


def logit_of_mean(logit_MNK: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the logit [N, K] of the mean of M probabilities, finite for all finite logits.

    log(mean p) - log(mean (1 - p)), each a log-sum of logs: nothing is rounded to 0 or 1 on the way.

    >>> logit_of_mean(np.array([[[-200.0]], [[200.0]]])).tolist()
    [[0.0]]
    """
    z_MNK = logit_MNK.astype(np.float64)
    log_p_MNK, log_q_MNK = -np.logaddexp(0, -z_MNK), -np.logaddexp(0, z_MNK)
    mean_NK = np.logaddexp.reduce(log_p_MNK, axis=0) - np.logaddexp.reduce(log_q_MNK, axis=0)
    return np.asarray(mean_NK, np.float32)
