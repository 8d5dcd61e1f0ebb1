"""Registrations of a grid: what they contain, and how the report differs from them.

`bench.extensions.registration.registrations` has the files. A registration has the plan that `bench run` makes from grid and data, before any
prediction at an external hospital exists: run ids (which cover configuration, versions of registry entries and training
cohort), hospitals with the ids of their tables, findings, metrics, and all settings of scoring.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import Any

from bench.config.run_config import differing
from bench.config.run_names import RunName
from bench.extensions.registration.hypotheses import LONGEST, LONGEST_NAME, MOST, in_words
from bench.extensions.registration.registrations import Registration, registered, registered_by_hash
from bench.planning.manifest import Manifest
from bench.planning.planned_grid import IMPORTED
from bench.results.cohort_tables import findings_of
from bench.results.read_predictions import SCORING_VERSION
from bench.results.run_table import RunRecords
from bench.scoring.metrics_of_split import BUILT_IN, DECIDING
from harmonize.errors import StoreError
from reports.schemas.criterion import DEFAULT

SCHEMA = 1  # version of the content of a registration
MOST_ROWS = 20  # maximum number of differences of one kind that are listed
_TEXTS = ("grid", "title", "date", "version", "commit", "command", "amends")
_KEYS = {*_TEXTS, "schema", "scoring", "phantom", "plan", "hypotheses"}
_SETTINGS = {  # key of a plan -> its name in a list of differences
    "mapping": "label mapping",
    "reading": "reading of uncertain and unmentioned labels",
    "unit": "unit of scores",
    "min_count": "min_count (patients with and without a finding)",
    "threshold": "threshold rule",
    "bins": "bins of the calibration error",
    "num_resamples": "bootstrap resamples",
    "ranked_by": "ranking",
    "calibrator": "calibrator",
}
_LISTS = ("runs", "derived", "hospitals", "findings", "metrics")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_HASH = re.compile(r"[0-9a-f]{64}")
Row = dict[str, str]  # a difference: field, registered (a value, "" for none) and reported


def plan_of(manifest: Manifest, run_ids: Collection[str] | None = None) -> dict[str, Any]:
    """Return the plan of a grid, as a registration has it, from the grid's manifest.

    `run_ids`: only these runs; None for all. A bundle has new ids of its cohort tables; the plan has the original ids.
    """
    settings = manifest.settings
    runs, derived = (
        [run for run in own if run_ids is None or run.id in run_ids] for own in (manifest.runs, manifest.derived)
    )
    names = RunName.among([run.flat_config for run in runs])
    return {
        "runs": [
            {"id": run.id, "name": str(name), "config": differing(run.config)}
            for run, name in zip(runs, names, strict=True)
        ],
        "derived": [{"id": run.id, "kind": run.kind, "name": run.name} for run in derived],
        "hospitals": [
            {
                "name": cohort.name,
                "role": cohort.role,
                "table": cohort.origin or cohort.id,
                "headline_split": cohort.headline_split,
            }
            for cohort in manifest.cohorts
        ],
        "findings": findings_of(manifest),
        "metrics": [*BUILT_IN, *(f"{entry.name} (version {entry.version})" for entry in settings.custom_metrics)],
        "ranked_by": ", ".join(DEFAULT),
        "calibrator": DECIDING,
        **{
            key: getattr(settings, key)
            for key in ("mapping", "reading", "unit", "min_count", "threshold", "bins", "num_resamples")
        },
    }


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Row]:
    """Return the differences of two plans, one row for each: field, registered and reported ("" if there is no value).

    >>> plans = [{"findings": ["Edema", finding], "min_count": 5} for finding in ("Mass", "Hernia")]
    >>> [tuple(row.values()) for row in differences(*plans)]
    [('finding', 'Mass', ''), ('finding', '', 'Hernia')]
    """
    rows: list[Row] = []
    for key, field in (("runs", "run"), ("derived", "combination of runs"), ("hospitals", "hospital")):
        key_of = "name" if key == "hospitals" else "id"
        old, new = ({item[key_of]: item for item in plan.get(key, ())} for plan in (before, after))
        if key == "hospitals":  # a hospital keeps its name if `bench merge --rename` gave its table another one
            own_names = {item["table"]: name for name, item in old.items()}
            new = {own_names.get(item["table"], name): item for name, item in new.items()}
        kinds = {item.get("kind") for item in new.values()}
        missing = [_label(item) for name, item in old.items() if name not in new]
        added = [item for name, item in new.items() if name not in old]
        own, imported = ([i for i in added if (i.get("kind") == IMPORTED) is is_own] for is_own in (False, True))
        rows += _limited(field, missing, [_label(item) for item in own])
        if IMPORTED in kinds:
            rows += _limited("model trained elsewhere", [], [_label(item) for item in imported])
        for name in old.keys() & new.keys() if key == "hospitals" else ():
            for part, title in (("role", "role"), ("table", "id of the table"), ("headline_split", "scored split")):
                rows += _changed(f"{title} of {name}", old[name][part], new[name][part])
    for key, field in (("findings", "finding"), ("metrics", "metric")):
        old_names, new_names = (list(plan.get(key, ())) for plan in (before, after))
        rows += _limited(
            field, [n for n in old_names if n not in new_names], [n for n in new_names if n not in old_names]
        )
    for key, field in _SETTINGS.items():
        rows += _changed(field, before.get(key, ""), after.get(key, ""))
    return rows


def changed_hypotheses(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Return the differences of two lists of hypotheses; hypotheses with equal names are compared."""
    old, new = ({str(item["name"]): item for item in items} for items in (before, after))
    rows: list[Row] = []
    for name in dict.fromkeys([*old, *new]):
        texts = [_hypothesis(items[name]) if name in items else "" for items in (old, new)]
        rows += _changed(f"hypothesis {name}", *texts)
    return rows


