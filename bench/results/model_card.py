"""Build a run's model card from the store alone and write it into the run's folder (MODEL_CARD.md)."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Self

import jinja2
import pandas as pd
import yaml

from bench.planning.manifest import Manifest, planned
from bench.planning.planned_grid import PlannedRun
from bench.planning.run import read_run
from bench.planning.stored_names import find_run
from bench.results.card_metadata import hub_metadata
from bench.results.read_predictions import has_scores, scored_ids, unfinished
from bench.results.run_table import run_label
from bench.results.stored_runs import training_remark
from bench.runs.elsewhere import PageTables, at_new_hospital, elsewhere, worth_of
from bench.store.checked_folders import CARD, CheckedFolder, ScoresFolder
from bench.store.store import Store, write_bytes
from bench.system.disclaimer import TRAINED_ON_SYNTHETIC
from harmonize.cohorts.hospital_names import SYNTHETIC_NOTICE
from harmonize.errors import StoreError
from reports.formatting import DASH, number, with_interval
from reports.html.markdown import escaped
from reports.html.section import environment as html_environment
from reports.schemas.select import select
from reports.sentences.data import UNIT_RULES
from reports.tables import rows_of

_RULES = ["f1_max", "youden", "sens_90"]


class GridFacts(NamedTuple):
    """What all cards of a grid share: tables of its page, and the number of images and patients of each cohort."""

    page: PageTables
    sizes: Mapping[str, tuple[int, int]]

    @classmethod
    def of(cls, manifest: Manifest) -> Self:
        """Read the tables and count. Raises StoreError for damaged tables."""
        patients = {c.name: manifest.table(c)["patient_id"] for c in (*manifest.cohorts, *manifest.pooled)}
        return cls(PageTables.of(manifest), {name: (len(ids), ids.nunique()) for name, ids in patients.items()})


def write_cards(manifest: Manifest) -> None:
    """Write the card of every finished and scored run of a grid; unchanged files are not rewritten."""
    scored = set(scored_ids(manifest, list(manifest.run_of.values())))
    grid_facts = GridFacts.of(manifest)
    for run in manifest.run_of.values():
        if run.id in scored and not run.is_imported:
            path = manifest.store.run_dir(run.id) / CARD
            content = card(manifest, run, grid_facts).encode()
            if not path.is_file() or path.read_bytes() != content:
                write_bytes(path, content)


def write_card(store: Store, run_prefix: str, grid: str | None) -> Path:
    """Write the card of the run whose id begins with `run_prefix`; return its path.

    Raises StoreError for a run that is missing, unfinished or not scored, and for an imported model.
    """
    run_id = find_run(store, run_prefix)
    manifest, run = planned(store, run_id, grid)
    if run.is_imported:
        read_run(store, run_id)  # raises StoreError for a model that was trained elsewhere
    if reason := unfinished(manifest, run) or ("" if has_scores(manifest, run_id) else "it has no scores"):
        fix = "finish it with `bench run`, score it with `bench score`"
        raise StoreError(f"run {run_id}: {reason}", str(store.run_dir(run_id)), fix)
    path = store.run_dir(run_id) / CARD
    write_bytes(path, card(manifest, run).encode())
    return path


@cache
def _template() -> jinja2.Template:
    """Return the template of a card, compiled once for all cards; its text is Markdown, so HTML is not escaped."""
    environment = html_environment().overlay(autoescape=False, keep_trailing_newline=True)
    return environment.get_template("model_card.md.j2")


def card(manifest: Manifest, run: PlannedRun, grid_facts: GridFacts | None = None) -> str:
    """Build the card of a scored run: model, limits of use, training data, results. `grid_facts` is read if it is not given."""
    page, sizes = grid_facts or GridFacts.of(manifest)
    store, config = manifest.store, run.config
    facts = CheckedFolder(store.run_dir(run.id)).facts()
    folder = ScoresFolder(manifest.scores / run.id)
    scores, gaps, points = (folder.table(name) for name in ("scores", "gaps", "operating_points"))
    unlearnt = facts["trained"].get("unlearnt", [])
    # a panel has no network for a finding that it could not learn, so it does not predict this finding
    predicted = [f for f in config.findings if f not in unlearnt] if run.kind == "panel" else config.findings
    scored = manifest.scored_findings(run)
    return _template().render(
        run=run,
        name=run_label(run),
        metadata=yaml.safe_dump(hub_metadata(manifest, run, scores), sort_keys=False, allow_unicode=True),
        children=any(cohort.of_children for cohort in manifest.external_to(run)),
        synthetic=f"{TRAINED_ON_SYNTHETIC} {SYNTHETIC_NOTICE}" if manifest.phantom else "",
        predicted=predicted,
        internal=manifest.internal_name(run).title,
        unlearnt=unlearnt,
        made=_made(manifest, run, facts),
        data=_data(manifest, run, sizes),
        min_count=manifest.settings.min_count,
        unit_rule=UNIT_RULES[manifest.settings.unit],
        hospitals=_hospitals(manifest, run),
        aurocs=_aurocs(manifest, run, [f for f in predicted if f in scored], scores, gaps, page),
        new_hospital=at_new_hospital(page, run.id),
        rules=_RULES,
        thresholds=_thresholds(points, [f for f in scored if f not in unlearnt]),
    )


def _made(manifest: Manifest, run: PlannedRun, facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (title, value) rows that describe configuration, training, cost and versions of the run."""
    if run.kind:
        return _combined(manifest, run, facts)
    config = run.config
    env = facts["env"]
    cost = facts["cost"]
    trained = facts["trained"]
    start = run.titles.get("weights", config.weights)
    if config.weights != "none":
        origin = manifest.store.read_json(run.id[:2], run.id, "run.json").get("weights", "")
        start = f"{start} ({origin}; licence: {run.licence or 'not stated'})"
    versions = ", ".join(f"{name} {version}" for name, version in sorted(env.get("versions", {}).items()))
    rows = {
        "architecture": run.titles["architecture"],
        "starting weights": start,
        **{
            key: run.titles.get(key, "")
            for key in ("preprocessing", "augmentation", "optimizer", "loss", "uncertainty")
        },
        "settings": ", ".join(f"{k} {v}" for k, v in config.settings.items() if k not in run.titles),
        "epoch chosen": f"{trained.get('best_epoch', '?')}, {'the last' if config.selection == 'last' else f'by AUROC on {config.schedule.select_on}'}",
        "training": training_remark(manifest.store, run.id),
        "size": _size(cost, f"at {cost['image_size']} px") if cost else "",
        "SHA-256 of the weights": facts["seal"].get("weights_after", ""),
        "commit, versions": f"{env.get('commit') or 'unknown'}; {versions}",
        "trained on": env.get("device", ""),
        "made again by": f"`{manifest.command}`",
    }
    return [(key, escaped(value) if key != "made again by" else str(value)) for key, value in rows.items() if value]


