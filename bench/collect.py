"""From the store to scores and to the tables of the report: no image, no GPU, no torch.

Everything here is a function of a grid's manifest, cohort tables, prediction files and run records.
"""

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from bench.config import RunConfig
from bench.derive import waits_for
from bench.manifest import Manifest
from bench.plan import EVALUATED_AT_HOME, home_split, states
from bench.scoring.background import Background
from bench.scoring.parts import Part
from bench.store import Progress, Store, canonical_json, replacing, short_hash, table_facts, write_bytes, write_table
from harmonize import labelmap
from harmonize.errors import StoreError
from reports.tables import SCHEMAS

if TYPE_CHECKING:
    from bench.scoring.score import RunScores

DETAIL = ("decomposition", "references", "subgroups")
SCORING_VERSION = 2  # raise it when the same predictions may give other numbers
FRAMES = (
    "scores", "gaps", "reliability", "confusion", "delong", "operating_points", "shortcut", "diagnostics", "histograms",
    "mappings", *DETAIL,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Labels:
    """One cohort's labels, aligned with its table."""

    table: pd.DataFrame
    state_NK: NDArray[np.int8]
    split: NDArray[np.str_]
    mapped: Mapping[str, NDArray[np.int8]] = field(default_factory=dict)  # states [N, K] under other mappings, if asked


def labels_of(
    manifest: Manifest, cohort: Mapping[str, Any], config: RunConfig, findings: Sequence[str] | None = None
) -> Labels:
    """Return states [N, K] and the split of each image: assigned at home, the dataset's own away.

    K counts `findings`, by default those that the run learns.
    """
    table = manifest.table(cohort)
    split = home_split(table, config) if cohort["role"] == "home" else table["split"]
    return Labels(table, states(table, findings or config.findings), split.to_numpy(str))


def _mapped(table: pd.DataFrame, layout: str, mapping: str, findings: tuple[str, ...]) -> dict[str, NDArray[np.int8]]:
    """Return the label states of a published layout under the other mappings that change any, by their names.

    A finding whose own mapping does not give the states of the table (they are of another label source) stays as it is.
    """
    if layout == "table":
        return {}
    stored = states(table, findings)
    own = states(labelmap.apply(table, layout, mapping, findings), findings)
    differs = {found["mapping"] for found in labelmap.differences(layout, findings)}
    out = {}
    for other in (name for name in labelmap.MAPPINGS if name != mapping and name in {*differs, "default"}):
        again = states(labelmap.apply(table, layout, other, findings), findings)
        state_NK = np.where((own == stored).all(0), again, stored)
        if (state_NK != stored).any():
            out[other] = state_NK
    return out


def reference(manifest: Manifest, cohort: Mapping[str, Any], split: str = "") -> str:
    """Return who labelled a split of a cohort: report, radiologist, stated, or phantom."""
    if manifest.content["phantom"]:
        return "phantom"
    return "radiologist" if split.startswith("expert_") else str(cohort["facts"].get("reference", "stated"))


def score_all(manifest: Manifest, progress: Progress, threads: int = 2) -> list[str]:
    """Score every finished run whose scores are not there or out of date; return the ids of all scored runs."""
    done = [run for run in (*manifest.runs, *manifest.derived) if not unfinished(manifest, run)]
    labels: dict[tuple[str, str, str], Labels] = {}
    for i, run in enumerate(done):
        progress("score", i, len(done))
        folder = manifest.store.root / "scores" / run["id"]
        key = _key(manifest, run)
        if _stored_key(folder) == key and all(
            table_facts(folder / f"{name}.parquet").get("key") == key for name in FRAMES
        ):
            continue
        from bench.scoring.diagnostics import symptoms
        from bench.scoring.mappings import sensitivity
        from bench.scoring.score import score_run  # it compiles kernels: a finished grid does not wait for them

        config = manifest.config(run)
        parts = parts_of(manifest, run, config, labels)
        settings = replace(manifest.settings, selection=config.selection)
        home, findings = manifest.content["source"], config.findings
        unlearnt = run_facts(manifest.store, run["id"])["trained"].get("unlearnt", [])
        result = score_run(run["id"], findings, home, parts, settings, threads, unlearnt)
        found, counts = symptoms(parts, findings, home, result.scores)
        extra = {"shortcut": _probe(manifest, run, config), "diagnostics": found, "histograms": counts}
        away = [part for part in parts if part.dataset != home and part.background]
        readings = [row for part in away for row in sensitivity(run["id"], part, findings, settings, threads)]
        extra["mappings"] = pd.DataFrame(readings, columns=list(SCHEMAS["mappings"]))
        for frame in (found, counts):
            frame.insert(0, "run_id", run["id"])
        _write(folder, key, result, extra)
    progress("score", len(done), len(done))
    return [run["id"] for run in done]


def unfinished(manifest: Manifest, run: Mapping[str, Any]) -> str:
    """Return why a run cannot be scored, "" when it can: it is done and has predictions on every cohort of the grid."""
    state, folder = manifest.store.state(run["id"]), manifest.store.run_dir(run["id"])
    if "kind" in run and (reason := waits_for(manifest.store, run["sources"])):
        return reason
    if state == "failed":
        return manifest.store.reason(run["id"])
    kept = {"predictions": "parquet"} if "kind" in run else {"predictions": "parquet", "features": "npz"}
    for cohort in manifest.cohorts if state == "done" else ():
        for what, ending in kept.items():
            if not (folder / what / f"{cohort['name']}.{ending}").is_file():
                return f"no {what} on {cohort['name']}"
    return "" if state == "done" else "not finished"


def _key(manifest: Manifest, run: Mapping[str, Any]) -> str:
    """Return what the scores of a run depend on, as a hash."""
    folder = manifest.store.run_dir(run["id"])
    facts = []
    for cohort in manifest.cohorts:
        stored = table_facts(folder / "predictions" / f"{cohort['name']}.parquet")
        place = [cohort["name"], cohort["role"], cohort["id"], cohort["headline_split"]]
        facts.append([*place, stored.get("fingerprint"), stored.get("weights")])
    return short_hash(canonical_json([SCORING_VERSION, run["id"], facts, asdict(manifest.settings)]), 32)


def _stored_key(folder: Path) -> str:
    path = folder / "KEY"
    return path.read_text() if path.is_file() else ""


def _write(folder: Path, key: str, result: "RunScores", extra: Mapping[str, pd.DataFrame]) -> None:
    (folder / "KEY").unlink(missing_ok=True)
    frames = {
        "scores": result.scores,
        "gaps": result.gaps,
        "reliability": result.reliability,
        "confusion": result.confusion,
        "delong": result.delong,
        "operating_points": result.operating_points,
        **result.detail,
        **extra,
    }
    for name, frame in frames.items():
        write_table(folder / f"{name}.parquet", frame, {"key": key})
    with replacing(folder / "replicates.npz") as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **result.replicates)
    write_bytes(folder / "KEY", key.encode())


