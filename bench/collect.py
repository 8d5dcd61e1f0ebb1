"""From the store to scores and to the tables of the report: no image, no GPU, no torch.

Everything here is a function of a grid's manifest, cohort tables, prediction files and run records.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.config import RunConfig, from_dict
from bench.plan import home_split
from bench.scoring.parts import Part, Settings
from bench.store import Progress, Store, canonical_json, replacing, short_hash, table_facts, write_bytes, write_table
from harmonize.errors import StoreError
from harmonize.findings import UNMAPPED_CODE, space

if TYPE_CHECKING:
    from bench.scoring.score import RunScores

SCORING_VERSION = 1  # raise it when the same predictions may give other numbers
FRAMES = ("scores", "gaps", "reliability", "operating_points", "shortcut")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What `bench run` planned, read back from the store."""

    store: Store
    content: Mapping[str, Any]

    @property
    def settings(self) -> Settings:
        """Return how this grid is scored."""
        return Settings(min_count=int(self.content["min_count"]))

    @property
    def runs(self) -> list[Mapping[str, Any]]:
        """Return the planned runs, in the order of the grid."""
        return list(self.content["runs"])

    @property
    def cohorts(self) -> list[Mapping[str, Any]]:
        """Return the cohorts, home first."""
        return list(self.content["cohorts"])

    def config(self, run: Mapping[str, Any]) -> RunConfig:
        """Return the configuration of a planned run."""
        return from_dict(RunConfig, run["config"], f"run {run['id']}")

    def table(self, cohort: Mapping[str, Any]) -> pd.DataFrame:
        """Return the harmonized table of a cohort.

        Raises StoreError when it is missing or damaged.
        """
        path = self.store.root / "cohorts" / f"{cohort['name']}-{cohort['id']}.parquet"
        if table_facts(path).get("id") != cohort["id"]:
            raise StoreError(
                "a cohort table is missing or damaged", str(path), "run the grid again with `bench run --grid`"
            )
        return pd.read_parquet(path)


def read_manifest(store: Store, name: str | None) -> Manifest:
    """Return the manifest of a grid; without a name, of the only grid in the store.

    Raises StoreError when it is not there or the choice is open.
    """
    names = sorted(p.stem for p in (store.root / "grids").glob("*.json"))
    if name is None and len(names) == 1:
        name = names[0]
    if name is None or name not in names:
        what = f"no grid {name!r} in the store" if name else f"{len(names)} grids in the store"
        raise StoreError(
            what,
            str(store.root / "grids"),
            f"name one with --grid: {', '.join(names) or 'none yet; `bench run` makes one'}",
        )
    content = store.read_json("grids", f"{name}.json")
    if content.get("schema") != 1:
        raise StoreError(
            "the manifest is of another version", str(store.root / "grids" / f"{name}.json"), "run the grid again"
        )
    return Manifest(store, content)


@dataclass(frozen=True, slots=True)
class Labels:
    """One cohort's labels, aligned with its table."""

    table: pd.DataFrame
    state_NK: NDArray[np.int8]
    split: NDArray[np.str_]


def labels_of(manifest: Manifest, cohort: Mapping[str, Any], config: RunConfig) -> Labels:
    """Return states [N, K] and the split of each image: assigned at home, the dataset's own away."""
    table = manifest.table(cohort)
    columns = [table[f].fillna(UNMAPPED_CODE).to_numpy(np.int8) for f in space(config.space)]
    split = home_split(table, config) if cohort["role"] == "home" else table["split"]
    return Labels(table, np.stack(columns, axis=1), split.to_numpy(str))


def score_all(manifest: Manifest, progress: Progress, threads: int = 2) -> list[str]:
    """Score every finished run whose scores are not there or out of date; return the ids of all scored runs."""
    done = [run for run in manifest.runs if manifest.store.state(run["id"]) == "done"]
    labels: dict[tuple[str, str, str], Labels] = {}
    for i, run in enumerate(done):
        progress("score", i, len(done))
        folder = manifest.store.root / "scores" / run["id"]
        key = _key(manifest, run)
        if _stored_key(folder) == key:
            continue
        from bench.scoring.score import score_run  # it compiles kernels: a finished grid does not wait for them

        config = manifest.config(run)
        parts = _parts(manifest, run, config, labels)
        settings = replace(manifest.settings, selection=config.selection, mapping=config.mapping)
        result = score_run(run["id"], space(config.space), manifest.content["source"], parts, settings, threads)
        _write(folder, key, result, _probe(manifest, run, config))
    progress("score", len(done), len(done))
    return [run["id"] for run in done]


def _key(manifest: Manifest, run: Mapping[str, Any]) -> str:
    """Return what the scores of a run depend on, as a hash."""
    folder = manifest.store.run_dir(run["id"])
    facts = {
        c["name"]: [c["id"], c["headline_split"], table_facts(folder / "predictions" / f"{c['name']}.parquet")]
        for c in manifest.cohorts
    }
    for facts_of in facts.values():
        facts_of[2] = {k: v for k, v in facts_of[2].items() if k in {"fingerprint", "weights"}}
    settings = manifest.settings
    return short_hash(
        canonical_json(
            [
                SCORING_VERSION,
                run["id"],
                facts,
                [settings.min_count, settings.num_resamples, settings.bins, settings.seed],
            ]
        ),
        32,
    )


