"""Build the table of runs: configuration, differences from the other runs, and state."""

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from bench.config.run_config import NAMED
from bench.config.run_names import RunName
from bench.planning.imported_run import FORMATS
from bench.planning.manifest import Manifest
from bench.planning.planned_grid import IMPORTED, PlannedRun
from bench.results.read_predictions import has_scores, unfinished
from bench.results.stored_runs import training_remark
from bench.store.checked_folders import FILE as CHECKSUMS
from bench.store.checked_folders import CheckedFolder
from bench.store.store import State
from reports.schemas.exposure import IMAGES, TEXT, UNKNOWN

LONGEST_MEMBERS = 60  # maximum number of characters for the members' names in the title of an ensemble
# columns of a run that was not trained in this grid
_NOT_TRAINED = {"remark": "", "epochs": 0, "best_epoch": 0, "gradient_evaluations": np.nan, "seconds": np.nan}
_TTA_TITLES = {"four_views": "TTA, four views", "three_views": "TTA, three views"}


def run_title(manifest: Manifest, run: PlannedRun) -> str:
    """Return the title of a run with its differences from the other runs of the grid: "DenseNet-121 · SAM · seed 0".

    The title of a TTA or an ensemble names its members: "both (mean of DenseNet-121 seeds 0, 1)".
    """
    name = manifest.names.get(run.id)
    if name:
        return str(name)
    if run.kind == "tta":
        return f"{members(manifest, run)}, {_TTA_TITLES.get(run.name, run.name)}"
    return f"{run.name} ({_mean_of(manifest, run)})" if run.kind == "ensemble" else run_label(run)


def members(manifest: Manifest, derived: PlannedRun) -> str:
    """Return the names of the trained runs that a derived run combines: "DenseNet-121 seeds 0, 1"."""
    return RunName.joined([manifest.names[run_id] for run_id in derived.of])


def _mean_of(manifest: Manifest, ensemble: PlannedRun) -> str:
    """Return "mean of " and the names of an ensemble's members, or their number if the names exceed LONGEST_MEMBERS."""
    names = members(manifest, ensemble)
    return f"mean of {names if len(names) <= LONGEST_MEMBERS else f'{len(ensemble.of)} runs'}"


def run_label(run: PlannedRun) -> str:
    """Return a label that depends on no other run: "DenseNet-121", or "DenseNet-121, TTA, four views".

    The label of an ensemble named "both" is "both (mean of 2 runs)". The label of an imported model named "Our CNN" is
    "Our CNN (trained elsewhere)".
    """
    own, kind = run.titles["architecture"], run.kind
    if kind == IMPORTED:
        return f"{run.name} (trained elsewhere)"
    if kind == "tta":
        return f"{own}, {_TTA_TITLES.get(run.name, run.name)}"
    return f"{run.name} ({'mean' if kind == 'ensemble' else 'panel'} of {len(run.of)} runs)" if kind else own


def read_history(manifest: Manifest, run_id: str) -> pd.DataFrame:
    """Read the training history of a run; return an empty table if the file is missing or damaged."""
    folder = manifest.store.run_dir(run_id)
    path = folder / "history.parquet"
    if path.is_file() and not {path.name, CHECKSUMS} & set(CheckedFolder(folder).problems()):
        return CheckedFolder(folder).table(path.name)
    return pd.DataFrame(columns=["epoch", "val_auroc", "seconds"])


def histories(manifest: Manifest) -> dict[str, pd.DataFrame]:
    """Return {run id: training history} of every run of the grid; histories of derived runs are empty."""
    return {run_id: read_history(manifest, run_id) for run_id in manifest.run_of}


@dataclass(frozen=True, slots=True)
class RunRecord:
    """The state of a run and its recorded facts."""

    state: State
    reason: str  # why the run cannot be scored; "" if it can be scored
    is_scored: bool
    facts: Mapping[str, Any]  # content of env.json, cost.json, seal.json and trained.json, see CheckedFolder.facts


RunRecords = Mapping[str, RunRecord]  # run id -> record


def read_records(manifest: Manifest) -> dict[str, RunRecord]:
    """Return {run id: record} of all runs of a grid, with trained, derived and imported runs."""
    records = {}
    for run in manifest.run_of.values():
        reason = unfinished(manifest, run)
        facts = CheckedFolder(manifest.store.run_dir(run.id)).facts()
        is_scored = not reason and has_scores(manifest, run.id)
        records[run.id] = RunRecord(manifest.store.state(run.id), reason, is_scored, facts)
    return records


