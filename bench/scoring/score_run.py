"""Computation of all scores of one run from its logits and the labels.

Thresholds and calibrators are fitted on the internal validation split and applied unchanged to all other splits.
Shapes: N images, K findings, P patients.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.config.settings import Settings
from bench.scoring import curves, subgroups
from bench.scoring.confusion_and_delong import confusion_rows, delong_rows
from bench.scoring.gaps import decomposition, label_references
from bench.scoring.gaps.gap import EXTERNAL, drifts, estimates_by_dataset, gaps
from bench.scoring.gaps.hospital_means import findings_of_means, hospital_macros
from bench.scoring.influence import Estimate, Influence
from bench.scoring.means import Macro, macro, mean_of_macros
from bench.scoring.metrics_of_split import AUROC, Key, OperatingPoints, SplitMetrics
from bench.scoring.pooled_hospitals import measure_hospitals
from bench.scoring.score_rows import Writer, frame
from bench.scoring.scored_split import ScoredSplit, without
from bench.scoring.smooth_calibration import reliability_rows
from bench.scoring.thresholds import RULES
from reports import extensions, hooks
from reports.schemas.select import select
from reports.schemas.tables import SCHEMAS, SCORES

# metrics by which runs can be ranked, in addition to AUROC, its gap, and custom metrics
RANKING_METRICS = (Key("auprc"), Key("ece", "platt"))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class RunScores:
    """Tables of one run (columns as in reports.schemas.tables), and the estimates that comparisons between runs need.

    estimates: name -> a macro with the influences of patients on it: "auroc/<dataset>" (internal test split and
    each hospital), "auroc/<internal>/test:<hospital>" (only for a pool: each of its hospitals), "auroc/<internal>/expert_*",
    "auroc/external", "gap/<dataset>", "gap/external", "<metric>/<dataset>" of the metrics in `RANKING_METRICS`, of extensions and
    of custom metrics, and "auroc/external/<finding>" (of a finding, not a macro). Scores of the
    same patients (`Sample.key`) can be compared in pairs. detail: name -> table, with the tables
    decomposition, references, subgroups, curves, probabilities, and tables of extensions. measured: the metrics of each split, in
    the order of `scored_splits`.
    """

    scores: pd.DataFrame
    gaps: pd.DataFrame
    reliability: pd.DataFrame
    confusion: pd.DataFrame
    delong: pd.DataFrame
    operating_points: pd.DataFrame
    estimates: dict[str, Estimate]
    detail: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    measured: Sequence[SplitMetrics] = ()

    def without_hospitals(self, hospitals: Collection[str]) -> "RunScores":
        """Return the scores without some external hospitals, and without the means over all of them."""
        left_out = {*hospitals, EXTERNAL}

        def kept(table: pd.DataFrame) -> pd.DataFrame:
            return table[~table["dataset"].isin(left_out)].reset_index(drop=True) if "dataset" in table else table

        return replace(
            self,
            **{name: kept(getattr(self, name)) for name in ("scores", "gaps", "reliability", "confusion", "delong")},
            estimates={
                name: self.estimates[name] for name in self.estimates if left_out.isdisjoint(name.split("/")[1:])
            },
            detail={name: kept(table) for name, table in self.detail.items()},
            measured=[split for split in self.measured if split.scored.dataset not in left_out],
        )

    def __repr__(self) -> str:
        """Return the number of scores."""
        return f"{len(self.scores):,} scores"

    def _repr_html_(self) -> str:
        """Return the macro AUROCs with their intervals, as the table that a notebook shows."""
        columns = ["dataset", "split", "value", "low", "high", "num_findings"]
        table: str = select(self.scores)[columns].to_html(index=False, float_format="{:.3f}".format)
        return f"<p>Macro AUROC, 95 % interval</p>{table}"


@dataclass(frozen=True, slots=True, eq=False)
class RunMetrics:
    """All metrics of a run: what an extension computes its tables of scores from.

    val: the internal validation split, on which thresholds and calibrators are fitted. test: the internal test split. external:
    the headline split of each external hospital. used: mask [K] of the findings in external macros, none without a mean;
    None without an external hospital.
    """

    run_id: str
    findings: Sequence[str]
    settings: Settings
    val: ScoredSplit | None
    points: OperatingPoints
    test: SplitMetrics | None
    external: Sequence[SplitMetrics]
    used: NDArray[np.bool_] | None

    @property
    def headline(self) -> list[SplitMetrics]:
        """Return the splits on the page: the internal test split, if there is one, and those of external hospitals."""
        return [*([self.test] if self.test else []), *self.external]


def score_run(
    run_id: str,
    findings: Sequence[str],
    internal: str,
    scored_splits: Sequence[ScoredSplit],
    settings: Settings | None = None,
    unlearned: Sequence[str] = (),
) -> RunScores:
    """Compute all scores of a run, from several splits of the cohort `internal` and one split of every other cohort.

    Findings in `unlearned` get no values: the run could not learn them, because all training images had the same label.
    Macros of external hospitals, their mean and the gaps are over the same findings (`gaps.hospital_means`).
    Means over external hospitals leave out hospitals of children, unless all hospitals are.
    Without the split `val` of the internal cohort, thresholds and calibrators are NaN. Without the split `test` of the
    internal cohort, there are no gaps. If the internal cohort is a pool, its scores are means over its hospitals, and each
    hospital also has a split of its own, such as "test:mimic". The order of the images changes values only by rounding
    errors.
    Raises ValueError for a repeated split, two splits of an external cohort, logits that do not match the findings, and
    a cohort named "external".
    """
    settings = settings or Settings()
    _check(findings, internal, scored_splits)
    scored_splits = [without(scored, unlearned, findings) for scored in scored_splits]
    val = next((scored for scored in scored_splits if (scored.dataset, scored.split) == (internal, "val")), None)
    points = OperatingPoints.choose(val, len(findings), settings.min_count)
    measured: list[SplitMetrics] = []  # each split
    of_hospitals: list[SplitMetrics] = []  # each hospital in the splits of a pool
    for scored in scored_splits:
        of_split, *parts = measure_hospitals(scored, None if scored is val else points, settings)
        measured.append(of_split)
        of_hospitals += parts
    test = next((split for split in measured if (split.scored.dataset, split.scored.split) == (internal, "test")), None)
    hospitals = [split for split in measured if split.scored.dataset != internal]
    # means over external hospitals leave out hospitals of children, unless all are
    external = [split for split in hospitals if not split.scored.of_children] or hospitals
    apart = [split for split in hospitals if split not in external]
    used = findings_of_means(test, external)
    inside = np.isfinite(test.value[AUROC]) if test else None
    external_macros = _by_split(external, lambda key: hospital_macros(key, external, used, inside))
    macros_of = dict(zip(map(id, external), external_macros, strict=True))
    macros_of_split = [
        macros_of.get(id(split)) or {key: macro(split, key, inside if split in apart else None) for key in split.value}
        for split in measured
    ]
    split_and_macros = list(zip(measured, macros_of_split, strict=True))
    means = {
        key: mean_of_macros(key, [macros[key] for macros in external_macros], used)
        for key in (external_macros[0] if external else ())
    }
    auroc_gaps = gaps(findings, test, external, used=used) if test else []
    gaps_apart = [gap for split in apart if test for gap in gaps(findings, test, [split]) if gap.dataset != EXTERNAL]

    writer = Writer(run_id, settings)
    for split, macros in split_and_macros:
        writer.add_split(findings, split, macros)
    macros_of_hospitals = [{key: macro(split, key) for key in split.value} for split in of_hospitals]
    for split, macros in zip(of_hospitals, macros_of_hospitals, strict=True):
        writer.add_split(findings, split, macros)
    writer.add_external(external, means)
    writer.add_gaps([(Key("auroc_gap"), gap) for gap in auroc_gaps], external)
    writer.add_gaps([(Key("auroc_gap"), gap) for gap in gaps_apart], apart)
    if test and external:
        writer.add_gaps(drifts(findings, test, external), external)
    gap_rows = [(run_id, *(getattr(gap, name) for name in SCHEMAS["gaps"][1:])) for gap in [*auroc_gaps, *gaps_apart]]
    headline = [split for split in (test, *hospitals) if split is not None]
    of_reliability = [row for split in headline for row in reliability_rows(run_id, split, settings.bins)]

    of_dataset = {
        split.scored.dataset: macros
        for split, macros in split_and_macros
        if split is test or split.scored.dataset != internal
    }
    estimates = _for_rankings(
        findings, of_dataset | ({EXTERNAL: means} if external else {}), external, inside, settings
    )
    estimates |= estimates_by_dataset([*auroc_gaps, *gaps_apart])
    experts = [
        split for split in measured if split.scored.dataset == internal and split.scored.split.startswith("expert_")
    ]
    further_splits = [
        *zip(measured, macros_of_split, strict=True),
        *zip(of_hospitals, macros_of_hospitals, strict=True),
    ]
    estimates |= {
        f"auroc/{split.scored.name}": macros[AUROC].estimate
        for split, macros in further_splits
        if split in experts or split.scored.split.startswith("test:")
    }
    decomposition_rows = (
        decomposition.rows(run_id, findings, test, experts, external, auroc_gaps, settings) if test else []
    )
    reference_rows = label_references.rows(
        run_id, findings, [*([test] if test else []), *experts], external, auroc_gaps
    )
    threshold = points.threshold[list(RULES).index(settings.threshold)]
    subgroup_rows = [row for split in headline for row in subgroups.rows(run_id, findings, split, threshold, settings)]
    curve_rows = [row for split in headline for row in curves.rows(run_id, findings, split)]
    each = [*measured, *of_hospitals]
    of_extensions, further = _of_extensions(RunMetrics(run_id, findings, settings, val, points, test, external, used))
    estimates |= further
    scores = [frame(writer.rows, SCORES), *([of_extensions.pop("scores")] if "scores" in of_extensions else [])]
    return RunScores(
        pd.concat(scores, ignore_index=True),
        frame(gap_rows, SCHEMAS["gaps"]),
        frame(of_reliability, SCHEMAS["reliability"]),
        frame([row for split in each for row in confusion_rows(run_id, findings, split)], SCHEMAS["confusion"]),
        frame([row for split in each for row in delong_rows(run_id, findings, split)], SCHEMAS["delong"]),
        points.frame(run_id, findings),
        {name: estimate for name, estimate in estimates.items() if np.isfinite(estimate.value)},
        {
            "decomposition": frame(decomposition_rows, SCHEMAS["decomposition"]),
            "references": frame(reference_rows, SCHEMAS["references"]),
            "subgroups": frame(subgroup_rows, SCORES),
            "curves": frame(curve_rows, SCHEMAS["curves"]),
            **of_extensions,
        },
        measured,
    )


def _by_split(splits: Sequence[SplitMetrics], of_key: Callable[[Key], Sequence[Macro]]) -> list[dict[Key, Macro]]:
    """Return the macros of each split, from a function that gives those of a metric for all splits."""
    of_all = {key: of_key(key) for key in (splits[0].value if splits else ())}
    return [{key: macros[h] for key, macros in of_all.items()} for h in range(len(splits))]


def _of_extensions(run: RunMetrics) -> tuple[dict[str, pd.DataFrame], dict[str, Estimate]]:
    """Return the tables of scores that extensions compute, by name, and their estimates; "scores": further rows of this table."""
    tables: dict[str, pd.DataFrame] = {}
    estimates: dict[str, Estimate] = {}
    for module in extensions.modules(hooks.Scores):
        of_extension, further = module.tables(run)
        tables |= of_extension
        estimates |= further
    return tables, estimates


def _for_rankings(
    findings: Sequence[str],
    of_dataset: Mapping[str, Mapping[Key, Macro]],
    external: Sequence[SplitMetrics],
    inside: NDArray[np.bool_] | None,
    settings: Settings,
) -> dict[str, Estimate]:
    """Return the scores, by name, by which runs can be ranked, without gaps.

    of_dataset: dataset -> its macros, for the internal cohort, each hospital, and "external" (the mean over
    hospitals). inside [K]: mask of the findings that the internal test split scores (None: all).
    """
    keys = (AUROC, *RANKING_METRICS, *(Key(entry.name) for entry in settings.custom_metrics))
    estimates = {
        f"{key.metric}/{dataset}": macros[key].estimate
        for key in keys
        for dataset, macros in of_dataset.items()
        if key in macros
    }
    for k, finding in enumerate(findings):
        known = [split for split in external if np.isfinite(split.value[AUROC][k])]
        if (inside is None or inside[k]) and known:
            value = float(np.mean([split.value[AUROC][k] for split in known]))
            influences = [Influence({split.sample.key: split.influence[AUROC][k]}) for split in known]
            estimates[f"auroc/{EXTERNAL}/{finding}"] = Estimate(value, Influence.mean(influences))
    return estimates


def _check(findings: Sequence[str], internal: str, scored_splits: Sequence[ScoredSplit]) -> None:
    """Raise ValueError for repeated splits, wrong numbers of logits, and a cohort named "external"."""
    names = [scored.name if scored.dataset == internal else scored.dataset for scored in scored_splits]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"more than one split of {', '.join(repeated)}")
    for scored in scored_splits:
        if scored.logit.shape[1] != len(findings):
            raise ValueError(f"{scored.name}: {scored.logit.shape[1]} logits per image for {len(findings)} findings")
        if scored.dataset == EXTERNAL:
            raise ValueError(f'no cohort can be named "{EXTERNAL}": it stands for the mean over hospitals')
