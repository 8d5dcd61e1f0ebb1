"""tables(): everything the report shows, gathered from the store."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from bench.collect import (
    labels_of,
    load_replicates,
    load_scores,
    read_table,
    reference,
    run_facts,
    scored_ids,
    unfinished,
)
from bench.manifest import Manifest
from bench.scoring.across import mean_gaps, ranks
from harmonize.findings import UNMAPPED_CODE, space
from harmonize.splits import shared_patients
from reports.tables import SCHEMAS, Tables

_COST = tuple(c for c in SCHEMAS["costs"] if c not in {"run_id", "seconds_per_epoch"})  # what cost.json holds
_STORED = ("scores", "gaps", "reliability", "shortcut")
_TTA_TITLES = {"four_views": "TTA, four views", "three_views": "TTA, three views"}
_STATES = {"present": 1, "absent": 0, "uncertain": -1, "not_mentioned": -2, "unmapped": UNMAPPED_CODE}


def tables(manifest: Manifest) -> Tables:
    """Return the tables of a grid's report. Runs without scores are listed with their state and reason."""
    store = manifest.store
    scored = scored_ids(manifest)
    frames = {name: load_scores(store, scored, name) for name in _STORED} if scored else {}
    replicates = {run_id: load_replicates(store, run_id) for run_id in scored}
    frames["runs"], frames["references"] = _runs(manifest), _references(manifest)
    if scored:
        plain = frames["scores"][frames["scores"]["calibrator"] == "none"]
        frames["ranks"], frames["mean_gaps"] = ranks(plain, replicates), mean_gaps(frames["gaps"], replicates)
        frames["costs"], frames["history"] = _costs(manifest, scored), _history(manifest, scored)
    everyone = [*scored, *scored_ids(manifest, manifest.derived)]
    if len(everyone) > len(scored):  # last: nothing above compares or ranks what is derived
        frames |= {name: load_scores(store, everyone, name) for name in _STORED}
        frames["costs"] = _costs(manifest, everyone)
    cohorts, splits, prevalence, shared = _cohorts(manifest)
    frames |= {"cohorts": cohorts, "splits": splits, "prevalence": prevalence}
    config = manifest.config(manifest.runs[0])
    meta = {
        "title": manifest.content["title"],
        "grid": manifest.content["name"],
        "source": manifest.content["source"],
        "phantom": manifest.content["phantom"],
        "min_count": manifest.settings.min_count,
        "num_resamples": manifest.settings.num_resamples,
        "split": manifest.runs[0]["config"]["split"],
        "shared_patients": shared,
        "command": manifest.content["command"],
        "created_from": everyone,
        "findings": list(space(config.space)),
        "notes": _notes(manifest),
        "unlearnt": {r: u for r in everyone if (u := run_facts(store, r)["trained"].get("unlearnt"))},
        "not_compared": _not_compared(frames["gaps"]) if scored else {},
        "duplicates": int(manifest.content["doubles"]),
        "datasets": {
            c["name"]: {"title": _title(c), "place": str(c["facts"].get("place", "")), "flow": dict(c["flow"])}
            for c in manifest.cohorts
        },
    }
    return Tables(meta, {name: _in_order(name, frame) for name, frame in frames.items() if len(frame.columns)})


def _in_order(name: str, frame: pd.DataFrame) -> pd.DataFrame:
    return frame[list(SCHEMAS[name])].reset_index(drop=True)


def _title(cohort: Mapping[str, Any]) -> str:
    """Return a cohort's display name: the dataset's own title, or the name the user gave."""
    return (
        str(cohort["facts"].get("title", cohort["name"])) if cohort["name"] == cohort["layout"] else str(cohort["name"])
    )


def _differences(manifest: Manifest) -> dict[str, str]:
    """Return by run id what sets each run apart from the others, architecture left out: "SAM · lr 0.001 · seed 1"."""
    configs = {run["id"]: run["config"] for run in manifest.runs}
    flat = {
        run_id: {k: v for k, v in c.items() if k != "schedule"} | {f"schedule.{k}": v for k, v in c["schedule"].items()}
        for run_id, c in configs.items()
    }
    first = next(iter(flat.values()))
    varied = [k for k in first if k not in {"architecture", "seed"} and len({str(f[k]) for f in flat.values()}) > 1]
    out = {}
    for run in manifest.runs:
        own = flat[run["id"]]
        named = [
            str(run["titles"][k]) if k in run["titles"] else f"{k.partition('.')[2] or k} {own[k]}" for k in varied
        ]
        out[run["id"]] = " · ".join([*named, f"seed {own['seed']}"])
    return out


