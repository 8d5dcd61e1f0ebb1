"""Check a bundle for a board, line by line, and compute its headline numbers. Submissions, decisions and the site share this check."""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.config.registry import Registry
from bench.extensions.board.copies import Earlier, Fingerprint
from bench.extensions.board.rules import Rules, division_of
from bench.extensions.board.submission import Number, is_latin
from bench.extensions.bundles import verify as verifying
from bench.extensions.bundles.archive import check_is_file
from bench.extensions.bundles.kept import kept
from bench.extensions.reproduction.record import headline
from bench.planning.imported_run import GOLDEN_TOLERANCE
from bench.planning.manifest import Manifest
from bench.results.read_predictions import SCORING_VERSION, load_scored_splits
from bench.scoring.scored_split import count
from bench.store.checked_folders import ScoresFolder
from harmonize.datasets import TABLE
from harmonize.progress import Progress
from reports.formatting import known, plural
from reports.schemas.criterion import DEFAULT
from reports.schemas.exposure import NO, UNKNOWN
from reports.schemas.select import select
from reports.tables import Tables

_OTHER_NAMES = {
    "nih": ("chestxray", "cxr8", "cxr14", "nationalinstitutesofhealth"),
    "vindr": ("vinbig", "vindr", "vingroup"),
    "mimic": ("mimic", "bethisrael", "bidmc"),
    "chexpert": ("chexpert", "stanford"),
    "padchest": ("padchest", "bimcv"),
}
OK, MISSING, NOTE = "ok", "missing", "note"
_PASSED = {
    "tables": "those of the first accepted submission, if there is one",
    "copies": "no run of another submission",
    "runs": "no run or hospital is given twice",
}


@dataclass(frozen=True, slots=True)
class CheckLine:
    """A line of the check: ok, missing (the submission is refused) or note, what was checked, and the result as a sentence."""

    state: str
    what: str
    text: str


@dataclass(frozen=True, slots=True)
class Examination:
    """What the check of a bundle for a board has found. The files of its manifest's store are gone."""

    bundle: str  # its id
    manifest: Manifest
    lines: tuple[CheckLine, ...]
    division: str
    reasons: tuple[str, ...]  # why the division is not closed
    numbers: tuple[Number, ...]  # highest AUROC first; also of recipes that are not ranked
    content: Fingerprint
    # recipe, hospital, AUROC with its bounds, answer to what the model had seen of the hospital
    hospitals: tuple[tuple[str, str, tuple[float, float, float], str], ...]
    headlines: Mapping[str, pd.DataFrame]  # id of a trained run -> its headline scores
    tables: Tables  # of its report

    def beside(self, earlier: Earlier) -> tuple[CheckLine, ...]:
        """Return the lines, and those of a comparison with the `earlier` submissions of a board."""
        return (*self.lines, *_lines_of(earlier.problems(self.bundle, self.content)))


def examined(bundle: Path, rules: Rules, registry: Registry, progress: Progress) -> tuple[Examination, bool]:
    """Compute every number of a bundle again and check it against the rules of a board; or return what an earlier call kept.

    Return also whether the result was kept: see `bench.extensions.bundles.kept`. The numbers of an older scoring version are
    computed again, but cannot be compared. Raises StoreError if the bundle is damaged, or if a number differs; what the board
    asks for and the bundle lacks is a line of the result.
    """
    check_is_file(bundle)
    compute = partial(_computed, bundle, rules, registry, progress)
    return kept(registry, ["examination", SCORING_VERSION, repr(rules)], compute, bundle)


