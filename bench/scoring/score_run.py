"""Scores of one run: a pure function of its logits and the labels.

Thresholds and calibrators come from the internal validation split; they are applied unchanged everywhere.
Shapes: N images, K findings, B replicates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.scoring import curves, reliability, subgroups
from bench.scoring.bootstrap.resamples import FOR_DETAIL
from bench.scoring.confusion_and_delong import confusion_rows, delong_rows
from bench.scoring.gaps import decomposition as decompose
from bench.scoring.gaps import label_references as references
from bench.scoring.gaps.calibration_drift import drifts
from bench.scoring.gaps.gap import EXTERNAL, gaps, replicates_by_dataset
from bench.scoring.metrics_of_split import AUROC, Key, Measured, OperatingPoints, measure
from bench.scoring.score_rows import Writer, frame, macro, mean_of_macros
from bench.scoring.scored_split import ScoredSplit, Settings
from bench.scoring.thresholds import RULES
from harmonize.labels.findings import UNMAPPED_CODE
from reports.schemas.tables import SCHEMAS, SCORES


@dataclass(frozen=True, slots=True, eq=False)
class RunScores:
    """Tables of one run (columns as in reports.schemas.tables), and the replicates that comparisons between runs need.

    replicates: float64 [B] each, of macros: "auroc/<dataset>" (internal test and each hospital), "auroc/<internal>/expert_*",
    "auroc/external", "gap/<dataset>", "gap/external". "draws" uint32 [D] is equal for runs whose replicates can be paired.
    detail: the tables decomposition, references, subgroups and curves by name. measured: the splits in the order given, with
    all replicates.
    """

    scores: pd.DataFrame
    gaps: pd.DataFrame
    reliability: pd.DataFrame
    confusion: pd.DataFrame
    delong: pd.DataFrame
    operating_points: pd.DataFrame
    replicates: dict[str, NDArray[Any]]
    detail: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    measured: Sequence[Measured] = ()


def score_run(
    run_id: str,
    findings: Sequence[str],
    internal: str,
    scored_splits: Sequence[ScoredSplit],
    settings: Settings | None = None,
    num_threads: int = 1,
    unlearnt: Sequence[str] = (),
) -> RunScores:
    """Score all splits of a run: several of the cohort `internal`, one (headline) split of every other cohort.

    Findings in `unlearnt` (one class only in training) get no values. External macros use only findings that the internal test
    split scores, so that both compare. Finding "core" is the mean over the findings that internal test and every hospital
    score. Thresholds and calibrators need internal/val, gaps need internal/test; without them these values are NaN, and gaps
    have no rows. Values depend neither on num_threads nor, beyond rounding, on the order of the images.
    Raises ValueError for a repeated split, two splits of an external cohort, and logits that do not match the findings.
    """
    settings = settings or Settings()
    _check(findings, internal, scored_splits)
    scored_splits = [without(scored, unlearnt, findings) for scored in scored_splits]
    val = next((scored for scored in scored_splits if (scored.dataset, scored.split) == (internal, "val")), None)
    points = OperatingPoints.choose(val, len(findings), settings.min_count)
    measured = [measure(scored, None if scored is val else points, settings, num_threads) for scored in scored_splits]
    test = next((each for each in measured if (each.scored.dataset, each.scored.split) == (internal, "test")), None)
    external = [each for each in measured if each.scored.dataset != internal]
    common = (
        np.isfinite(test.value[AUROC]) if test else None
    )  # external macros use the findings of the internal test split
    counted = [common if each.scored.dataset != internal else None for each in measured]
    macros = [{key: macro(each, key, c) for key in each.value} for each, c in zip(measured, counted, strict=True)]
    external_macros = [found for each, found in zip(measured, macros, strict=True) if each.scored.dataset != internal]
    means = {
        key: mean_of_macros([found[key] for found in external_macros])
        for key in (external_macros[0] if external else ())
    }
    found_gaps = gaps(findings, test, external) if test else []

    writer = Writer(run_id, settings)
    for each, found in zip(measured, macros, strict=True):
        writer.add_split(findings, each, found)
    writer.add_external(external, means)
    writer.add_gaps([(Key("auroc_gap"), gap) for gap in found_gaps], external)
    if test and external:
        writer.add_core(test, external, np.all([np.isfinite(each.value[AUROC]) for each in (test, *external)], axis=0))
        writer.add_gaps(drifts(findings, test, external), external)
    gap_rows = [(run_id, *(getattr(gap, name) for name in SCHEMAS["gaps"][1:])) for gap in found_gaps]
    shown = [each for each in (test, *external) if each is not None]
    reliable = [row for each in shown for row in reliability.rows(run_id, findings, each, settings.bins)]

    replicates: dict[str, NDArray[Any]] = {
        f"auroc/{each.scored.dataset}": found[AUROC].replicates
        for each, found in zip(measured, macros, strict=True)
        if any(each is one for one in shown)
    }
    if external:
        replicates["auroc/external"] = means[AUROC].replicates
    replicates |= replicates_by_dataset(found_gaps)
    for each, found in zip(measured, macros, strict=True):
        if each.scored.dataset == internal and each.scored.split.startswith("expert_"):
            replicates[f"auroc/{each.scored.name}"] = found[AUROC].replicates
    experts = [each for each in measured if each.scored.dataset == internal and each.scored.split.startswith("expert_")]
    brief = {id(each): _first(each) for each in measured}
    others, read = ([brief[id(each)] for each in side] for side in (external, experts))
    made_of = (
        decompose.rows(run_id, findings, brief[id(test)], read, others, found_gaps, settings, num_threads)
        if test
        else []
    )
    against = references.rows(run_id, findings, [*([test] if test else []), *experts], external, found_gaps)
    fixed = points.threshold[list(RULES).index(settings.threshold)]
    subgroup_rows = [
        row for each in shown for row in subgroups.rows(run_id, findings, brief[id(each)], fixed, settings, num_threads)
    ]
    replicates["draws"] = np.array([each.resamples.digest for each in shown], np.uint32)
    return RunScores(
        frame(writer.rows, SCORES),
        frame(gap_rows, SCHEMAS["gaps"]),
        frame(reliable, SCHEMAS["reliability"]),
        frame([row for each in measured for row in confusion_rows(run_id, findings, each)], SCHEMAS["confusion"]),
        frame([row for each in measured for row in delong_rows(run_id, findings, each)], SCHEMAS["delong"]),
        points.frame(run_id, findings),
        replicates,
        {
            "decomposition": frame(made_of, SCHEMAS["decomposition"]),
            "references": frame(against, SCHEMAS["references"]),
            "subgroups": frame(subgroup_rows, SCORES),
            "curves": frame([row for each in shown for row in curves.rows(run_id, findings, each)], SCHEMAS["curves"]),
        },
        measured,
    )


def _first(measured: Measured) -> Measured:
    """Keep only the first FOR_DETAIL replicates, for the secondary tables."""
    resamples = measured.resamples.first(FOR_DETAIL)
    drawn = {key: each[:, : resamples.num] for key, each in measured.replicates.items()}
    return replace(measured, resamples=resamples, replicates=drawn)


def without(scored: ScoredSplit, unlearnt: Sequence[str], findings: Sequence[str]) -> ScoredSplit:
    """Mark some findings as unlabeled: those without training labels, or outside the report."""
    columns = [k for k, finding in enumerate(findings) if finding in unlearnt]
    if not columns:
        return scored

    def unlabelled() -> ScoredSplit:
        state = scored.state.copy()
        state[:, columns] = UNMAPPED_CODE
        return replace(scored, state=state)

    return scored.once(("without", *columns), unlabelled).of_run(scored.logit)


def _check(findings: Sequence[str], internal: str, scored_splits: Sequence[ScoredSplit]) -> None:
    names = [scored.name if scored.dataset == internal else scored.dataset for scored in scored_splits]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"more than one split of {', '.join(twice)}")
    for scored in scored_splits:
        if scored.logit.shape[1] != len(findings):
            raise ValueError(f"{scored.name}: {scored.logit.shape[1]} logits per image for {len(findings)} findings")
        if scored.dataset == EXTERNAL:
            raise ValueError(f'no cohort can be named "{EXTERNAL}": it stands for the mean over hospitals')
