"""The columns of every table that a report is made of.

Columns marked `?` in the comments may be null (NaN, None or ""), never absent.
"""

from reports.schemas.heatmap_tables import EXPLAINED
from reports.schemas.shortcut_tables import SOURCES

# One row per number. `dataset` "external" is the unweighted mean over external cohorts; `finding` "macro" the unweighted mean
# over the findings both sides have. low and high bound the 95 % interval over patients.
SCORES = (
    "run_id",
    "dataset",  # cohort name, or "external"
    "split",  # the internal hospital: val, test, expert_valid, expert_test; externally: the headline split (all or test)
    "reference",  # who labelled: report (text labeler), radiologist, phantom
    "mapping",  # default, strict, broad
    "subgroup",  # all, or e.g. sex=F
    "selection",  # which epoch: best_val, last
    "calibrator",  # none, platt, temperature, isotonic
    "operating_point",  # "" for threshold-free metrics, else f1_max, youden, sens_90, f1_grid
    "finding",  # one finding, "macro", or "core": the mean over the findings that every cohort has
    "metric",  # those of registry.yaml; for external cohorts also auroc_gap (internal - external), ece_drift and brier_drift (external - internal)
    "value",  # float?; NaN when min_count is not met
    "low",
    "high",
    "n",  # images; macro: the least over its findings
    "num_positive",
    "num_negative",
    "num_patients",
    "num_findings",  # 1, or how many findings a macro is the mean of
)

_GAP = ("finding", "value", "low", "high", "internal", "external", "num_findings", "n", "num_positive", "num_patients")

_DECOMPOSED = (
    "reason",
    "effective_positive",
    "effective_negative",
    "covered",
    "num_findings",
    "least",
    "most",
    "paired",
)
_FITTED = (
    "threshold",
    "probability",
    "platt_a",
    "platt_b",
    "temperature",
    "num_positive_patients",
    "num_negative_patients",
)
_BEST = ("best_run", "best", "regret")
_VALUE = ("value", "low", "high")
_LINE = ("slope", "intercept", "num_runs")
_AT_ONCE = ("all_low", "all_high")  # bounds that hold for all rows of the same kind at once