def _hypothesis(item: Mapping[str, Any]) -> str:
    asked = in_words(item["question"], {})
    return f"{item['statement']} ({asked})" if asked else str(item["statement"])


def _label(item: Mapping[str, Any]) -> str:
    if "table" in item:
        return str(item["name"])
    return f"{item['kind']} {item['name']} ({item['id']})" if "kind" in item else f"{item['name']} ({item['id']})"


def _changed(field: str, old: object, new: object) -> list[Row]:
    return [] if old == new else [{"field": field, "registered": str(old), "reported": str(new)}]


def _limited(field: str, missing: Sequence[str], added: Sequence[str]) -> list[Row]:
    """Return the rows of missing and of added items, at most MOST_ROWS of each; a last row counts the others."""
    rows = []
    for column, items in (("registered", missing), ("reported", added)):
        shown = [*items[:MOST_ROWS], *([f"and {len(items) - MOST_ROWS} more"] if len(items) > MOST_ROWS else [])]
        rows += [{"field": field, "registered": "", "reported": "", column: item} for item in shown]
    return rows


def chains(manifest: Manifest) -> list[tuple[str, list[Registration], list[str] | None]]:
    """Return the registrations of a grid: for each bundle that brought some, or for the grid itself.

    Each entry has the file name of the bundle ("" for a grid of this store), its registrations, the first one first, and
    the ids of the bundle's runs (None for a grid of this store). Scores under another name (`bench score --as`) have the
    registrations of the grid that was scored again. Raises StoreError if a registration is damaged, changed or missing.
    """
    store, bundles = manifest.store, manifest.bundles
    if bundles is not None:
        # a bundle that is being read has no bundles yet
        return [
            (bundle.file, [registered_by_hash(store, sha256) for sha256 in hashes], list(bundle.run_ids))
            for bundle in bundles
            if (hashes := bundle.extras.get("registrations"))
        ]
    name = manifest.scored_from or manifest.name
    chain = registered(store, name)
    known = manifest.extras.get("registration")
    if known and known not in {registration.sha256 for registration in chain}:
        where = str(store.root / "registrations" / f"{name}.json")
        fix = "restore the file from a copy, such as the one that you published"
        raise StoreError(f"the grid was registered with the hash {known}, but this registration is missing", where, fix)
    for registration in chain:
        if problem := form_problem(registration.content):
            fix = "read it with the version that wrote it"
            raise StoreError(problem, str(store.root / "registrations"), fix)
    return [("", chain, None)] if chain else []


def page_facts(manifest: Manifest, records: RunRecords) -> list[dict[str, Any]]:
    """Return what the page shows about the registrations of a grid: a dict for each chain; [] without a registration.

    Keys: bundle; date, sha256, version and commit of the last registration; amended (the earlier registrations: date,
    sha256, and their changes); plan (lists of names, and settings); deviations (see `differences`); hypotheses.
    """
    facts = []
    for bundle, chain, run_ids in chains(manifest):
        last = chain[-1]
        content, reported = last.content, plan_of(manifest, run_ids)
        deviations = differences(content["plan"], reported) + _unscored(content["plan"], records)
        facts.append(
            {
                "bundle": bundle,
                "sha256": last.sha256,
                **{key: str(content[key]) for key in ("grid", "date", "version", "commit")},
                "amended": [
                    {"date": old.content["date"], "sha256": old.sha256, "changes": amendments(old, new)}
                    for old, new in pairwise(chain)
                ],
                "plan": {
                    **{key: [str(item["name"]) for item in content["plan"][key]] for key in ("runs", "hospitals")},
                    **{key: list(content["plan"][key]) for key in ("findings", "metrics")},
                    **{name: str(content["plan"][key]) for key, name in _SETTINGS.items()},
                },
                "deviations": deviations + _versions(content, records, run_ids),
                "hypotheses": [_shown(item, content["plan"]) for item in content["hypotheses"]],
            }
        )
    return facts