def _computed(bundle: Path, rules: Rules, registry: Registry, progress: Progress) -> Examination:
    from bench.results.report_tables import tables  # a slow import, which a kept result does not need

    with verifying.opened(bundle, registry, older=True) as opened:
        manifest = opened.manifest
        rows, exact = verifying.verify(opened, progress)
        how = "exactly" if exact else "up to rounding"
        numbers = f"{rows:,} rows of scores computed again from logits and labels: all agree {how}"
        if opened.about["scoring"] != SCORING_VERSION:
            numbers = f"scored again, because scoring version {opened.about['scoring']} is older than this one"
        counts = f"{plural(len(manifest.run_of), 'run')} at {len(manifest.cohorts)} hospitals"
        lines = [CheckLine(OK, "bundle", "form, checksums, run ids and hashes are right")]
        lines.append(CheckLine(OK, "cells", f"{counts}, every cell has logits and scores"))
        lines.append(CheckLine(OK, "numbers", numbers))
        content = Fingerprint.of(manifest)
        lines += _lines_of(rules.problems(manifest) | {"runs": content.repeated(manifest)})
        unreadable = [(plural(each.unreadable, "image"), each.name) for each in manifest.cohorts if each.unreadable]
        lines += [
            CheckLine(NOTE, "tables", f"{images} of {name} could not be read, as the submitter states")
            for images, name in unreadable
        ]
        contradictions = passport_problems(manifest)
        lines += [CheckLine(MISSING, "passport", text) for text in contradictions]
        lines += [] if contradictions else [CheckLine(OK, "passport", text) for text in passports(manifest)]
        lines += _golden(manifest)
        collected = tables(manifest)
        found = numbers_of(manifest, collected)
        lines += _ranking(found)
        division, reasons = division_of(rules, manifest, registry)
        places = tuple(_hospitals(manifest, collected, found))
        headlines = {run.id: headline(ScoresFolder(manifest.scores / run.id).table("scores")) for run in manifest.runs}
        why = tuple(reasons)
        return Examination(
            opened.id, manifest, tuple(lines), division, why, found, content, places, headlines, collected
        )


def _lines_of(problems: Mapping[str, Sequence[str]]) -> Iterator[CheckLine]:
    """Yield a line for each problem, and one for each check without problems."""
    for what, sentences in problems.items():
        yield from (CheckLine(MISSING, what, sentence) for sentence in sentences)
        if not sentences:
            yield CheckLine(OK, what, _PASSED.get(what, "as the board requires"))


def _hospitals(
    manifest: Manifest, collected: Tables, numbers: Sequence[Number]
) -> Iterator[tuple[str, str, tuple[float, float, float], str]]:
    """Yield recipe, title of the hospital, macro AUROC with its bounds, and answer, for each row and hospital."""
    titles, chosen = manifest.titles, select(collected.frames["scores"])
    splits = {c.name: c.headline_split for c in manifest.external}
    for number in numbers:
        answers = manifest.exposure(manifest.run_of[number.runs[0]])
        recipe = {*number.runs} if len(number.runs) == 1 else {f"{number.runs[0]}-seeds"}
        for row in chosen[chosen["run_id"].isin(recipe)].to_dict("records"):
            if splits.get(row["dataset"]) == row["split"]:
                bounds = (float(row["value"]), float(row["low"]), float(row["high"]))
                yield number.recipe, titles[row["dataset"]], bounds, str(answers[row["dataset"]]["answer"])


def _ranking(numbers: Sequence[Number]) -> Iterator[CheckLine]:
    """Yield a line for each recipe that is not ranked, and one if there is no number at all."""
    if not numbers:
        what = "no run can be shown: no macro AUROC at the external hospitals could be computed"
        yield CheckLine(MISSING, "ranking", what)
    for number in numbers:
        if why := number.unranked:
            yield CheckLine(NOTE, "ranking", f"{number.recipe}: shown, but not ranked: {why}")