def _runs(manifest: Manifest) -> pd.DataFrame:
    what = _differences(manifest)
    rows = []
    for run in manifest.runs:
        reason = unfinished(manifest, run)
        state = manifest.store.state(run["id"])
        facts, history = run_facts(manifest.store, run["id"]), _read_history(manifest, run["id"])
        env, config, titles = facts["env"], run["config"], run["titles"]
        chosen_by_val = len(history) and config["selection"] == "best_val"
        best = 1 + int(history["val_auroc"].to_numpy().argmax()) if chosen_by_val else len(history)
        rows.append(
            {
                "run_id": run["id"],
                "kind": "run",
                "of": "",
                "name": titles["architecture"],
                "family": run["family"],
                **{
                    k: config[k]
                    for k in (
                        "architecture",
                        "optimizer",
                        "loss",
                        "uncertainty",
                        "preprocessing",
                        "augmentation",
                        "weights",
                        "seed",
                    )
                },
                "what": what[run["id"]],
                "state": "started" if reason and state == "done" else state,
                "reason": reason,
                "epochs": len(history),
                "best_epoch": best,
                "seconds": float(history["seconds"].sum()) if len(history) else np.nan,
                "command": f"{manifest.content['command']} --only {run['id']}",
                "config": json.dumps(config, sort_keys=True),
                "commit": env.get("commit", ""),
                "versions": ", ".join(f"{k} {v}" for k, v in env.get("versions", {}).items()),
                "device": env.get("device", ""),
                "weights_sha256": facts["seal"].get("weights_after", ""),
            }
        )
    trained = {row["run_id"]: row for row in rows}
    return pd.DataFrame(
        rows + [_derived_row(manifest, run, [trained[i] for i in run["of"]]) for run in manifest.derived]
    )