# name of table -> its columns
SCHEMAS: dict[str, tuple[str, ...]] = {
    "scores": SCORES,
    # one row per run of the grid, also failed ones
    "runs": (
        "run_id",
        # run; tta or ensemble: made of other runs, listed apart and never ranked; panel: of one-finding runs, ranked for them;
        # external: trained elsewhere, listed apart, ranked only where the grid trains nothing
        "kind",
        "of",  # which runs it is made of, in words; of a model from elsewhere, what it came as?
        "name",  # display name of the architecture, e.g. "DenseNet-121"; of an ensemble its own
        "architecture",
        "family",  # classic, modern, efficient, attention, lightweight, underexplored, scratch
        "optimizer",
        "loss",
        "uncertainty",
        "preprocessing",
        "augmentation",
        "weights",
        "corpus",  # what the starting weights had seen, e.g. in1k; "" for random ones and where it is not stated
        "weights_licence",  # of the starting weights; "" likewise
        "train_on",  # the cohort it was trained on; what was trained elsewhere, as its owner says
        "seed",
        "what",  # how it differs from the grid's base, e.g. "sam · seed 1"
        "state",  # done, failed, started, absent
        "reason",  # why it has no score?
        "remark",  # how its training went other than asked for: "limit reached: ...", "memory ran out: ..."?
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
    # ranking by mean external AUROC; computed once over all runs with a score
    # all_low, all_high: of the external AUROC, for all runs at once: the interval of a run that is named for being the first;
    # gap_low, gap_high: of the gap, likewise?
    "ranks": (
        "run_id",
        "mean_rank",
        "rank_low",
        "rank_high",
        "p_best",
        "group",
        "p_anchor",
        *_AT_ONCE,
        "gap_low",
        "gap_high",
    ),
    # first minus second of two runs among the best (bench.scoring.across_runs.all_pairs.MOST), macro, paired; metric auroc or gap
    "pairs": ("first", "second", "dataset", "metric", "value", "low", "high"),
    # Kendall's tau-b of the runs' macro AUROC between two cohorts, with the interval over resampled patients
    "agreement": ("first", "second", "tau", "low", "high", "num_runs"),
    # runs that differ in their seed alone (run_id: the first of them), macro AUROC per cohort and "external": seed_sd between
    # seeds on the same patients, patient_sd of one run between resampled patients; low, high of the mean over both?
    "seeds": ("run_id", "dataset", "num_seeds", "mean", "low", "high", "seed_sd", "patient_sd"),
    # gap = internal test - externally over the findings both have; dataset "external" = mean; finding "macro" or a finding.
    # num_findings = size of the common set; internal and external are the two AUROCs on that set
    "gaps": ("run_id", "dataset", *_GAP),
    # as `gaps`, against each labelled part of the internal hospital apart: the test split, and what radiologists read (expert_*). dataset
    # "worst" = the hospital with the largest gap, named in `hospital`; external_reference = who labelled externally
    "references": ("run_id", "split", "reference", "dataset", "external_reference", "hospital", *_GAP),
    # what the gap of a metric (auroc, auprc, ece: internal test - externally) is made of; gap = prevalence + case_mix + labels +
    # remainder in every row and replicate, an unknown part counting 0. reason: why it is unknown, or how it was measured.
    # effective_*: Kish's effective number of images under the weights; covered: share of internal images with a like externally
    # of labels: least and most over the admissible mappings?; paired: share of findings read in both ways on the same images
    "decomposition": ("run_id", "dataset", "metric", "finding", "part", "value", "low", "high", *_DECOMPOSED),
    # scores of subgroups: subgroup "all" (without AUROC: see `scores`), "sex=F", "sex=F age=<40", ...; "sex" etc. hold *_spread, largest less least
    "subgroups": SCORES,
    # line of logit external AUROC on logit AUROC at the internal hospital over the other runs, and how far above it a run reads
    # all_low, all_high: bounds that hold for all runs of the hospital at once
    "robustness": ("run_id", "dataset", "value", "low", "high", *_AT_ONCE, "internal", "external", "expected", *_LINE),
    # which run each rule of choosing picks, and what that costs on each hospital against the best run there.
    # rule: internal val, internal test, or a hospital (an oracle: it looks at the answers); optimism: how much the number by which
    # the rule chose flatters the run it chose
    "selection": ("rule", "oracle", "run_id", "dataset", "value", *_BEST, "low", "high", "optimism", "num_runs"),
    # the epoch that each rule picks: best_val (or best_expert_valid), last and, with schedule.audit, oracle (the best on the internal
    # test split); chosen_auroc on the split that chooses, test_auroc on the internal test split?, over_honest? = what that adds to
    # the honest rule's: the optimism. Without intervals
    "epochs": ("run_id", "rule", "epoch", "chosen_auroc", "test_auroc", "over_honest"),
    # mean over runs of the macro gap, per hospital, and over hospitals ("external"); num_worse and num_better count runs whose
    # interval for all runs at once excludes 0; all_low, all_high: of the mean, for all hospitals at once ("external": its own)
    "mean_gaps": ("dataset", "value", "low", "high", "num_runs", "num_worse", "num_better", *_AT_ONCE),
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
    # what the validation split at the internal hospital fixed: threshold (logit) and probability (NaN below min_count patients), fits, and the
    # patients there with and without the finding
    "operating_points": ("run_id", "finding", "rule", *_FITTED),
    # x and y hold at most 30 numbers each; kind roc or pr, finding "macro" for the mean height over findings
    "curves": ("run_id", "dataset", "finding", "kind", "x", "y"),
    # images by truth and call at the thresholds of internal validation; findings without a score or a threshold have no row
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
    "delong": ("run_id", "dataset", "split", "finding", *_VALUE, "se_image", "se_patient", "se_bootstrap"),
    **SOURCES,
    **EXPLAINED,
    # what changes the answer: pixels of another cohort (donor) put into images of a cohort (host), or pixels taken away (donor
    # ""); host or donor "external" = mean over hospitals. kind: border, corner, marker, intensity, resolution, erased, toggled,
    # lungs_only, lungs_masked; causal = mean of marker, corner and border, the internal hospital -> externally. measure: abs_dp, dp, flip_rate, auroc (all
    # changes of the changed image against the image as it is); control: the same change with pixels of the host's own cohort,
    # NaN where there is none; effect = value - control, low and high are its interval. n: images of the host cohort
    # subset: all, present, absent, by the label of the finding
    "transplants": (
        *("run_id", "kind", "donor", "host", "finding", "subset", "measure"),
        *("value", "control", "effect", "low", "high", "n"),
    ),
    # a shortcut score against the gap or the external AUROC, over architectures (seeds averaged). score: source_bits, causal;
    # statistic: spearman, spearman_families (families resampled), kendall, partial (given logit AUROC at the internal hospital); p of spearman
    # by permutation. detectable: the least |rho| with p < .05; power: the chance to see a true rho of .5 with so many
    "associations": (  # against: gap, externally
        *("score", "against", "statistic", "value", "low", "high", "p", "num_architectures", "num_families"),
        *("detectable", "power"),
    ),
    # what looks broken rather than hard; finding "all" when it is about the run. histograms: of what reads as inverted
    "diagnostics": ("run_id", "dataset", "finding", "kind", "value", "low", "high", "advice"),
    "histograms": ("run_id", "dataset", "finding", "bin_low", "bin_high", "present", "absent"),
    # external AUROC under every admissible label mapping, of the findings that one of them changes and their macro
    "mappings": ("run_id", "dataset", "mapping", "finding", "value", "low", "high", "n", "num_positive"),
    # how another mapping than the grid's moves and reorders the runs of a hospital, by macro AUROC
    "reversals": ("dataset", "mapping", "num_runs", "mean_change", "largest", "num_pairs", "num_reversed", "tau"),
    # macro AUROC by what the labels taught (policy) and by whose labels judge it; empty when all runs were taught alike
    "policies": ("policy", "dataset", "split", "reference", "value", "low", "high", "num_runs"),
    # mean difference level - reference over pairs of runs that differ in that factor only; metric auroc (externally) or gap
    "ablation": ("metric", "factor", "level", "reference", "value", "low", "high", "p", "num_pairs", "pair_sd"),
    # which factor moves the metric in a full grid; one row with factor "" where r2_low is not above 0
    "surrogate": ("metric", "factor", "importance", "r2", "r2_low", "num_runs"),
    # external AUROC against cost (macs, params, and device_hours of training on the device most runs share: GPU-hours on a GPU): who
    # is beaten by nobody cheaper, and what more money buys
    "frontier": ("run_id", "cost", "amount", "on_front", "p_front", "gain", "gain_low", "gain_high"),
    # hours of training after each epoch, AUROC of the split that chooses, and what stopping there would have kept; on_front: nobody
    # on that device had come as far in less time
    "anytime": ("run_id", "device", "epoch", "hours", "auroc", "reached", "on_front"),
    "history": ("run_id", "epoch", "train_loss", "val_loss", "val_auroc", "lr", "seconds"),
    # accurate, robust, interpretable and cheap at once: external AUROC, gap, maps (enrichment on the finding over that of a map that
    # only knows the middle, mean over external hospitals)? and macs; goal: the names of those compared, joined by spaces.
    # on_front: no other run is at least as good in each and better in one; p_front: share of replicates of the AUROC and the gap
    # in which that holds?
    "goals": ("run_id", "goal", "auroc", "gap", "maps", "macs", "on_front", "p_front"),
    # SHAP value of a factor of one run in the model of `surrogate`; empty where that has no claim
    "factor_shap": ("metric", "factor", "level", "run_id", "shap"),
    # published numbers, not measured here: without interval, never ranked. split "" = not stated; finding or "macro"
    "published": ("name", "setting", "source", "dataset", "split", "finding", "metric", "value"),
    # one row per cohort, role internal or external
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
    # two findings in the scored images that say yes or no to both
    "cooccurrence": ("dataset", "split", "finding", "other", "both", "first_only", "second_only", "neither"),
    # label counts in the images that are scored
    "prevalence": ("dataset", "split", "finding", "present", "absent", "uncertain", "not_mentioned", "unmapped"),
}