def parts_of(
    manifest: Manifest, run: Mapping[str, Any], config: RunConfig, known: dict[tuple[str, str, str], Labels]
) -> list[Part]:
    """Return what is scored of a run: home's evaluated splits, each cohort away. `known` keeps labels between runs."""
    parts: list[Part] = []
    findings = config.findings
    for cohort in manifest.cohorts:
        place = (cohort["name"], "/".join(findings), repr(config.cohort) if cohort["role"] == "home" else "")
        if place not in known:
            found = labels_of(manifest, cohort, config)
            away = cohort["role"] == "away"
            mapped = _mapped(found.table, str(cohort["layout"]), config.mapping, findings) if away else {}
            known[place] = replace(found, mapped=mapped)
        labels = known[place]
        path = manifest.store.run_dir(run["id"]) / "predictions" / f"{cohort['name']}.parquet"
        predictions = read_table(path)
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
        if cohort["role"] == "home":
            wanted = [(name, split == name) for name in EVALUATED_AT_HOME]
        else:
            headline = cohort["headline_split"]
            wanted = [(headline, np.full(len(split), True) if headline == "all" else split == headline)]
        for name, mask in wanted:
            if mask.any():
                by = reference(manifest, cohort, name)
                chosen = at[mask]
                ids, patients = (labels.table[c].to_numpy(str)[chosen] for c in ("image_id", "patient_id"))
                who = Background.of(
                    labels.table.iloc[chosen], {key: state[chosen] for key, state in labels.mapped.items()}
                )
                state_NK = labels.state_NK[chosen]
                parts.append(Part(cohort["name"], name, by, ids, patients, logit_NK[mask], state_NK, background=who))
    return parts


def _probe(manifest: Manifest, run: Mapping[str, Any], config: RunConfig) -> pd.DataFrame:
    """Return the dataset-source classifier's scores on the run's frozen features; no rows for a derived run, which has none."""
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


def scored_ids(manifest: Manifest, runs: Sequence[Mapping[str, Any]] | None = None) -> list[str]:
    """Return the ids of the finished runs that have scores, in the order of the grid; by default of those that train."""
    scores = manifest.store.root / "scores"
    return [
        r["id"]
        for r in (manifest.runs if runs is None else runs)
        if not unfinished(manifest, r) and (scores / r["id"] / "KEY").is_file()
    ]


def read_table(path: Path) -> pd.DataFrame:
    """Return a Parquet file of the store.

    Raises StoreError when it is missing or damaged.
    """
    try:
        return pd.read_parquet(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise StoreError(
            f"cannot read {path.name}: {error}", str(path), "run the grid again: what is missing is made again"
        ) from error


def load_scores(store: Store, run_ids: Sequence[str], name: str) -> pd.DataFrame:
    """Return one derived table of several runs, stacked."""
    frames = [read_table(store.root / "scores" / run_id / f"{name}.parquet") for run_id in run_ids]
    return pd.concat([f for f in frames if len(f)] or frames or [pd.DataFrame()], ignore_index=True)


def load_replicates(store: Store, run_id: str) -> dict[str, NDArray[np.float64]]:
    """Return the bootstrap replicates of a run, by name.

    Raises StoreError when they are missing or damaged.
    """
    path = store.root / "scores" / run_id / "replicates.npz"
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise StoreError(
            f"cannot read the replicates: {error}", str(path), "delete this folder and score again: `bench score`"
        ) from error


def run_facts(store: Store, run_id: str) -> dict[str, Any]:
    """Return env, cost, seal and trained.json of a run as one mapping, {} where they are absent."""
    out: dict[str, Any] = {}
    for name in ("env", "cost", "seal", "trained"):
        path = store.run_dir(run_id) / f"{name}.json"
        out[name] = json.loads(path.read_text()) if path.is_file() else {}
    return out
