"""The tables a report is made of: one frozen value, one schema, one folder of Parquet files.

Everything on the page is a function of these tables. They hold no image and no patient id.
Columns marked `?` in the comments may be null (NaN, None or ""), never absent.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pandas as pd

from harmonize.errors import StoreError

SCHEMA = 1

# One row per number. `dataset` "away" is the unweighted mean over external cohorts; `finding` "macro" the unweighted mean
# over the findings both sides have. low and high bound the 95 % interval over patients.
SCORES = (
    "run_id",
    "dataset",  # cohort name, or "away"
    "split",  # home: val, test, expert_valid, expert_test; away: the headline split (all or test)
    "reference",  # who labelled: report (text labeler), radiologist, phantom
    "mapping",  # default, strict, broad
    "subgroup",  # all, or e.g. sex=F
    "selection",  # which epoch: best_val, last
    "calibrator",  # none, platt, temperature, isotonic
    "operating_point",  # "" for threshold-free metrics, else f1_max, youden, sens_90, f1_grid
    "finding",  # one finding, "macro", or "core": the mean over the findings that every cohort has
    "metric",  # those of registry.yaml; away also auroc_gap (home - away), ece_drift and brier_drift (away - home)
    "value",  # float?; NaN when min_count is not met
    "low",
    "high",
    "n",  # images; macro: the least over its findings
    "num_positive",
    "num_negative",
    "num_patients",
    "num_findings",  # 1, or how many findings a macro is the mean of
)

# name of table -> its columns
SCHEMAS: dict[str, tuple[str, ...]] = {
    "scores": SCORES,
    # one row per run of the grid, also failed ones
    "runs": (
        "run_id",
        "kind",  # run; tta or ensemble: made of other runs, listed apart and never ranked; panel: of one-finding runs, ranked for them
        "of",  # which runs it is made of, in words?
        "name",  # display name of the architecture, e.g. "DenseNet-121"; of an ensemble its own
        "architecture",
        "family",  # classic, modern, efficient, attention, lightweight, underexplored, scratch
        "optimizer",
        "loss",
        "uncertainty",
        "preprocessing",
        "augmentation",
        "weights",
        "seed",
        "what",  # how it differs from the grid's base, e.g. "sam · seed 1"
        "state",  # done, failed, started, absent
        "reason",  # why it has no score?
        "epochs",
        "best_epoch",
        "gradient_evaluations",  # forward and backward passes over a batch, in training?
        "seconds",  # training wall clock?
        "command",  # reproduces this row
        "config",  # canonical JSON
        "commit",  # ?
        "versions",  # "torch 2.15.0, timm 1.0.31, ..."
        "device",  # "cpu (1 thread)", "NVIDIA H200"
        "weights_sha256",  # of the trained weights
    ),
    # ranking by mean AUROC away; computed once over all runs with a score
    "ranks": ("run_id", "mean_rank", "rank_low", "rank_high", "p_best", "group", "p_anchor"),
    # Kendall's tau-b of the runs' macro AUROC between two cohorts, with the interval over resampled patients
    "agreement": ("first", "second", "tau", "low", "high", "num_runs"),
    # runs that differ in their seed alone (run_id: the first of them), macro AUROC per cohort and "away": seed_sd between
    # seeds on the same patients, patient_sd of one run between resampled patients; low, high of the mean over both?
    "seeds": ("run_id", "dataset", "num_seeds", "mean", "low", "high", "seed_sd", "patient_sd"),
    # gap = home test - away over the findings both have; dataset "away" = mean; finding "macro" or a finding.
    # num_findings = size of the common set; home and away are the two AUROCs on that set
    "gaps": (
        "run_id",
        "dataset",
        "finding",
        "value",
        "low",
        "high",
        "home",
        "away",
        "num_findings",
        "n",
        "num_positive",
        "num_patients",
    ),
    # as `gaps`, against each labelled part of home apart: the test split, and what radiologists read (expert_*). dataset
    # "worst" = the hospital with the largest gap, named in `hospital`; away_reference = who labelled away
    "references": (
        "run_id",
        "split",
        "reference",
        "dataset",
        "away_reference",
        "hospital",
        "finding",
        "value",
        "low",
        "high",
        "home",
        "away",
        "num_findings",
        "n",
        "num_positive",
        "num_patients",
    ),
    # what the gap of a metric (auroc, auprc, ece: home test - away) is made of; gap = prevalence + case_mix + labels +
    # remainder in every row and replicate, an unknown part counting 0. reason: why it is unknown, or how it was measured.
    # effective_*: Kish's effective number of images under the weights; covered: share of home images with a like away
    "decomposition": (
        "run_id",
        "dataset",
        "metric",
        "finding",
        "part",
        "value",
        "low",
        "high",
        "reason",
        "effective_positive",
        "effective_negative",
        "covered",
        "num_findings",
    ),
    # scores of subgroups: subgroup "all" (without AUROC: see `scores`), "sex=F", "sex=F age=<40", ...; "sex" etc. hold *_spread, largest less least
    "subgroups": SCORES,
    # line of logit AUROC away on logit AUROC at home over the other runs, and how far above it a run reads
    "robustness": (
        "run_id",
        "dataset",
        "value",
        "low",
        "high",
        "home",
        "away",
        "expected",
        "slope",
        "intercept",
        "num_runs",
    ),
    # which run each rule of choosing picks, and what that costs on each hospital against the best run there.
    # rule: home val, home test, or a hospital (an oracle: it looks at the answers); optimism: how much the number by which
    # the rule chose flatters the run it chose
    "selection": (
        "rule",
        "oracle",
        "run_id",
        "dataset",
        "value",
        "best_run",
        "best",
        "regret",
        "low",
        "high",
        "optimism",
        "num_runs",
    ),
    # home test AUROC (without interval) of the epoch that each rule picks: best_val (or best_expert_valid), last, oracle
    # (the best on the test split itself); over_honest = what it adds to the honest rule. Of runs with schedule.audit
    "epochs": ("run_id", "rule", "epoch", "test_auroc", "over_honest"),
    # mean over runs of the macro gap, per hospital, and over hospitals ("away"); simultaneous = all runs' intervals at once
    "mean_gaps": ("dataset", "value", "low", "high", "num_runs", "num_worse", "num_better"),
    "costs": (
        "run_id",
        "params",
        "trainable_params",
        "macs",
        "flops",
        "images_per_second",
        "throughput_device",
        "peak_memory_bytes",
        "seconds_per_epoch",
        "image_size",
    ),
    # reliability curve, all findings pooled per hospital ("pooled") and per finding; calibrator as in the scores
    "reliability": (
        "run_id",
        "dataset",
        "calibrator",
        "finding",
        "bin",
        "confidence",
        "observed",
        "low",
        "high",
        "count",
    ),
    # images by truth and call at the thresholds of home validation; findings without a score or a threshold have no row
    "confusion": (
        "run_id",
        "dataset",
        "split",
        "operating_point",
        "finding",
        "threshold",  # on the logit
        "true_positive",
        "false_positive",
        "false_negative",
        "true_negative",
    ),
    # AUROC without resampling: DeLong's interval and standard error over images, Obuchowski's over patients, the bootstrap's
    "delong": (
        "run_id",
        "dataset",
        "split",
        "finding",
        "value",
        "low",
        "high",
        "se_image",
        "se_patient",
        "se_bootstrap",
    ),
    # dataset-source classifier on frozen features; control: none, shuffled
    "shortcut": ("run_id", "control", "metric", "value", "low", "high", "chance", "num_sources", "n"),
    # what looks broken rather than hard; finding "all" when it is about the run. histograms: of what reads as inverted
    "diagnostics": ("run_id", "dataset", "finding", "kind", "value", "low", "high", "advice"),
    "histograms": ("run_id", "dataset", "finding", "bin_low", "bin_high", "present", "absent"),
    # AUROC away under every admissible label mapping, of the findings that one of them changes and their macro
    "mappings": ("run_id", "dataset", "mapping", "finding", "value", "low", "high", "n", "num_positive"),
    # how another mapping than the grid's moves and reorders the runs of a hospital, by macro AUROC
    "reversals": ("dataset", "mapping", "num_runs", "mean_change", "largest", "num_pairs", "num_reversed", "tau"),
    # macro AUROC by what the labels taught (policy) and by whose labels judge it; empty when all runs were taught alike
    "policies": ("policy", "dataset", "split", "reference", "value", "low", "high", "num_runs"),
    # mean difference level - reference over pairs of runs that differ in that factor only; metric auroc (away) or gap
    "ablation": ("metric", "factor", "level", "reference", "value", "low", "high", "p", "num_pairs", "pair_sd"),
    # which factor moves the metric in a full grid; one row with factor "" where r2_low is not above 0
    "surrogate": ("metric", "factor", "importance", "r2", "r2_low", "num_runs"),
    # AUROC away against cost (macs, params, train_seconds): who is beaten by nobody cheaper, and what more money buys
    "frontier": ("run_id", "cost", "amount", "on_front", "p_front", "gain", "gain_low", "gain_high"),
    "history": ("run_id", "epoch", "train_loss", "val_loss", "val_auroc", "lr", "seconds"),
    # published numbers, not measured here: without interval, never ranked. split "" = not stated; finding or "macro"
    "published": ("name", "setting", "source", "dataset", "split", "finding", "metric", "value"),
    # one row per cohort, role home or away
    "cohorts": (
        "dataset",
        "role",
        "layout",
        "title",
        "place",
        "label_source",
        "found",
        "absent",
        "not_frontal",
        "unreadable",
        "used",
        "patients",
        "female",
        "male",
        "age_median",
        "ap",
        "pa",
        "headline_split",
        "fingerprint",
        "licence",
    ),
    # split sizes; shared_patients must be 0
    "splits": ("dataset", "split", "images", "patients"),
    # label counts in the images that are scored
    "prevalence": ("dataset", "split", "finding", "present", "absent", "uncertain", "not_mentioned", "unmapped"),
}


@dataclass(frozen=True, slots=True)
class Tables:
    """The named data frames a report is made of, and what holds for all of them.

    meta keys: title, grid, source (name of the home cohort), phantom (bool), min_count, num_resamples, split (dict),
    shared_patients (int), command, created_from (list of run ids), findings (list), notes (list of str),
    datasets (dict cohort name -> {title, place, and perhaps flow: found -> what each filter took out -> kept -> notes}).
    Optional: learns (dict run id -> the findings of a run that learns fewer than `findings`), unlearnt (dict run id ->
    list of findings without both classes in training), not_compared (dict cohort name ->
    list of findings that not both it and home label), duplicates (int: home images whose pixels occur again in another home
    split under another patient).
    """

    meta: dict[str, Any]
    frames: dict[str, pd.DataFrame] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = set(self.frames) - set(SCHEMAS)
        if unknown:
            raise ValueError(f"unknown tables {sorted(unknown)}")
        for name, columns in SCHEMAS.items():
            frame = self.frames.get(name)
            if frame is None:
                self.frames[name] = pd.DataFrame(columns=list(columns))
            elif list(frame.columns) != list(columns):
                raise ValueError(f"table {name!r} has columns {list(frame.columns)}, not {list(columns)}")

    def __getitem__(self, name: str) -> pd.DataFrame:
        return self.frames[name]

    def save(self, folder: Path) -> None:
        """Write meta.json and one Parquet file per table."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "meta.json").write_text(json.dumps({"schema": SCHEMA, **self.meta}, indent=1, sort_keys=True))
        for name, frame in self.frames.items():
            frame.to_parquet(folder / f"{name}.parquet", index=False)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.

        Raises StoreError for an absent folder or another schema.
        """
        try:
            meta = json.loads((folder / "meta.json").read_text())
        except (OSError, ValueError) as error:
            raise StoreError(
                f"no readable meta.json: {error}", str(folder), "give the folder of tables that `bench report` wrote"
            ) from error
        if meta.pop("schema", None) != SCHEMA:
            raise StoreError("the tables are of another version", str(folder), "write them again with `bench report`")
        return cls(meta, {name: pd.read_parquet(folder / f"{name}.parquet") for name in SCHEMAS})
