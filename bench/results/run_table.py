"""The table of runs: configuration, differences to the other runs, and state."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.config.run_config import NAMED
from bench.planning.imported_run import FORMATS, KIND
from bench.planning.manifest import Manifest
from bench.results.read_predictions import run_facts, scored_ids, unfinished
from bench.store.checksums import damaged_files
from bench.store.store import read_table

_TTA_TITLES = {"four_views": "TTA, four views", "three_views": "TTA, three views"}


def titled(manifest: Manifest, run: Mapping[str, Any]) -> str:
    """Return the title of a run with what distinguishes it in its grid: "DenseNet-121 · SAM · seed 0"; else as `said`."""
    apart = _differences(manifest).get(str(run["id"]), "")
    return f"{run['titles']['architecture']} · {apart}" if "·" in apart else said(run)


def said(run: Mapping[str, Any]) -> str:
    """Describe a planned run in a few words: "DenseNet-121 seed 0", "both (mean of 2 runs)", "Theirs (trained elsewhere)"."""
    own = f"{run['titles']['architecture']} seed {run['config']['seed']}"
    kind = run.get("kind", "")
    if kind == KIND:
        return f"{run['name']} (trained elsewhere)"
    if kind == "tta":
        return f"{own}, {_TTA_TITLES.get(run['name'], run['name'])}"
    return f"{run['name']} ({'mean' if kind == 'ensemble' else 'panel'} of {len(run['of'])} runs)" if kind else own


def read_history(manifest: Manifest, run_id: str) -> pd.DataFrame:
    """Read the training history of a run; empty if it is missing or damaged."""
    folder = manifest.store.run_dir(run_id)
    path = folder / "history.parquet"
    return (
        read_table(path)
        if path.is_file() and path.name not in damaged_files(folder)
        else pd.DataFrame(columns=["epoch", "val_auroc", "seconds"])
    )


def _differences(manifest: Manifest) -> dict[str, str]:
    """Describe by run id how each run differs from the others, without the architecture: "SAM · lr 0.001 · seed 1"."""
    plain = {run["id"]: manifest.flat_config(run) for run in manifest.runs}
    if not plain:
        return {}
    keys = [k for k in next(iter(plain.values())) if k not in {"architecture", "seed", "task"}]
    varied = [k for k in keys if len({str(f[k]) for f in plain.values()}) > 1]
    varied.sort(key=lambda k: "." in k)  # what stands in a block comes last
    out = {}
    for run in manifest.runs:
        own = plain[run["id"]]
        named = [
            str(run["titles"][k]) if k in run["titles"] else f"{k.partition('.')[2] or k} {own[k]}"
            for k in varied
            if own[k] != ""
        ]
        out[run["id"]] = " · ".join([*named, f"seed {own['seed']}"])
    return out


def histories(manifest: Manifest) -> dict[str, pd.DataFrame]:
    """Return the history of every run of the grid by its id; those of derived runs have no rows."""
    return {run["id"]: read_history(manifest, run["id"]) for run in (*manifest.runs, *manifest.derived)}


def runs_table(manifest: Manifest, history: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Build one row per run of the grid, failed ones included, trained runs first. history: the result of `histories`."""
    what = _differences(manifest)
    ranked = {run["id"] for run in manifest.ranked}
    in_panels = {run_id for run in manifest.derived if run["kind"] == "panel" for run_id in run["of"]}
    rows = []
    for run in manifest.runs:
        reason = unfinished(manifest, run)
        state = manifest.store.state(run["id"])
        beside = run["id"] in in_panels and run["id"] not in ranked
        apart = f"learns {run['config']['finding']} alone: read in the row of all" if beside and not reason else ""
        facts, epochs = run_facts(manifest.store, run["id"]), history[run["id"]]
        env, config, titles = facts["env"], run["config"], run["titles"]
        rows.append(
            {
                "run_id": run["id"],
                "kind": "run",
                "of": "",
                "name": titles["architecture"],
                "family": run["family"],
                **{k: config[k] for k in (*NAMED, "seed", "train_on")},
                "corpus": run.get("corpus", "") if config["weights"] != "none" else "",
                "weights_licence": run["licence"] if config["weights"] != "none" else "",
                "what": what[run["id"]],
                "state": "started" if reason and state == "done" else state,
                "reason": reason or apart,
                "remark": manifest.store.remark(run["id"]),
                "epochs": len(epochs),
                "best_epoch": facts["trained"].get("best_epoch", len(epochs)),
                "gradient_evaluations": float(facts["trained"].get("gradient_evaluations", np.nan)),
                "seconds": float(epochs["seconds"].sum()) if len(epochs) else np.nan,
                "command": f"{manifest.content['command']} --only {run['id']}",
                "config": json.dumps(config, sort_keys=True),
                "commit": env.get("commit", ""),
                "versions": ", ".join(f"{k} {v}" for k, v in env.get("versions", {}).items()),
                "device": env.get("device", ""),
                "weights_sha256": facts["seal"].get("weights_after", ""),
            }
        )
    trained = {row["run_id"]: row for row in rows}
    made = [
        _external_row(manifest, run)
        if run["kind"] == KIND
        else _derived_row(manifest, run, [trained[i] for i in run["of"]])
        for run in manifest.derived
    ]
    return pd.DataFrame(rows + made)