def remarks(manifest: Manifest) -> list[str]:
    """Return lines for the user who runs a registered grid: the hash, and how plan and registration differ; [] without one.

    Raises StoreError if a registration is damaged or changed.
    """
    chain = registered(manifest.store, manifest.name)
    if not chain:
        return []
    rows = differences(chain[-1].content["plan"], plan_of(manifest))
    changes = [f"  {row['field']}: {row['registered'] or 'none'} -> {row['reported'] or 'none'}" for row in rows]
    state = "the page will list these deviations:" if changes else "the plan is as registered"
    return [f"registered on {chain[-1].content['date']} ({chain[-1].sha256}): {state}", *changes]


def amendments(before: Registration, after: Registration) -> list[Row]:
    """Return the differences of two registrations of a grid: of their plans and of their hypotheses."""
    old, new = before.content, after.content
    return differences(old["plan"], new["plan"]) + changed_hypotheses(old["hypotheses"], new["hypotheses"])


def _shown(item: Mapping[str, Any], plan: Mapping[str, Any]) -> dict[str, Any]:
    names = {item["id"]: item["name"] for item in plan["runs"]}
    return {**{k: item[k] for k in ("name", "statement", "question")}, "asked": in_words(item["question"], names)}


def _unscored(plan: Mapping[str, Any], records: RunRecords) -> list[Row]:
    """Return a row for each registered run that is in the grid but has no scores."""
    rows = [
        (_label(item), records[item["id"]].reason or "no scores")
        for item in (*plan["runs"], *plan["derived"])
        if item["id"] in records and not records[item["id"]].is_scored
    ]
    return [{"field": "run without scores", "registered": run, "reported": reason} for run, reason in rows[:MOST_ROWS]]


def _versions(content: Mapping[str, Any], records: RunRecords, run_ids: Collection[str] | None) -> list[Row]:
    """Return the differences between the registered versions of the program and those that made runs and scores."""
    env = [
        record.facts.get("env", {})
        for run_id, record in records.items()
        if record.is_scored and (run_ids is None or run_id in run_ids)
    ]
    versions = sorted({str(e["versions"]["unseen-cxr"]) for e in env if "unseen-cxr" in e.get("versions", {})})
    commits = sorted({str(e["commit"]) for e in env if e.get("commit")})
    rows = _changed("version of scoring", content["scoring"], SCORING_VERSION)
    if versions:
        rows += _changed("version of Unseen that made the runs", content["version"], ", ".join(versions))
    if commits:
        rows += _changed("commit that made the runs", content["commit"], ", ".join(commits))
    return rows


def form_problem(content: Mapping[str, Any]) -> str:
    """Return what is wrong with the content of a registration that somebody else wrote; "" if nothing is.

    Keys, types, dates and hashes are checked. Texts are checked as those of every bundle.
    """
    if set(content) != _KEYS or content["schema"] != SCHEMA:
        return "its registration has missing or unknown keys, or another schema"
    plan, hypotheses = content["plan"], content["hypotheses"]
    if not all(isinstance(content[key], str) for key in _TEXTS) or not _DATE.fullmatch(content["date"]):
        return "its registration has a text or a date that is invalid"
    if content["amends"] and not _HASH.fullmatch(content["amends"]):
        return "its registration amends an invalid hash"
    if not isinstance(plan, dict) or set(plan) != {*_LISTS, *_SETTINGS}:
        return "the registered plan has missing or unknown keys"
    named: list[tuple[Any, tuple[str, ...]]] = [(item, ("name", "id")) for item in (*plan["runs"], *plan["derived"])]
    named += [(item, ("name", "role", "table", "headline_split")) for item in plan["hospitals"]]
    named += [(item, ("name", "statement")) for item in hypotheses]
    texts = [item.get(key) if isinstance(item, dict) else None for item, keys in named for key in keys]
    if not all(isinstance(text, str) for text in (*texts, *plan["findings"], *plan["metrics"])):
        return "the registered plan has an invalid name"
    if len(hypotheses) > MOST or any(
        len(item["name"]) > LONGEST_NAME
        or len(item["statement"]) > LONGEST
        or set(item) != {"name", "statement", "check", "question"}
        or not _is_question(item["question"])
        for item in hypotheses
    ):
        return "a registered hypothesis is invalid"
    return ""


_QUESTION = {  # kind of a question -> its keys, besides kind, metric, at and finding
    "pair": {"higher", "lower"},
    "factor": {"factor", "higher", "lower"},
    "gap": {"sign"},
    "recipe_gap": {"sign", "runs"},
}


def _is_question(question: object) -> bool:
    """Return whether a value is what a check asks for, as `bench.extensions.registration.hypotheses` writes it."""
    if question == {}:
        return True
    if not isinstance(question, dict) or question.get("kind") not in _QUESTION:
        return False
    keys = _QUESTION[question["kind"]]
    ids = keys & ({"higher", "lower"} if question["kind"] == "pair" else {"runs"})
    texts = set(question) - ids
    return (
        set(question) == {"kind", "metric", "at", "finding", *keys}
        and all(isinstance(question[key], str) for key in texts)
        and all(isinstance(question[key], list) and all(isinstance(i, str) for i in question[key]) for key in ids)
        and question.get("sign", "above") in ("above", "below")
    )