def runs_table(manifest: Manifest, history: Mapping[str, pd.DataFrame], records: RunRecords) -> pd.DataFrame:
    """Build the table `runs`: one row per run of the grid, also for failed runs; trained runs come first.

    `history`: the result of `histories`. `records`: the result of `read_records`.
    """
    ranked = {run.id for run in manifest.ranked}
    in_panels = {run_id for run in manifest.derived if run.kind == "panel" for run_id in run.of}
    rows = []
    for run in manifest.runs:
        record, epochs = records[run.id], history[run.id]
        reason, facts = record.reason, record.facts
        only_in_panel = run.id in in_panels and run.id not in ranked
        note = ""
        if only_in_panel and not reason:
            note = f"learns only {run.config.finding}: part of a panel, see the panel's row"
        exposed = manifest.exposed(run)
        if exposed and not reason:
            note = _not_unseen(manifest, run, exposed)
        config, titles = run.config, run.titles
        rows.append(
            {
                **_state_and_software(manifest, run, record),
                "kind": "run",
                "of": "",
                "name": titles["architecture"],
                "family": run.family,
                **{k: getattr(config, k) for k in (*NAMED, "seed", "train_on")},
                **_history(run),
                "what": manifest.names[run.id].differences,
                "reason": reason or note,
                "remark": training_remark(manifest.store, run.id),
                "epochs": len(epochs),
                "best_epoch": facts["trained"].get("best_epoch", len(epochs)),
                "gradient_evaluations": float(facts["trained"].get("gradient_evaluations", np.nan)),
                "seconds": float(epochs["seconds"].sum()) if len(epochs) else np.nan,
                "command": f"{manifest.command} --only {run.id}",
                "config": json.dumps(asdict(config), sort_keys=True),
                "weights_sha256": facts["seal"].get("weights_after", ""),
            }
        )
    trained = {row["run_id"]: row for row in rows}
    derived = [
        _external_row(manifest, run, records[run.id])
        if run.is_imported
        else _derived_row(manifest, run, records[run.id], [trained[i] for i in run.of])
        for run in manifest.derived
    ]
    return pd.DataFrame(rows + derived)


