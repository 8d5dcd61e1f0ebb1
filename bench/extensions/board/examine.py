"""Check a bundle for a board, line by line, and compute its headline numbers."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bench.config.registry import Registry
from bench.extensions.board.rules import Rules, division_of
from bench.extensions.board.submission import Number
from bench.extensions.bundles import verify as verifying
from bench.extensions.bundles.verify import OpenBundle
from bench.planning.imported_run import GOLDEN_TOLERANCE
from bench.planning.manifest import Manifest
from bench.results.read_predictions import SCORING_VERSION
from bench.results.report_tables import tables
from bench.results.score_runs import score_all
from harmonize.progress import Progress
from reports.formatting import known, plural
from reports.schemas.criterion import DEFAULT
from reports.schemas.exposure import NO, UNKNOWN
from reports.schemas.select import select
from reports.tables import Tables

OK, MISSING, NOTE = "ok", "missing", "note"


@dataclass(frozen=True, slots=True)
class CheckLine:
    """A line of the check: ok, missing (the submission is refused) or note, what was checked, and the result as a sentence."""

    state: str
    what: str
    text: str


@dataclass(frozen=True, slots=True)
class Examination:
    """A bundle that was checked for a board. Its files exist until the block of `examined` ends."""

    opened: OpenBundle
    lines: tuple[CheckLine, ...]
    division: str
    reasons: tuple[str, ...]  # why the division is not closed
    tables: Tables  # tables of its report
    numbers: tuple[Number, ...]  # highest AUROC first; also of recipes that had seen an external hospital

    @property
    def missing(self) -> list[CheckLine]:
        """Return the lines because of which the submission is refused."""
        return [line for line in self.lines if line.state == MISSING]


@contextlib.contextmanager
def examined(bundle: Path, rules: Rules, registry: Registry, progress: Progress) -> Iterator[Examination]:
    """Open a bundle, compute every number again, and check it against the rules of a board.

    A bundle of an older scoring version is only scored again, because its numbers cannot be compared. Raises StoreError if the bundle is
    damaged, or if a number differs; what the board asks for and the bundle lacks is a line of the result.
    """
    with verifying.opened(bundle, registry, older=True) as opened:
        manifest = opened.manifest
        if opened.about["scoring"] == SCORING_VERSION:
            rows, exact = verifying.verify(opened, progress)
            how = "exactly" if exact else "up to rounding"
            numbers = f"{rows:,} rows of scores computed again from logits and labels: all agree {how}"
        else:
            score_all(manifest, progress)
            numbers = f"scored again, because scoring version {opened.about['scoring']} is older than this one"
        runs = list(manifest.run_of.values())
        lines = [
            CheckLine(OK, "bundle", "form, checksums, run ids and hashes are right"),
            CheckLine(
                OK,
                "cells",
                f"{plural(len(runs), 'run')} at {len(manifest.cohorts)} hospitals, every cell has logits and scores",
            ),
            CheckLine(OK, "numbers", numbers),
        ]
        for what, problems in rules.problems(manifest).items():
            lines += [CheckLine(MISSING, what, problem) for problem in problems] or [
                CheckLine(OK, what, "as the board requires")
            ]
        contradictions = passport_problems(manifest)
        lines += [CheckLine(MISSING, "passport", text) for text in contradictions]
        lines += [] if contradictions else [CheckLine(OK, "passport", text) for text in passports(manifest)]
        lines += _golden(manifest)
        collected = tables(manifest)
        found = numbers_of(manifest, collected)
        lines += _ranking(found)
        division, reasons = division_of(rules, manifest, registry)
        yield Examination(opened, tuple(lines), division, tuple(reasons), collected, found)


def _ranking(numbers: Sequence[Number]) -> Iterator[CheckLine]:
    """Yield a line for each recipe that is not ranked, and one if there is no number at all."""
    if not numbers:
        what = "no run can be shown: no macro AUROC at the external hospitals could be computed"
        yield CheckLine(MISSING, "ranking", what)
    for number in numbers:
        if number.seen:
            what = f"it had seen, or may have seen, {', '.join(number.seen)}"
            yield CheckLine(NOTE, "ranking", f"{number.recipe}: shown, but not ranked: {what}")


def _unranked(frames: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the external macro AUROC of each recipe that had seen an external hospital, or may have seen one."""
    exposure, scores = frames["exposure"], frames["scores"]
    exposed = exposure[exposure["answer"] != NO]["run_id"]
    external = select(scores, dataset="external")
    return external[external["value"].notna() & external["run_id"].isin(exposed)]


def numbers_of(manifest: Manifest, collected: Tables) -> tuple[Number, ...]:
    """Return the headline numbers of the recipes of a report, highest AUROC first.

    A recipe that had seen an external hospital, or may have seen one, has the names of these hospitals in `seen`.
    """
    frames = collected.frames
    if "ranks" not in frames:
        return ()
    ranks = DEFAULT.rows(frames["ranks"])
    columns = ["run_id", "value", "low", "high"]
    ranks = pd.concat([table for table in (ranks[columns], _unranked(frames)[columns]) if len(table)] or [ranks])
    answers = frames["exposure"]
    runs, gaps = frames["runs"].set_index("run_id"), frames["gaps"]
    gaps = gaps[(gaps["dataset"] == "external") & (gaps["finding"] == "macro")].set_index("run_id")
    out = []
    for row in ranks.sort_values("value", ascending=False, kind="stable").to_dict("records"):
        recipe = str(row["run_id"])
        of_gap = gaps.loc[recipe] if recipe in gaps.index else pd.Series(dtype=float)
        bounds = [
            known(value) for value in (row["low"], row["high"], *(of_gap.get(k) for k in ("value", "low", "high")))
        ]
        seeds = frames["recipes"]
        ids = tuple(map(str, seeds[seeds["recipe_id"] == recipe]["run_id"])) or (recipe,)
        low, high, gap, gap_low, gap_high = bounds
        title = _title(manifest, runs, recipe)
        seen = answers[(answers["run_id"] == recipe) & (answers["answer"] != NO)]["dataset"]
        out.append(Number(title, float(row["value"]), low, high, gap, gap_low, gap_high, ids, tuple(map(str, seen))))
    return tuple(out)