def _external_row(manifest: Manifest, run: Mapping[str, Any]) -> dict[str, Any]:
    """Build the row of an imported model: its declared facts, and the cohorts it has seen."""
    facts, passport, config = run_facts(manifest.store, run["id"]), run["passport"], run["config"]
    reason, state, env = unfinished(manifest, run), manifest.store.state(run["id"]), facts["env"]
    titles = {c["name"]: str(c["facts"].get("title", c["name"])) for c in manifest.cohorts}
    known = [titles.get(name, name) for name in passport["seen"]]
    return {
        "run_id": run["id"],
        "kind": KIND,
        "of": FORMATS[passport["format"]],
        "name": run["name"],
        "family": "",
        **{k: config[k] for k in (*NAMED, "seed")},
        "train_on": ", ".join([*passport["cohorts"], *passport["others"]]),
        "corpus": passport["pretraining"],
        "weights_licence": passport["licence"],
        "what": f"trained elsewhere, had seen {', '.join(known)}" if known else "trained elsewhere",
        "state": "started" if reason and state == "done" else state,
        "reason": reason,
        "remark": "",
        "epochs": 0,
        "best_epoch": 0,
        "gradient_evaluations": np.nan,
        "seconds": np.nan,
        "command": f"bench evaluate --model MODEL.yaml --grid {manifest.content['name']}",
        "config": json.dumps({"name": run["name"], **passport}, sort_keys=True),
        "commit": env.get("commit", ""),
        "versions": ", ".join(f"{k} {v}" for k, v in env.get("versions", {}).items()),
        "device": env.get("device", ""),
        "weights_sha256": facts["seal"].get("weights_after", ""),
    }


def _derived_row(manifest: Manifest, run: Mapping[str, Any], of: list[dict[str, Any]]) -> dict[str, Any]:
    """Build the row of a derived run: the values that its members share, else "several"."""
    shared = {k: v if all(row[k] == v for row in of) else "several" for k, v in of[0].items() if isinstance(v, str)}
    reason, state = unfinished(manifest, run), manifest.store.state(run["id"])
    env = run_facts(manifest.store, run["id"])["env"]
    what = {
        "tta": f"{of[0]['what']} · {_TTA_TITLES.get(run['name'], run['name'])}",
        "ensemble": f"mean of {len(of)} run{'s' if len(of) > 1 else ''}",
        "panel": f"{len(of)} networks, one finding each · seed {of[0]['seed']}",
    }
    return {
        **of[0],
        **shared,
        "family": of[0]["family"] if shared["family"] != "several" else "",
        "run_id": run["id"],
        "kind": run["kind"],
        "of": "; ".join(f"{row['name']} ({row['what']})" for row in of),
        "name": run["name"] if run["kind"] == "ensemble" else of[0]["name"],
        "what": what[run["kind"]],
        "state": "started" if reason and state == "done" else state,
        "reason": reason,
        "remark": "",
        "epochs": 0,
        "best_epoch": 0,
        "seconds": np.nan,
        "command": f"{manifest.content['command']} --only {run['id']}",
        "config": json.dumps({k: run[k] for k in ("kind", "name", "sources", "of")}, sort_keys=True),
        "commit": env.get("commit", ""),
        "versions": ", ".join(f"{k} {v}" for k, v in env.get("versions", {}).items()),
        "device": env.get("device", ""),
    }


def unlearnt_by(manifest: Manifest, run_ids: Sequence[str]) -> dict[str, list[str]]:
    """List by run id the findings with only one class in training; unknown for imported models."""
    foreign = {run["id"] for run in manifest.imported}
    known = {i: run_facts(manifest.store, i)["trained"].get("unlearnt", []) for i in run_ids if i not in foreign}
    return {run_id: names for run_id, names in known.items() if names}


def learns(
    manifest: Manifest, findings: Sequence[str], everyone: Sequence[str], scored: Sequence[str]
) -> dict[str, list[str]]:
    """List by run id the findings of each run that learns fewer than all, by configuration or by its training labels."""
    out = {}
    for run in manifest.runs:
        own = manifest.config(run).findings
        if run["id"] in everyone and run["id"] not in scored:
            unlearnt = run_facts(manifest.store, run["id"])["trained"].get("unlearnt", [])
            own = tuple(finding for finding in own if finding not in unlearnt)
        if len(own) < len(findings):
            out[run["id"]] = list(own)
    for run in manifest.imported:
        lacking = run_facts(manifest.store, run["id"])["trained"].get("unlearnt", [])
        if run["id"] in everyone and lacking:
            out[run["id"]] = [finding for finding in findings if finding not in lacking]
    return out


def ranked_ids(manifest: Manifest) -> list[str]:
    """Return the ids of the runs that are compared: scored runs of `manifest.ranked` with macros over the same findings."""
    ids = scored_ids(manifest, manifest.ranked)
    if len({manifest.config(run).findings for run in manifest.ranked if run["id"] in ids}) > 1:
        return ids  # nothing learns all: the page says that it compares findings
    return learning_most({i: run_facts(manifest.store, i)["trained"].get("unlearnt", []) for i in ids})


def learning_most(unlearnt: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the runs that learned the most findings; if several sets of findings tie, the runs of the most frequent set.

    A run's macro omits the findings that it could not learn, so its macro does not compare with those of runs that learned
    them. `unlearnt`: by run id, the findings with only one class in training.

    >>> learning_most({"a": [], "b": ["Edema"], "c": []})
    ['a', 'c']
    """
    missing = {run_id: tuple(sorted(names)) for run_id, names in unlearnt.items()}
    times = Counter(missing.values())
    chosen = min(times, key=lambda names: (len(names), -times[names], names), default=())
    return [run_id for run_id, names in missing.items() if names == chosen]
