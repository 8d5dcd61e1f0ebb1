"""Derived runs, made of other runs without training: test-time augmentation (TTA), ensembles and panels.

A derived run is scored like a trained run. The predictions of a TTA run or an ensemble are logits of a mean
probability. TTA takes the mean over views of an image (mirrored or rotated copies); an ensemble takes the mean over
runs. A panel takes no mean: it joins networks that learn one finding each. If the networks of a finding differ in
their label source, a panel can choose one of them. This module describes derived runs; `bench.runs.make_derived` makes
them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from bench.config.run_config import RunConfig
from bench.config.tta_and_ensembles import TTA, Ensemble, View
from bench.planning.run import CHOSEN, PANEL, RunSpec
from bench.store.checked_folders import FILE as CHECKSUMS
from bench.store.checked_folders import CheckedFolder
from bench.store.file_integrity import is_intact
from bench.store.store import Store, canonical_json, short_hash, table_facts
from harmonize.labels.findings import HYBRID

COMPLETE = ("trained.json", "cost.json", "seal.json", "env.json", CHECKSUMS)  # files of a finished derived run


@dataclass(frozen=True, slots=True)
class DerivedRun:
    """A derived run: its kind, and the runs from which it is made."""

    id: str  # first 12 hex digits of the SHA-256 of `document`
    kind: str  # tta, ensemble or panel
    name: str
    views: tuple[View, ...]  # views of a TTA
    sources: tuple[str, ...]  # sorted ids of the runs or TTA runs whose predictions are combined; for a TTA, one run
    runs: tuple[RunSpec, ...]  # the trained runs whose networks are used
    document: bytes  # canonical JSON, stored as run.json

    @classmethod
    def of(cls, kind: str, name: str, views: tuple[View, ...], sources: Sequence[str], runs: Sequence[RunSpec]) -> Self:
        """Return a derived run. Its id does not depend on the order of the runs, and on the name only if it is CHOSEN."""
        content = {
            "schema": 1,
            "kind": kind,
            "views": views,
            "mean": "" if kind == "panel" else "probability",
            "sources": sorted(sources),
        }
        if name == CHOSEN:
            content["choose"] = "label_source"
        document = canonical_json(content)
        return cls(short_hash(document), kind, name, views, tuple(sorted(sources)), tuple(runs), document)

    @property
    def config(self) -> RunConfig:
        """Return the configuration of the first run for scoring, but with all findings if this is a panel."""
        config = self.runs[0].config.of_panel if self.kind == "panel" else self.runs[0].config
        return replace(config, label_source=HYBRID) if self.name == CHOSEN else config

    def prediction_facts(self, store: Store, cohort: str, cohort_id: str) -> dict[str, str]:
        """Return the metadata that the derived run's prediction file of a cohort must have.

        `cohort`: the cohort's id. `fingerprint`: hash of the images that the source runs predicted. `weights`: hash of
        the source runs' weights.
        """
        stored = [table_facts(store.run_dir(s) / "predictions" / f"{cohort}.parquet") for s in self.sources]
        joined = {key: [facts.get(key, "") for facts in stored] for key in ("fingerprint", "weights")}
        facts = {k: v[0] if len(v) == 1 else short_hash(canonical_json(v), 64) for k, v in joined.items()}
        return {**facts, "cohort": cohort_id}

    def is_incomplete(self, store: Store, cohorts: Mapping[str, str]) -> bool:
        """Return whether the derived run is unfinished, damaged, or made from other images or weights than now exist.

        `cohorts` maps the name of each cohort to its id.
        """
        folder = store.run_dir(self.id)
        if (
            store.state(self.id) != "done"
            or CheckedFolder(folder).problems()
            or not all(is_intact(folder / name) for name in COMPLETE)
        ):
            return True
        return any(
            table_facts(folder / "predictions" / f"{name}.parquet") != self.prediction_facts(store, name, cohort_id)
            for name, cohort_id in cohorts.items()
        )


def derived_runs(
    runs: Sequence[RunSpec], tta: Sequence[str], ensembles: Sequence[Ensemble], choose: str = ""
) -> tuple[DerivedRun, ...]:
    """Return a grid's derived runs: each TTA of each run, then panels, then ensembles of runs or of TTA runs.

    `tta` has keys of the mapping TTA. Two or more binary runs that differ only in their finding make a panel. With
    `choose`, those that also differ in their label source make one more.
    """
    rows = {(name, run.id): DerivedRun.of("tta", name, TTA[name], [run.id], [run]) for name in tta for run in runs}
    derived = [*rows.values(), *_panels(runs, choose)]
    for ensemble in ensembles:
        members = [run for run in runs if run.config in ensemble.configs]
        sources = [rows[ensemble.tta, run.id].id if ensemble.tta else run.id for run in members]
        derived.append(DerivedRun.of("ensemble", ensemble.name, (), sources, members))
    return tuple(derived)


def _panels(runs: Sequence[RunSpec], choose: str) -> list[DerivedRun]:
    panels: dict[RunConfig, list[RunSpec]] = {}
    for run in runs:
        if run.config.task == "binary":
            panels.setdefault(run.config.of_panel, []).append(run)
    candidates: dict[RunConfig, list[RunSpec]] = {}
    for config, group in panels.items() if choose else ():
        candidates.setdefault(replace(config, label_source=HYBRID), []).extend(group)
    groups = [(PANEL, group) for group in panels.values() if len(group) > 1]
    groups += [(CHOSEN, group) for group in candidates.values()]
    return [DerivedRun.of("panel", name, (), [r.id for r in group], group) for name, group in groups]


def logit_of_mean(logit_MNK: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the logit [N, K] of the mean of M probabilities, which are given as logits [M, N, K].

    The result is log(mean p) - log(mean (1 - p)). Each term is computed as a log-sum-exp, so no probability is rounded
    to 0 or 1, and the result is finite for all finite logits.

    >>> logit_of_mean(np.array([[[-200.0]], [[200.0]]])).tolist()
    [[0.0]]
    """
    z_MNK = logit_MNK.astype(np.float64)
    log_p_MNK, log_q_MNK = -np.logaddexp(0, -z_MNK), -np.logaddexp(0, z_MNK)
    mean_NK = np.logaddexp.reduce(log_p_MNK, axis=0) - np.logaddexp.reduce(log_q_MNK, axis=0)
    return np.asarray(mean_NK, np.float32)