def _derived_row(manifest: Manifest, run: Mapping[str, Any], of: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the row of a run that is made of others: what these share, "several" where they differ."""
    shared = {k: v if all(row[k] == v for row in of) else "several" for k, v in of[0].items() if isinstance(v, str)}
    reason, state = unfinished(manifest, run), manifest.store.state(run["id"])
    env = run_facts(manifest.store, run["id"])["env"]
    title, alike = _TTA_TITLES.get(run["name"], run["name"]), f"mean of {len(of)} run{'s' if len(of) > 1 else ''}"
    return {
        **of[0],
        **shared,
        "family": of[0]["family"] if shared["family"] != "several" else "",
        "run_id": run["id"],
        "kind": run["kind"],
        "of": "; ".join(f"{row['name']} ({row['what']})" for row in of),
        "name": of[0]["name"] if run["kind"] == "tta" else run["name"],
        "what": f"{of[0]['what']} · {title}" if run["kind"] == "tta" else alike,
        "state": "started" if reason and state == "done" else state,
        "reason": reason,
        "epochs": 0,
        "best_epoch": 0,
        "seconds": np.nan,
        "command": f"{manifest.content['command']} --only {run['id']}",
        "config": json.dumps({k: run[k] for k in ("kind", "name", "sources", "of")}, sort_keys=True),
        "commit": env.get("commit", ""),
        "versions": ", ".join(f"{k} {v}" for k, v in env.get("versions", {}).items()),
        "device": env.get("device", ""),
    }


def _references(manifest: Manifest) -> pd.DataFrame:
    """Return one row per published number that the grid names."""
    rows = [
        (row["name"], row["setting"], row["source"], dataset, split, finding, row["metric"], value)
        for row in manifest.content["references"]
        for dataset, split, finding, value in row["numbers"]
    ]
    return pd.DataFrame(rows, columns=list(SCHEMAS["references"]))


def _not_compared(gaps: pd.DataFrame) -> dict[str, list[str]]:
    """Return, by hospital, the findings without a gap in any run: one side does not label them, or too few patients."""
    rows = gaps[(gaps["finding"] != "macro") & (gaps["dataset"] != "away")]
    never = rows["value"].isna().groupby([rows["dataset"], rows["finding"]], sort=False).all()
    out: dict[str, list[str]] = {}
    for dataset, finding in never.index[never.to_numpy()]:
        out.setdefault(str(dataset), []).append(str(finding))
    return out


def _read_history(manifest: Manifest, run_id: str) -> pd.DataFrame:
    path = manifest.store.run_dir(run_id) / "history.parquet"
    return read_table(path) if path.is_file() else pd.DataFrame(columns=["epoch", "val_auroc", "seconds"])


def _history(manifest: Manifest, scored: list[str]) -> pd.DataFrame:
    return pd.concat([_read_history(manifest, r).assign(run_id=r) for r in scored], ignore_index=True)


def _costs(manifest: Manifest, scored: list[str]) -> pd.DataFrame:
    rows = []
    for run_id in scored:
        cost, history = run_facts(manifest.store, run_id)["cost"], _read_history(manifest, run_id)
        seconds = float(history["seconds"].median()) if len(history) else np.nan
        rows.append({"run_id": run_id, **{k: cost.get(k) for k in _COST}, "seconds_per_epoch": seconds})
    return pd.DataFrame(rows).astype({"peak_memory_bytes": "float64", "images_per_second": "float64"})


def _cohorts(manifest: Manifest) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, int]:
    config = manifest.config(manifest.runs[0])
    rows, splits, prevalence, shared = [], [], [], 0
    for cohort in manifest.cohorts:
        labels = labels_of(manifest, cohort, config)
        table, flow, home = labels.table, cohort["flow"], cohort["role"] == "home"
        split = pd.Series(labels.split, index=table.index)
        if home:
            shared += shared_patients(table, split, cohort["name"])
        sex, view = table["sex"], table["view"]
        rows.append(
            {
                "dataset": cohort["name"],
                "role": cohort["role"],
                "layout": cohort["layout"],
                "title": _title(cohort),
                "place": str(cohort["facts"].get("place", "")),
                "label_source": reference(manifest, cohort),
                "found": flow.get("found", len(table)),
                "absent": cohort["absent"],
                "not_frontal": flow.get("not_frontal", 0),
                "unreadable": cohort["unreadable"],
                "used": len(table) - cohort["unreadable"],
                "patients": table["patient_id"].nunique(),
                "female": int((sex == "F").sum()),
                "male": int((sex == "M").sum()),
                "age_median": float(table["age"].median()),
                "ap": int((view == "AP").sum()),
                "pa": int((view == "PA").sum()),
                "headline_split": "test" if home else cohort["headline_split"],
                "fingerprint": "/".join(sorted(set(cohort["fingerprints"].values()))),
                "licence": str(cohort["facts"].get("licence", "")),
            }
        )
        named = (
            [(s, split == s) for s in sorted(set(labels.split))]
            if home
            else [(cohort["headline_split"], _headline(cohort, split))]
        )
        for name, mask in named:
            splits.append(
                {
                    "dataset": cohort["name"],
                    "split": name,
                    "images": int(mask.sum()),
                    "patients": table.loc[mask, "patient_id"].nunique(),
                }
            )
            for k, finding in enumerate(space(config.space)):
                state = labels.state_NK[mask.to_numpy(), k]
                counts = {column: int((state == code).sum()) for column, code in _STATES.items()}
                prevalence.append({"dataset": cohort["name"], "split": name, "finding": finding, **counts})
    return pd.DataFrame(rows), pd.DataFrame(splits), pd.DataFrame(prevalence), shared


def _headline(cohort: Mapping[str, Any], split: "pd.Series[str]") -> "pd.Series[bool]":
    return (
        split == cohort["headline_split"] if cohort["headline_split"] != "all" else pd.Series(True, index=split.index)
    )


def _notes(manifest: Manifest) -> list[str]:
    notes = []
    settings = manifest.content["phantom_settings"]
    if settings and settings["shortcut"]:
        notes.append(
            f"The synthetic training hospital prints a PORT tag on images with {settings['finding']} (strength "
            f"{settings['shortcut']:g}); elsewhere the tag says nothing. The loss on that finding is planted, not found."
        )
    return notes