def _title(manifest: Manifest, runs: pd.DataFrame, recipe: str) -> str:
    """Return the name of a recipe: architecture, optimizer, loss and label policy, because other bundles vary them.

    The settings that vary in its own bundle, such as the algorithm, come last; then the seed of a single run.
    """
    row = runs.loc[recipe]
    first = next((run for run in manifest.runs if recipe in (run.id, f"{run.id}-seeds")), None)
    if first is None:  # an imported model, or a panel
        return str(row["name"])
    parts = [str(row["name"]), *(str(first.titles[key]) for key in ("optimizer", "loss", "uncertainty"))]
    own = manifest.names[first.id]
    seeds = [f"seed {seed}" for seed in own.seeds if recipe == first.id]
    return ", ".join(dict.fromkeys([*parts, *filter(None, own.settings.values()), *seeds]))


def _golden(manifest: Manifest) -> Iterator[CheckLine]:
    """Yield a line for each imported model: whether its outputs were compared with golden outputs before it was tested."""
    if not manifest.imported:
        yield CheckLine(OK, "golden", "not needed: no model was trained elsewhere")
    for run in manifest.imported:
        found = run.passport.get("golden")
        if found is None:
            yield CheckLine(NOTE, "golden", f"{run.name}: none given, so no outputs of its owner were compared")
            continue
        difference = f"{found['difference']:.2g} of their standard deviation"
        if found["difference"] > GOLDEN_TOLERANCE:
            text = f"the outputs differ from the golden outputs by {difference}, more than {GOLDEN_TOLERANCE}"
            yield CheckLine(MISSING, "golden", f"{run.name}: {text}")
        else:
            size = f"{plural(found['images'], 'image')}, {plural(found['outputs'], 'output')} each"
            yield CheckLine(OK, "golden", f"{run.name}: golden outputs compared ({size}): equal up to {difference}")


def passports(manifest: Manifest) -> list[str]:
    """Return the data exposure of the runs of a bundle as sentences, each once."""
    source = manifest.source
    out = []
    for run in manifest.runs:
        start = run.config.weights
        before = "random weights" if start == "none" else f"weights {start}, trained on {run.corpus or 'unknown data'}"
        out.append(f"trained on the split train of {source}, from {before}")
    for run in manifest.imported:
        facts = run.passport
        data = ", ".join([*facts["cohorts"], *facts["others"]]) or "no data set of this project"
        licence, before = facts["licence"], facts["pretraining"]
        out.append(f"{run.name}: trained on {data}; pretraining {before}; licence of the weights {licence}")
    return list(dict.fromkeys(out))


def passport_problems(manifest: Manifest) -> list[str]:
    """Return the contradictions in the data exposure that a bundle states; [] if there is none.

    The facts come from the passport, the list of cohorts, and the numbers of listed training images, if there are any.
    """
    out = []
    for run in manifest.imported:
        passport = run.passport
        declared = set(passport["cohorts"])
        seen = {c.name for c in manifest.cohorts if {c.name, c.layout} & declared}
        out += [
            f"{run.name}: {cohort} is training data, but the passport states that it was not seen"
            for cohort in sorted(seen - set(passport["seen"]))
        ]
        answers = passport.get("answers", {})
        out += [
            f"{run.name}: {cohort} is training data, but the answer there is {answers[cohort]['answer']}"
            for cohort in sorted(declared & set(answers))
            if answers[cohort]["answer"] in (NO, UNKNOWN)
        ]
        out += _listed(run.name, answers)
    for run in manifest.runs:
        out += _listed(f"run {run.id}", run.exposure)
    return out


def _listed(name: str, answers: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return a sentence for each hospital that a passport calls unseen although a list of training images has some of it."""
    return [
        f"{name}: the passport states that {cohort} was not seen, but {row['listed']} of its images are in the id list"
        for cohort, row in answers.items()
        if row.get("answer") == "no" and row.get("listed")
    ]


def id_list_problems(manifest: Manifest, key: pd.DataFrame, lists: Mapping[str, Sequence[str]]) -> list[str]:
    """Compare lists of training ids with the scored images. Return a sentence for each passport that a list contradicts.

    `key`: the key file of the bundle. `lists`: cohort -> ids of images or patients that a model was trained on.
    """
    out = []
    for cohort, ids in lists.items():
        own = key[key["cohort"] == cohort]
        found = int((own["image_id"].isin(set(ids)) | own["patient_id"].isin(set(ids))).sum())
        external = cohort != manifest.source
        unseen = [run for run in manifest.imported if found and cohort not in run.passport["seen"]]
        out += [
            f"{run.name}: the passport states that {cohort} was not seen, but {found} of its scored images are in"
            " the id list"
            for run in unseen
        ]
        if found and external and manifest.runs:
            what = f"{found} scored images of {cohort} are in the id list"
            out += [f"{what}, but a trained run has seen no external image"]
    return out