def numbers_of(manifest: Manifest, collected: Tables) -> tuple[Number, ...]:
    """Return the headline numbers of the recipes of a report, highest AUROC first.

    A recipe that had seen an external hospital, or may have seen one, has the names of these hospitals in `seen`. A recipe without
    a score for a finding that the labels of a hospital allow has this finding in `missing`: its mean is over other findings.
    """
    frames = collected.frames
    if "ranks" not in frames:
        return ()
    ranks = DEFAULT.rows(frames["ranks"])
    answers, external = frames["exposure"], select(frames["scores"], dataset="external")
    exposed = answers[answers["answer"] != NO]["run_id"]
    unranked = external[external["value"].notna() & external["run_id"].isin(exposed)]
    columns = ["run_id", "value", "low", "high"]
    ranks = pd.concat([table for table in (ranks[columns], unranked[columns]) if len(table)] or [ranks])
    runs, gaps = frames["runs"].set_index("run_id"), frames["gaps"]
    gaps = gaps[(gaps["dataset"] == "external") & (gaps["finding"] == "macro")].set_index("run_id")
    allowed = _scorable(manifest)
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
        missing = tuple(sorted({f for place, f in allowed - _scored(frames["scores"], recipe)}))
        numbers = (float(row["value"]), low, high, gap, gap_low, gap_high)
        out.append(Number(title, *numbers, ids, tuple(map(str, seen)), missing))
    return tuple(out)


def _scorable(manifest: Manifest) -> set[tuple[str, str]]:
    """Return the pairs (external hospital, finding) that the labels allow to score there and on the internal test split."""
    run = max(manifest.run_of.values(), key=lambda run: len(run.config.findings))
    found: dict[str, set[str]] = {}
    for split in load_scored_splits(manifest, run, run.config, {}):
        patient = pd.factorize(split.patient_id)[0].astype(np.int32)
        available = count(split.labels(), patient, manifest.settings.min_count).available
        if split.dataset != manifest.source or split.split == "test":
            names = {finding for finding, known in zip(run.config.findings, available, strict=True) if known}
            found[split.dataset] = found.get(split.dataset, set()) | names
    internal = found.pop(manifest.source, set())
    return {(name, finding) for name, findings in found.items() for finding in findings & internal}


def _scored(scores: pd.DataFrame, recipe: str) -> set[tuple[str, str]]:
    """Return the pairs (hospital, finding) for which a recipe has an AUROC."""
    rows = select(scores[scores["run_id"] == recipe], finding=None)
    rows = rows[rows["value"].notna()]
    return set(zip(rows["dataset"], rows["finding"], strict=True))


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

    The facts come from the passport, the list of cohorts, and the numbers of listed training images, if there are any. Other
    training data and pretraining count as a hospital if they name it, such as "NIH ChestX-ray14", in Latin letters.
    """
    out = []
    for run in manifest.imported:
        passport, answers = run.passport, run.passport.get("answers", {})
        texts = (*passport["cohorts"], *passport["others"], passport.get("pretraining", ""))
        if foreign := [mark for mark in "".join(texts) if mark.isalpha() and not is_latin(mark)]:
            out.append(f"{run.name}: the training data have {foreign[0]!r}: write them with Latin letters")
        layouts = {**dict.fromkeys(answers, ""), **{cohort.name: cohort.layout for cohort in manifest.cohorts}}
        for name, layout in layouts.items():
            seen = name in passport["seen"]
            is_training = any(_names(text, name, layout) for text in texts)
            answer = answers.get(name, {}).get("answer")
            if is_training and not seen and answer in (None, NO, UNKNOWN):
                out.append(f"{run.name}: {name} is training data, but the passport states that it was not seen")
            elif (is_training or seen) and answer in (NO, UNKNOWN):
                out.append(f"{run.name}: {name} is training data, but the answer there is {answer}")
        out += _listed(run.name, answers)
    for run in manifest.runs:
        out += _listed(f"run {run.id}", run.exposure)
    return out


def _names(text: str, name: str, layout: str) -> bool:
    """Return whether a text names a hospital: by its name, its layout, or another name of this data set.

    >>> _names("NIH ChestX-ray14", "nih", "nih"), _names("our clinic", "nih", "nih")
    (True, False)
    """
    words = re.findall("[a-z0-9]+", unicodedata.normalize("NFKC", text).casefold())
    names = {"".join(re.findall("[a-z0-9]+", own.casefold())) for own in (name, layout)} - {TABLE, ""}
    return bool(names & {*words, "".join(words)}) or any(
        alias in "".join(words) for name in names for alias in _OTHER_NAMES.get(name, ())
    )


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