def recipe_rows(recipes: Mapping[str, Sequence[str]], runs: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of recipes for the table `runs`.

    recipes: recipe id -> run ids. runs: the result of `runs_table`. The row of a recipe has the values that its runs
    share, "several" for text in which the runs differ, and means of epochs, seconds and gradient evaluations.
    """
    row_of: dict[str, dict[Any, Any]] = {str(row["run_id"]): row for row in runs.to_dict("records")}
    rows = []
    for recipe, run_ids in recipes.items():
        of = [row_of[run_id] for run_id in run_ids]
        seeds = dict.fromkeys(row["seed"] for row in of)
        means = {
            name: float(np.mean([row[name] for row in of])) for name in ("epochs", "seconds", "gradient_evaluations")
        }
        rows.append(
            {
                **of[0],
                **_common_texts(of),
                **means,
                "run_id": recipe,
                "kind": "recipe",
                "of": f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}",
                "what": " · ".join(
                    part for part in str(of[0]["what"]).split(" · ") if not part.startswith(("seed ", "without "))
                ),
                "state": "done",
                "reason": "",
                "remark": of[0]["remark"] if all(row["remark"] == of[0]["remark"] for row in of) else "",
                "best_epoch": 0,
                "date": max(row["date"] for row in of),
                "command": f"{of[0]['command'].rpartition(' --only ')[0]}",
                "config": _without_seed(str(of[0]["config"])),
                "weights_sha256": "",
            }
        )
    return pd.DataFrame(rows, columns=list(runs.columns))


def _common_texts(rows: Sequence[Mapping[Any, Any]]) -> dict[str, str]:
    """Return {column: the text that all rows share, or "several"}."""
    return {k: v if all(row[k] == v for row in rows) else "several" for k, v in rows[0].items() if isinstance(v, str)}


def _state_and_software(manifest: Manifest, run: PlannedRun, record: RunRecord) -> dict[str, Any]:
    """Return the columns that trained, derived and imported runs have alike."""
    env, done = record.facts["env"], manifest.store.run_dir(run.id) / "DONE"
    has_date = done.is_file() and not manifest.of_bundles  # a bundle does not state when its runs were finished
    return {
        "run_id": run.id,
        "state": "started" if record.reason and record.state == "done" else record.state,
        "reason": record.reason,
        "date": time.strftime("%Y-%m-%d", time.gmtime(done.stat().st_mtime)) if has_date else "",  # UTC
        "commit": env.get("commit", ""),
        "versions": ", ".join(f"{k} {v}" for k, v in env.get("versions", {}).items()),
        "device": env.get("device", ""),
    }


def _history(run: PlannedRun) -> dict[str, str]:
    """Return the columns on the data and the license of starting weights; "" for random weights.

    Given vectors, and a network that loads its own weights, have no starting weights in the grid, but an exposure.
    """
    if run.config.weights != "none":
        return {"corpus": run.corpus, "weights_licence": run.licence}
    own = bool(run.exposure)
    return {"corpus": (run.corpus or UNKNOWN) if own else "", "weights_licence": run.licence if own else ""}


def _without_seed(config: str) -> str:
    return json.dumps({k: v for k, v in json.loads(config).items() if k not in ("seed", "leave_out")}, sort_keys=True)


def _external_row(manifest: Manifest, run: PlannedRun, record: RunRecord) -> dict[str, Any]:
    """Return the row of an imported model: the facts that its owner declares, and the grid's cohorts on which it was trained."""
    passport, config = run.passport, run.config
    titles = {c.name: str(c.facts.get("title", c.name)) for c in manifest.cohorts}
    seen_cohorts = [titles.get(name, name) for name in passport["seen"]]
    unknown = [name for name in manifest.exposed(run) if name not in passport["seen"]]
    what = [f"had seen {', '.join(seen_cohorts)}"] if seen_cohorts else []
    if unknown:
        what.append(f"may have seen {', '.join(titles.get(name, name) for name in unknown)}")
    what += [f"stated: {key} {text}" for key, text in passport.get("stated", {}).items()]
    return {
        **_state_and_software(manifest, run, record),
        **_NOT_TRAINED,
        "kind": IMPORTED,
        "of": FORMATS[passport["format"]],
        "name": run.name,
        "family": "",
        **{k: getattr(config, k) for k in (*NAMED, "seed")},
        "train_on": ", ".join([*passport["cohorts"], *passport["others"]]),
        "corpus": passport["pretraining"],
        "weights_licence": passport["licence"],
        "what": ", ".join(["trained elsewhere", *what]),
        "command": f"bench evaluate --model MODEL.yaml --grid {manifest.name}",
        "config": json.dumps({"name": run.name, **passport}, sort_keys=True),
        "weights_sha256": record.facts["seal"].get("weights_after", ""),
    }


def _not_unseen(manifest: Manifest, run: PlannedRun, exposed: Sequence[str]) -> str:
    """Return why a run is not ranked: its starting weights, or the run itself, had seen external hospitals, or may have."""
    answers = manifest.exposure(run)
    words = {UNKNOWN: "may have seen", IMAGES: "had seen images of", TEXT: "had seen images and reports of"}
    parts = []
    for answer in dict.fromkeys(answers[name]["answer"] for name in exposed):
        names = [manifest.titles[name] for name in exposed if answers[name]["answer"] == answer]
        parts.append(f"{words.get(answer, 'had seen images and labels of')} {', '.join(names)}")
    subject = "starting weights" if run.config.weights != "none" else "encoder"
    return f"not ranked: the {subject} {'; '.join(parts)}"


def _derived_row(manifest: Manifest, run: PlannedRun, record: RunRecord, of: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the row of a derived run: values that its runs share, and "several" for text in which its runs differ.

    `of`: rows of the trained runs that the derived run combines.
    """
    shared = _common_texts(of)
    first_name = manifest.names[of[0]["run_id"]]
    left_out = {key: value for key, value in run.config.settings.items() if key == "leave_out"}
    settings = [manifest.names[row["run_id"]].settings for row in of]
    common = [v for k, v in settings[0].items() if v and k != "finding" and all(own[k] == v for own in settings)]
    chosen = record.facts["trained"].get("chosen", {})
    what = {
        "tta": " · ".join(filter(None, [of[0]["what"], _TTA_TITLES.get(run.name, run.name)])),
        "ensemble": _mean_of(manifest, run) if run.kind == "ensemble" else "",
        "panel": " · ".join(
            [
                *common,
                f"{len(chosen or of)} networks, one finding each",
                *filter(None, [_label_sources(manifest, chosen)]),
                *(f"seed {seed}" for seed in first_name.seeds),
            ]
        ),
    }
    return {
        **of[0],
        **shared,
        **_state_and_software(manifest, run, record),
        **_NOT_TRAINED,
        "family": of[0]["family"] if shared["family"] != "several" else "",
        "kind": run.kind,
        "of": members(manifest, run),
        "name": run.name if run.kind == "ensemble" else of[0]["name"],
        "what": what[run.kind],
        "command": f"{manifest.command} --only {run.id}",
        "config": json.dumps(
            {k: getattr(run, k) for k in ("kind", "name", "sources", "of")} | left_out, sort_keys=True
        ),
    }


def _label_sources(manifest: Manifest, chosen: Mapping[str, str]) -> str:
    """Return which label source each finding of a panel has: "chexbert for Edema; visualchexbert for Pneumonia".

    `chosen`: finding -> id of its run; {} gives "".
    """
    findings: dict[str, list[str]] = {}
    for finding, run_id in chosen.items():
        findings.setdefault(manifest.run_of[run_id].config.label_source, []).append(finding)
    return "; ".join(f"{source} for {', '.join(names)}" for source, names in findings.items())


def unlearnt_by(manifest: Manifest, run_ids: Sequence[str], records: RunRecords) -> dict[str, list[str]]:
    """Return {run id: scored findings that the run could not learn}.

    A run cannot learn a finding if the finding is present in all training images, or absent in all. Runs that could
    learn all findings are left out. Imported models are left out, too, because their training is unknown.
    """
    imported = {run.id for run in manifest.imported}
    by_run = {i: unlearnt(manifest, records[i].facts) for i in run_ids if i not in imported}
    return {run_id: names for run_id, names in by_run.items() if names}


def unlearnt(manifest: Manifest, facts: Mapping[str, Any]) -> list[str]:
    """Return the scored findings that a run did not learn, according to its facts (the result of `CheckedFolder.facts`)."""
    stated = facts["trained"].get("unlearnt", [])
    uncounted = manifest.uncounted(stated)
    return [finding for finding in stated if finding not in uncounted]


def learns(
    manifest: Manifest, findings: Sequence[str], all_ids: Sequence[str], scored: Sequence[str], records: RunRecords
) -> dict[str, list[str]]:
    """Return {run id: learned findings} of the runs that do not learn all `findings` of the grid.

    A run does not learn a finding if its configuration leaves the finding out, or if the finding has the same label in
    all training images; for a trained run that is ranked, only the configuration counts. `all_ids`: ids of the runs
    with scores. `scored`: ids of the ranked runs.
    """
    out = {}
    for run in manifest.runs:
        own = manifest.scored_findings(run)
        if run.id in all_ids and run.id not in scored:
            not_learned = unlearnt(manifest, records[run.id].facts)
            own = tuple(finding for finding in own if finding not in not_learned)
        if len(own) < len(findings):
            out[run.id] = list(own)
    for run in manifest.imported:
        not_learned = unlearnt(manifest, records[run.id].facts)
        if run.id in all_ids and not_learned:
            out[run.id] = [finding for finding in findings if finding not in not_learned]
    return out


def ranked_ids(manifest: Manifest, records: RunRecords) -> list[str]:
    """Return the ids of the runs to rank: scored runs of `manifest.ranked` with macros over the same findings."""
    ids = [run.id for run in manifest.ranked if records[run.id].is_scored]
    if len({manifest.scored_findings(run) for run in manifest.ranked if run.id in ids}) > 1:
        # `manifest.ranked` has runs with different findings only if no run learns all findings. Then all runs are
        # ranked, and a note on the page says that the runs learn different findings.
        return ids
    return runs_with_most_findings({i: unlearnt(manifest, records[i].facts) for i in ids})


def runs_with_most_findings(unlearnt: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the ids of the runs that learned the most findings.

    If runs learned different sets with this number of findings, return the runs of the most frequent set. The macro of
    a run omits findings that the run could not learn, and macros over different findings cannot be compared.
    `unlearnt`: run id -> findings that the run could not learn.

    >>> runs_with_most_findings({"a": [], "b": ["Edema"], "c": []})
    ['a', 'c']
    """
    missing = {run_id: tuple(sorted(names)) for run_id, names in unlearnt.items()}
    num_runs = Counter(missing.values())
    fewest = min(num_runs, key=lambda names: (len(names), -num_runs[names], names), default=())
    return [run_id for run_id, names in missing.items() if names == fewest]
