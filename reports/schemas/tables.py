"""The columns of every table of a report.

Columns marked `?` in the comments may be null (NaN, None or ""), never absent.
"""

from reports.schemas.heatmap_tables import EXPLAINED
from reports.schemas.shortcut_tables import SOURCES

# One row per number. `dataset` "external" is the unweighted mean over external cohorts; `finding` "macro" the unweighted mean
# over the findings that both hospitals have. low and high bound the 95 % interval over patients.
SCORES = (
    "run_id",
    "dataset",  # cohort name, or "external"
    "split",  # the internal hospital: val, test, expert_valid, expert_test; externally: the headline split (all or test)
    "reference",  # source of the labels: report (text labeler), radiologist, phantom
    "mapping",  # default, strict, broad
    "subgroup",  # all, or e.g. sex=F
    "selection",  # the selected epoch: best_val, last
    "calibrator",  # none, platt, temperature, isotonic
    "operating_point",  # "" for threshold-free metrics, else f1_max, youden, sens_90, f1_grid
    "finding",  # one finding, "macro", or "core": the mean over the findings that every cohort has
    # the metrics of registry.yaml; for external cohorts also auroc_gap (internal - external), ece_drift and brier_drift (external
    # - internal)
    "metric",
    "value",  # float?; NaN when min_count is not met
    "low",
    "high",
    "n",  # images; macro: the minimum over its findings
    "num_positive",
    "num_negative",
    "num_patients",
    "num_findings",  # 1, or the number of findings of a macro
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
_SIMULTANEOUS = ("all_low", "all_high")  # simultaneous bounds over all rows of the same kind

# name of table -> its columns
SCHEMAS: dict[str, tuple[str, ...]] = {
    "scores": SCORES,
    # one row per run of the grid, including failed runs
    "runs": (
        "run_id",
        # run; tta or ensemble: derived from other runs, never ranked; panel: runs with one finding each, ranked in their place;
        # external: an imported model, ranked only if the grid trains nothing
        "kind",
        "of",  # the source runs of a derived run, in words; for an imported model its file format?
        "name",  # display name of the architecture, e.g. "DenseNet-121", or of the ensemble
        "architecture",
        "family",  # classic, modern, efficient, attention, lightweight, underexplored, scratch
        "optimizer",
        "loss",
        "uncertainty",
        "preprocessing",
        "augmentation",
        "weights",
        "corpus",  # training data of the starting weights, e.g. in1k; "" for random weights and if not stated
        "weights_licence",  # license of the starting weights; "" for random weights and if not stated
        "train_on",  # the training cohort; for an imported model as declared by its owner
        "seed",
        "what",  # difference from the grid's base configuration, e.g. "sam · seed 1"
        "state",  # done, failed, started, absent
        "reason",  # why the run has no score?
        "remark",  # irregularities of the training: "limit reached: ...", "memory ran out: ..."?
        "epochs",
        "best_epoch",
        "gradient_evaluations",  # forward and backward passes over a batch, in training?
        "seconds",  # wall-clock time of training?
        "command",  # reproduces this row
        "config",  # canonical JSON
        "commit",  # ?
        "versions",  # "torch 2.15.0, timm 1.0.31, ..."
        "device",  # "cpu (1 thread)", "NVIDIA H200"
        "weights_sha256",  # of the trained weights
    ),
    # ranking by mean external AUROC, computed once over all runs with a score.
    # all_low, all_high: interval of the external AUROC, simultaneous over all runs, for statements about the first run;
    # gap_low, gap_high: simultaneous interval of the gap?
    "ranks": (
        "run_id",
        "mean_rank",
        "rank_low",
        "rank_high",
        "p_best",
        "group",
        "p_anchor",
        *_SIMULTANEOUS,
        "gap_low",
        "gap_high",
    ),
    # paired difference of macros, first minus second, for all pairs of the best runs (bench.scoring.across_runs.all_pairs.MOST);
    # metric auroc or gap
    "pairs": ("first", "second", "dataset", "metric", "value", "low", "high"),
    # Kendall's tau-b of the runs' macro AUROC between two cohorts, with the interval over resampled patients
    "agreement": ("first", "second", "tau", "low", "high", "num_runs"),
    # groups of runs that differ only in the seed (run_id: the first run), macro AUROC per cohort and "external".
    # seed_sd: standard deviation between seeds on the same patients; patient_sd: of one run between resampled patients;
    # low, high: interval of the mean over new seeds and patients?
    "seeds": ("run_id", "dataset", "num_seeds", "mean", "low", "high", "seed_sd", "patient_sd"),
    # gap = internal test AUROC - external AUROC, over shared findings; dataset "external" = mean over hospitals.
    # num_findings: number of shared findings; internal and external: the two AUROCs over these findings
    "gaps": ("run_id", "dataset", *_GAP),
    # as `gaps`, against each labeled internal split separately: the test split, and the splits labeled by radiologists (expert_*).
    # dataset "worst": the hospital with the largest gap, named in `hospital`; external_reference: source of the external labels
    "references": ("run_id", "split", "reference", "dataset", "external_reference", "hospital", *_GAP),
    # components (column `part`) of the gap of a metric (auroc, auprc, ece): gap = prevalence + case_mix + labels + remainder in
    # every row and replicate; an unknown component counts as 0.
    # reason: why the component is unknown, or how it was measured; effective_*: Kish's effective number of images under the
    # weights; covered: share of internal images whose cell also occurs externally; for labels, least and most: minimum and
    # maximum over the admissible mappings?; paired: share of findings with both label sets on the same images
    "decomposition": ("run_id", "dataset", "metric", "finding", "part", "value", "low", "high", *_DECOMPOSED),
    # scores of subgroups: "all" (without AUROC, which is in `scores`), "sex=F", "sex=F age=<40", ...
    # rows with an attribute ("sex") as subgroup have *_spread: the largest minus the smallest score of its subgroups
    "subgroups": SCORES,
    # effective robustness: distance of a run's external AUROC from the line of logit external on logit internal AUROC that is
    # fitted to the other runs; all_low, all_high: bounds that are simultaneous over all runs of the hospital
    "robustness": (
        "run_id",
        "dataset",
        "value",
        "low",
        "high",
        *_SIMULTANEOUS,
        "internal",
        "external",
        "expected",
        *_LINE,
    ),
    # the run that each selection rule chooses, and its regret on each hospital compared with the best run of that hospital.
    # rule: internal val, internal test, or a hospital (an oracle, because it uses external labels); optimism: by how much the
    # selecting number overestimates the selected run
    "selection": ("rule", "oracle", "run_id", "dataset", "value", *_BEST, "low", "high", "optimism", "num_runs"),
    # the epoch that each rule selects: best_val (or best_expert_valid), last and, with schedule.audit, oracle (the best epoch on
    # the internal test split). chosen_auroc: on the selecting split; test_auroc: on the internal test split?; over_honest:
    # test_auroc minus that of the best_* rule?; for the oracle this is the optimism. No intervals
    "epochs": ("run_id", "rule", "epoch", "chosen_auroc", "test_auroc", "over_honest"),
    # mean over runs of the macro gap, per hospital and over hospitals ("external"). num_worse and num_better: runs whose
    # interval, simultaneous over runs, is above or below 0; all_low, all_high: interval of the mean, simultaneous over hospitals
    # (for "external" equal to low and high)
    "mean_gaps": ("dataset", "value", "low", "high", "num_runs", "num_worse", "num_better", *_SIMULTANEOUS),
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
    # fixed on the internal validation split: threshold (on the logit) and probability (NaN below min_count patients), calibrators,
    # and the numbers of patients with and without the finding
    "operating_points": ("run_id", "finding", "rule", *_FITTED),
    # x and y have at most 30 numbers each; kind roc or pr; finding "macro": mean height over findings
    "curves": ("run_id", "dataset", "finding", "kind", "x", "y"),
    # images by label and call at the thresholds of internal validation; findings without a score or a threshold have no row
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
    # AUROC with DeLong's interval, and standard errors: DeLong's over images, Obuchowski's over patients, and the bootstrap's
    "delong": ("run_id", "dataset", "split", "finding", *_VALUE, "se_image", "se_patient", "se_bootstrap"),
    **SOURCES,
    **EXPLAINED,
    # region transplant test: pixels of a donor cohort in images of a host cohort, or pixels removed (donor ""); host or donor
    # "external": mean over hospitals
    # kind: border, corner, marker, intensity, resolution, erased, toggled, lungs_only, lungs_masked; causal: mean of marker,
    # corner and border with internal donors and external hosts
    # measure: abs_dp, dp, flip_rate, auroc: changes from the original to the changed image
    # control: the same change with pixels of the host's own cohort, NaN for kinds without a control; effect = value - control,
    # with interval low, high; n: images of the host cohort; subset: all, present, absent, by the label of the finding
    "transplants": (
        *("run_id", "kind", "donor", "host", "finding", "subset", "measure"),
        *("value", "control", "effect", "low", "high", "n"),
    ),
    # correlation of a shortcut score with the gap or the external AUROC, over architectures (seeds averaged).
    # score: source_bits, causal; against: gap, external; statistic: spearman, spearman_families (families resampled), kendall,
    # partial (adjusted for logit internal AUROC); p: permutation test of spearman; detectable: the smallest |rho| with p < .05;
    # power: the probability of p < .05 for a true rho of .5
    "associations": (
        *("score", "against", "statistic", "value", "low", "high", "p", "num_architectures", "num_families"),
        *("detectable", "power"),
    ),
    # symptoms of technical faults; finding "all": a symptom of the entire run. histograms: only of findings that seem inverted
    "diagnostics": ("run_id", "dataset", "finding", "kind", "value", "low", "high", "advice"),
    "histograms": ("run_id", "dataset", "finding", "bin_low", "bin_high", "present", "absent"),
    # external AUROC under every admissible label mapping, for the findings that a mapping changes, and macro
    "mappings": ("run_id", "dataset", "mapping", "finding", "value", "low", "high", "n", "num_positive"),
    # changes of the macro AUROCs of a hospital's runs, and of their order, under another mapping than the grid's
    "reversals": ("dataset", "mapping", "num_runs", "mean_change", "largest", "num_pairs", "num_reversed", "tau"),
    # macro AUROC by training label policy and source of the test labels; empty if all runs share a policy
    "policies": ("policy", "dataset", "split", "reference", "value", "low", "high", "num_runs"),
    # mean difference (level minus reference) over pairs of runs that differ only in that factor; metric: external auroc, or gap
    "ablation": ("metric", "factor", "level", "reference", "value", "low", "high", "p", "num_pairs", "pair_sd"),
    # importance of each factor for the metric in a full grid; a single row with factor "" if r2_low is not above 0
    "surrogate": ("metric", "factor", "importance", "r2", "r2_low", "num_runs"),
    # external AUROC against cost: macs, params, device_hours of training on the most frequent device (on a GPU: GPU-hours).
    # on_front: no cheaper run is as good; p_front: share of replicates with on_front; gain: over the best cheaper run
    "frontier": ("run_id", "cost", "amount", "on_front", "p_front", "gain", "gain_low", "gain_high"),
    # training hours after each epoch and AUROC of the selecting split; reached: the AUROC if training stopped after this epoch;
    # on_front: no run on that device reached as much in less time
    "anytime": ("run_id", "device", "epoch", "hours", "auroc", "reached", "on_front"),
    "history": ("run_id", "epoch", "train_loss", "val_loss", "val_auroc", "lr", "seconds"),
    # several goals: external AUROC, gap, maps (enrichment on the finding divided by that of a center map, mean over external
    # hospitals)?, macs. goal: the compared goals, separated by spaces
    # on_front: no other run is at least as good in every goal and better in one; p_front: share of replicates of AUROC and gap
    # with on_front?
    "goals": ("run_id", "goal", "auroc", "gap", "maps", "macs", "on_front", "p_front"),
    # SHAP value of a factor for one run in the model of `surrogate`; empty if the model has no importance
    "factor_shap": ("metric", "factor", "level", "run_id", "shap"),
    # results that others published: without interval, never ranked; split "": not stated
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
    # counts of two findings in the scored images with both labels
    "cooccurrence": ("dataset", "split", "finding", "other", "both", "first_only", "second_only", "neither"),
    # label counts in the scored images
    "prevalence": ("dataset", "split", "finding", "present", "absent", "uncertain", "not_mentioned", "unmapped"),
}