def _size(cost: Mapping[str, Any], of: str) -> str:
    left_out = f" (without {', '.join(cost['not_counted'])})" if cost["not_counted"] else ""
    return f"{cost['params'] / 1e6:.2f} million parameters, {cost['macs'] / 1e9:.3f} GMACs {of}{left_out}"


def _combined(manifest: Manifest, run: PlannedRun, facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (title, value) rows that describe a TTA, an ensemble or a panel: its networks, views, cost and weights."""
    cost, env = facts["cost"], facts["env"]
    chosen = facts["trained"].get("chosen", {})
    networks = [row for row in manifest.runs if row.id in (chosen.values() or run.of)]
    licences = dict.fromkeys(str(row.licence or "not stated") for row in networks if row.config.weights != "none")
    document = CheckedFolder(manifest.store.run_dir(run.id)).json("run.json")
    if run.kind == "ensemble" and any(row.id == run.sources[0] for row in manifest.derived):
        # an ensemble of TTAs has the views of its first TTA
        document = CheckedFolder(manifest.store.run_dir(run.sources[0])).json("run.json")
    views = [f"{'mirrored, ' if mirrored else ''}rotated by {degrees:g}°" for mirrored, degrees in document["views"]]
    rows = {
        "kind": {"tta": "test-time augmentation (TTA)"}.get(run.kind, run.kind),
        "networks": "; ".join(_member(row) for row in networks),
        "views of the image": "; ".join(views),
        "licences of the starting weights": ", ".join(licences),
        "size": _size(cost, "for one image") if cost else "",
        "SHA-256 of the weights": facts["seal"].get("weights_after", ""),
        "commit": env.get("commit") or "unknown",
        "made again by": f"`{manifest.command}`",
    }
    return [(key, escaped(value) if key != "made again by" else str(value)) for key, value in rows.items() if value]


def _member(run: PlannedRun) -> str:
    """Return one network of a combination as text: architecture, run id, finding or seed, and its source of training labels."""
    finding, source = run.config.finding, run.config.label_source
    labels = "" if source == "default" else f", labels of {source}"
    return f"{run.titles['architecture']} (run {run.id}, {finding or f'seed {run.config.seed}'}{labels})"


def _data(manifest: Manifest, run: PlannedRun, sizes: Mapping[str, tuple[int, int]]) -> list[tuple[str, ...]]:
    """Return a row for each hospital on which the run trained, and for each external hospital."""
    rows: list[tuple[str, ...]] = []
    trained_at = manifest.trained_at(run)
    for cohort in (*trained_at, *manifest.external_to(run)):
        facts = cohort.facts
        synthetic = manifest.phantom
        labeler = "phantom" if synthetic else str(facts.get("reference", "stated"))
        licence = manifest.licence(cohort) or "not stated"
        title = manifest.hospital(cohort).title
        if not synthetic and title != facts.get("title", title):  # the user chose the name
            title = f"{title} ({facts['title']})"
        role = "internal: train, val, test" if cohort in trained_at else f"external: {cohort.headline_split}"
        num_images, num_patients = sizes[cohort.name]
        rows.append((escaped(title), role, f"{num_images:,}", f"{num_patients:,}", labeler, escaped(licence)))
    return rows


def _hospitals(manifest: Manifest, run: PlannedRun) -> list[str]:
    """Return the names of the columns with AUROCs: the internal test split, and each external hospital of the run."""
    external = [escaped(manifest.hospital(cohort).short) for cohort in manifest.external_to(run)]
    return [f"{escaped(manifest.internal_name(run).short)} test", *external]


def _aurocs(
    manifest: Manifest,
    run: PlannedRun,
    findings: Sequence[str],
    scores: pd.DataFrame,
    gaps: pd.DataFrame,
    page: PageTables,
) -> list[tuple[str, ...]]:
    """Return one row of AUROCs per finding, and one for their macro mean: the columns `_hospitals`, the mean gap, the verdict."""
    interval, auroc = ("value", "low", "high"), dict[tuple[str, str, str], str]()
    plain = select(scores, finding=None)
    for dataset, split, finding, *of_cell in rows_of(plain, "dataset", "split", "finding", *interval):
        at = split if dataset == manifest.source else ""  # an external hospital has one split
        auroc.setdefault((dataset, at, finding), with_interval(*of_cell))
    external = gaps[gaps["dataset"] == "external"]
    gap = {finding: with_interval(*of_gap) for finding, *of_gap in rows_of(external, "finding", *interval)}
    columns = [(manifest.source, "test"), *((cohort.name, "") for cohort in manifest.external_to(run))]
    worth = {row["finding"]: worth_of(row) for row in elsewhere(manifest, run.id, page).to_dict("records")}
    rows = []
    for finding in (*findings, "macro"):
        title = "mean" if finding == "macro" else escaped(finding)
        cells = [auroc.get((*column, finding), DASH) for column in columns]
        rows.append((title, *cells, gap.get(finding, DASH), worth.get(finding, DASH)))
    return rows


def _thresholds(points: pd.DataFrame, findings: Sequence[str]) -> list[tuple[str, ...]]:
    """Return a row for each finding with its thresholds by the rules _RULES."""
    threshold = {(finding, rule): value for finding, rule, value in rows_of(points, "finding", "rule", "probability")}
    return [(escaped(f), *(number(threshold.get((f, rule))) for rule in _RULES)) for f in findings]