def _stored_key(folder: Path) -> str:
    path = folder / "KEY"
    return path.read_text() if path.is_file() else ""


def _write(folder: Path, key: str, result: "RunScores", shortcut: pd.DataFrame) -> None:
    (folder / "KEY").unlink(missing_ok=True)
    frames = {
        "scores": result.scores,
        "gaps": result.gaps,
        "reliability": result.reliability,
        "operating_points": result.operating_points,
        "shortcut": shortcut,
    }
    for name, frame in frames.items():
        write_table(folder / f"{name}.parquet", frame)
    with replacing(folder / "replicates.npz") as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **result.replicates)
    write_bytes(folder / "KEY", key.encode())


def _parts(
    manifest: Manifest, run: Mapping[str, Any], config: RunConfig, known: dict[tuple[str, str, str], Labels]
) -> list[Part]:
    parts: list[Part] = []
    findings = space(config.space)
    for cohort in manifest.cohorts:
        place = (cohort["name"], config.space, repr(config.cohort) if cohort["role"] == "home" else "")
        if place not in known:
            known[place] = labels_of(manifest, cohort, config)
        labels = known[place]
        path = manifest.store.run_dir(run["id"]) / "predictions" / f"{cohort['name']}.parquet"
        if not path.is_file():
            raise StoreError(
                f"run {run['id']} has no predictions on {cohort['name']}",
                str(path),
                "run the grid again with `bench run --grid`",
            )
        predictions = pd.read_parquet(path)
        at = pd.Index(labels.table["image_id"].to_numpy(str)).get_indexer(
            pd.Index(predictions["image_id"].to_numpy(str))
        )
        if (at < 0).any():
            raise StoreError(
                f"{int((at < 0).sum())} predictions on {cohort['name']} are of images that its table lacks",
                str(path),
                "run the grid again with `bench run --grid`",
            )
        logit_NK = predictions[list(findings)].to_numpy(np.float32)
        split = labels.split[at]
        stated = str(cohort["facts"].get("reference", "report"))
        if cohort["role"] == "home":
            wanted = [
                (name, split == name, "radiologist" if name.startswith("expert") else stated)
                for name in ("val", "test", "expert_valid", "expert_test")
            ]
        else:
            headline = cohort["headline_split"]
            wanted = [(headline, np.full(len(split), True) if headline == "all" else split == headline, stated)]
        for name, mask, reference in wanted:
            if mask.any():
                chosen = at[mask]
                ids, patients = (labels.table[c].to_numpy(str)[chosen] for c in ("image_id", "patient_id"))
                parts.append(
                    Part(cohort["name"], name, reference, ids, patients, logit_NK[mask], labels.state_NK[chosen])
                )
    return parts


def _probe(manifest: Manifest, run: Mapping[str, Any], config: RunConfig) -> pd.DataFrame:
    """Return the dataset-source classifier's scores on the run's frozen features."""
    from bench.shortcut.source import source_probe

    features: dict[str, NDArray[np.float32]] = {}
    patients: dict[str, NDArray[np.str_]] = {}
    for cohort in manifest.cohorts:
        path = manifest.store.run_dir(run["id"]) / "features" / f"{cohort['name']}.npz"
        if path.is_file():
            with np.load(path, allow_pickle=False) as stored:
                features[cohort["name"]] = stored["feature"].astype(np.float32)
                patients[cohort["name"]] = stored["patient_id"]
    frame = source_probe(features, patients, config.seed, max_per_source=500)  # more sharpen it little and cost minutes
    frame.insert(0, "run_id", run["id"])
    return frame


def scored_ids(manifest: Manifest) -> list[str]:
    """Return the ids of the finished runs that have scores, in the order of the grid."""
    store = manifest.store
    return [
        r["id"]
        for r in manifest.runs
        if store.state(r["id"]) == "done" and (store.root / "scores" / r["id"] / "KEY").is_file()
    ]


def load_scores(store: Store, run_ids: Sequence[str], name: str) -> pd.DataFrame:
    """Return one derived table of several runs, stacked."""
    frames = [pd.read_parquet(store.root / "scores" / run_id / f"{name}.parquet") for run_id in run_ids]
    return pd.concat([f for f in frames if len(f)] or frames or [pd.DataFrame()], ignore_index=True)


def load_replicates(store: Store, run_id: str) -> dict[str, NDArray[np.float64]]:
    """Return the bootstrap replicates of a run, by name."""
    with np.load(store.root / "scores" / run_id / "replicates.npz", allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def run_facts(store: Store, run_id: str) -> dict[str, Any]:
    """Return env.json, cost.json and seal.json of a run as one mapping, {} where they are absent."""
    out: dict[str, Any] = {}
    for name in ("env", "cost", "seal"):
        path = store.run_dir(run_id) / f"{name}.json"
        out[name] = json.loads(path.read_text()) if path.is_file() else {}
    return out
