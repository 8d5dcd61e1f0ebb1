"""The columns of every table of a report.

Every table has all its columns. A column marked `?` in a comment may contain nulls: NaN, None or "".
"""

from reports.schemas.heatmap_tables import EXPLAINED
from reports.schemas.shortcut_tables import SOURCES

# One row per score.
# dataset "external": the unweighted mean over external cohorts
# finding "macro": the unweighted mean over the findings that both the internal and the external hospital label
# low and high: bounds of the 95 % interval over patients
SCORES = (
    "run_id",
    "dataset",  # cohort name, or "external"
    "split",  # internal cohort: val, test, expert_valid or expert_test; external cohort: its headline split (all or test)
    "reference",  # source of the labels: report (text labeler), radiologist, phantom
    "mapping",  # label mapping: default, strict, broad
    "subgroup",  # all, or e.g. sex=F
    "selection",  # the selected epoch: best_val, last
    "calibrator",  # method that maps logits to probabilities: none, platt, temperature, isotonic
    "operating_point",  # threshold rule: f1_max, youden, sens_90, f1_grid; "" for metrics without a threshold
    "finding",  # one finding, "macro", or "core": the mean over the findings that every cohort has
    # a metric of registry.yaml; for external cohorts also auroc_gap (internal - external),
    # ece_drift and brier_drift, which are external - internal
    "metric",
    "value",  # ? the score; NaN if there are fewer positive or negative patients than min_count
    "low",
    "high",
    "n",  # number of images; for a macro the smallest number over its findings
    "num_positive",
    "num_negative",
    "num_patients",
    "num_findings",  # number of averaged findings; 1 if `finding` is a single finding
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
# bounds of an interval that is simultaneous over several rows; the comment of the table names the rows
_SIMULTANEOUS = ("all_low", "all_high")

# name of table -> its columns
SCHEMAS: dict[str, tuple[str, ...]] = {
    "scores": SCORES,
    # one row per run of the grid, including failed runs
    "runs": (
        "run_id",
        # run: trained by the grid; recipe: mean of the runs that differ only in the seed
        # tta, ensemble: derived from other runs, never ranked
        # panel: joins runs with one finding each, and is ranked instead of them
        # external: an imported model, ranked only if the grid trains nothing
        "kind",
        "of",  # ? derived run: a description of its source runs; imported model: its file format
        "name",  # display name of the architecture, e.g. "DenseNet-121", or of the ensemble
        "architecture",
        "family",  # classic, modern, efficient, attention, lightweight, underexplored, scratch
        "optimizer",
        "loss",
        "uncertainty",
        "preprocessing",
        "augmentation",
        "weights",
        "corpus",  # training data of the starting weights, e.g. in1k; "" for random weights or if not stated
        "weights_licence",  # license of the starting weights; "" for random weights or if not stated
        "train_on",  # the training cohort; for an imported model, its owner declares the cohort
        "seed",
        "what",  # settings that vary among the runs of the grid, e.g. "sam · seed 1"
        "state",  # done, failed, started, absent
        "reason",  # ? the reason why the run has no score
        "remark",  # ? irregularities of the training: "limit reached: ...", "memory ran out: ..."
        "epochs",
        "best_epoch",
        "gradient_evaluations",  # ? number of forward and backward passes in training, each over one batch
        "seconds",  # ? wall-clock time of training
        "command",  # the command that reproduces this row
        "config",  # the configuration as canonical JSON
        "commit",  # ? commit of this project's code
        "versions",  # "torch 2.15.0, timm 1.0.31, ..."
        "device",  # "cpu (1 thread)", "NVIDIA H200"
        "weights_sha256",  # hash of the trained weights
    ),
    # the runs of each ranked recipe, in the order of their seeds; a recipe without other seeds has the id of its run
    # Rows of recipes in `scores`, `gaps`, `costs` and `runs` are means over their runs, with intervals over patients and
    # seeds. In ranks, pairs, robustness, selection, frontier and goals, run_id is the id of a recipe.
    "recipes": ("recipe_id", "run_id"),
    # rankings of the recipes, one for each criterion: metric (auroc, auprc, ece after Platt scaling, gap: the gap in AUROC, or
    #     a custom metric), dataset and finding. The page first shows the ranking by auroc, external, macro.
    # value, low, high: the score and its own interval
    # mean_rank, rank_low, rank_high, p_best: mean, interval, and share of first places of the rank over resampled
    #     patients
    # group: index of the tie group; p_anchor: adjusted p of the difference from the first recipe of the group
    # all_low, all_high: interval of the score, simultaneous over all recipes
    # lead: ? difference from the next row, above 0 if this row is better; lead_low, lead_high: its own interval;
    #     lead_all_low, lead_all_high: its interval, adjusted for all pairs of rows
    "ranks": (
        *("metric", "dataset", "finding", "run_id"),
        *("value", "low", "high"),
        "mean_rank",
        "rank_low",
        "rank_high",
        "p_best",
        "group",
        "p_anchor",
        *_SIMULTANEOUS,
        "lead",
        "lead_low",
        "lead_high",
        "lead_all_low",
        "lead_all_high",
    ),
    # paired differences between the best recipes: macro score of the recipe `first` minus that of the recipe `second`
    # bench.scoring.across_runs.all_pairs.MOST limits the number of recipes; metric: auroc or gap
    # all_low, all_high: interval that is adjusted for all pairs of ranked rows (Holm); it decides whether the difference is
    #     clear, wherever the page shows it
    "pairs": ("first", "second", "dataset", "metric", "value", "low", "high", *_SIMULTANEOUS),
    # rank agreement of two cohorts: Kendall's tau-b between the macro AUROCs of the recipes; interval over resampled patients
    "agreement": ("first", "second", "tau", "low", "high", "num_runs"),
    # variation of the macro AUROC of a recipe per cohort and "external"; run_id: id of the recipe
    # seed_sd: standard deviation over seeds, on the same patients
    # patient_sd: standard deviation over resampled patients, of one run
    "seeds": ("run_id", "dataset", "num_seeds", "seed_sd", "patient_sd"),
    # gap: internal test AUROC minus external AUROC, both over the shared findings
    # dataset "external": mean over hospitals; num_findings: number of shared findings; internal, external: the two AUROCs
    "gaps": ("run_id", "dataset", *_GAP),
    # gaps with the columns of `gaps`, for each internal split: test, and the splits that radiologists labeled
    #     (expert_*)
    # reference: source of the labels of the internal split
    # dataset "worst": the hospital with the largest gap; `hospital` contains its name
    # external_reference: source of the external labels
    "references": ("run_id", "split", "reference", "dataset", "external_reference", "hospital", *_GAP),
    # components of the gap of a metric (auroc, auprc, ece); an unknown component counts as 0
    # A recipe has only the rows of the macro: means over its runs.
    # part: prevalence, case_mix, labels or remainder; their sum is the gap, also in each resample
    # reason: why the component is unknown, or how it was measured
    # effective_positive, effective_negative: Kish's effective number of weighted positive and negative images
    # covered: share of internal images whose case-mix cell (such as sex and age) also has external images
    # least, most: minimum and maximum of the label component over the admissible label mappings
    # paired: share of findings for which the same images have labels from both label sources
    "decomposition": ("run_id", "dataset", "metric", "finding", "part", "value", "low", "high", *_DECOMPOSED),
    # scores of subgroups: "sex=F", "sex=F age=<40", ..., and "all" (its AUROC is in `scores`)
    # If `subgroup` is an attribute ("sex"), the metric is *_spread: largest minus smallest score of its subgroups.
    "subgroups": SCORES,
    # effective robustness: external AUROC of a recipe minus the AUROC that a line predicts from its internal AUROC
    # The line is fitted to the logits of the AUROCs of the other recipes.
    # all_low, all_high: interval that is simultaneous over all recipes at this hospital
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
    # the recipe that each selection rule chooses; regret: AUROC of a hospital's best recipe minus that of the chosen one
    # rule: internal val, internal test, or a hospital (an oracle, because this rule uses external labels)
    # optimism: how much the score that chose the recipe overestimates this recipe
    "selection": ("rule", "oracle", "run_id", "dataset", "value", *_BEST, "low", "high", "optimism", "num_runs"),
    # the epoch that each rule selects; without intervals
    # rule: best_val (or best_expert_valid), last, and with schedule.audit oracle (best epoch on the internal test split)
    # chosen_auroc: AUROC on the split that selects the epoch; test_auroc: ? AUROC on the internal test split
    # over_honest: ? test_auroc minus the test_auroc of the rule best_*; for the oracle, this difference is its optimism
    "epochs": ("run_id", "rule", "epoch", "chosen_auroc", "test_auroc", "over_honest"),
    # macro gap, averaged over recipes: for each hospital, and averaged over hospitals ("external")
    # num_worse, num_better: number of recipes with a gap above or below 0, by an interval that is simultaneous over recipes
    # all_low, all_high: interval of the mean, simultaneous over hospitals; for "external" equal to low and high
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
    # reliability curves of each hospital: one per finding, and one over all findings ("pooled")
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
    # thresholds and calibrators, fixed on the internal validation split, and the numbers of patients in this split
    # threshold: a logit; probability: the same threshold as a probability; both NaN for fewer than min_count patients
    "operating_points": ("run_id", "finding", "rule", *_FITTED),
    # ROC and precision-recall curves; x and y contain at most 30 numbers each
    # kind: roc or pr; finding "macro": the curve with the mean y over findings
    "curves": ("run_id", "dataset", "finding", "kind", "x", "y"),
    # numbers of images by label and prediction, at the thresholds fixed on internal validation
    # Findings without a score or without a threshold have no row.
    "confusion": (
        "run_id",
        "dataset",
        "split",
        "operating_point",
        "finding",
        "threshold",  # of the logit
        "true_positive",
        "false_positive",
        "false_negative",
        "true_negative",
    ),
    # AUROC with DeLong's interval, and three standard errors:
    # se_image (DeLong, over images), se_patient (Obuchowski, over patients), se_bootstrap (resampled patients)
    "delong": ("run_id", "dataset", "split", "finding", *_VALUE, "se_image", "se_patient", "se_bootstrap"),
    **SOURCES,
    **EXPLAINED,
    # region transplant test: pixels of a donor cohort are put into images of a host cohort
    # donor "": pixels are removed instead; donor or host "external": mean over external hospitals
    # kind with a donor: border, corner, marker (the region that is copied), intensity (the gray values of the donor),
    #     resolution (the sharpness and noise of the donor), jpeg (the JPEG quality of the donor's file), causal (mean of
    #     marker, corner and border, with internal donors and external hosts)
    # kind without a donor: erased (markers removed), toggled (markers removed, and added to images without one),
    #     lungs_only (pixels outside the lungs hidden), lungs_masked (lungs hidden), jpeg_low (encoded as JPEG of quality
    #     25), clahe (local contrast equalized)
    # measure: dp and abs_dp (mean signed and mean absolute change of the probability), flip_rate (share of images whose
    #     prediction changes at the threshold), auroc (change of the AUROC)
    # control: the same change with pixels from the host's own cohort, or with the JPEG quality of the host's own file;
    #     NaN for kinds without a control
    # effect: value minus control, with its interval low, high; n: number of images of the host cohort
    # subset: images by the label of the finding: all, present, absent
    "transplants": (
        *("run_id", "kind", "donor", "host", "finding", "subset", "measure"),
        *("value", "control", "effect", "low", "high", "n"),
    ),
    # correlation of a shortcut score with the gap or the external AUROC, over architectures (mean over seeds)
    # score: source_bits (cross-entropy of the classifier that predicts the source from a run's features; low: easy to
    #     predict), causal (effect of the kind causal in `transplants`)
    # against: the gap or the external AUROC
    # statistic: spearman, kendall, spearman_families (interval from resampled architecture families),
    #     partial (Spearman, adjusted for the logit of the internal AUROC)
    # p: p-value of a permutation test of spearman; detectable: the smallest |rho| with p < .05
    # power: the probability of p < .05 if the true rho is .5
    "associations": (
        *("score", "against", "statistic", "value", "low", "high", "p", "num_architectures", "num_families"),
        *("detectable", "power"),
    ),
    # symptoms: patterns in a run's predictions that technical faults cause; finding "all": a symptom of the entire run
    # `histograms` has rows only for findings whose labels or predictions seem inverted.
    "diagnostics": ("run_id", "dataset", "finding", "kind", "value", "low", "high", "advice"),
    "histograms": ("run_id", "dataset", "finding", "bin_low", "bin_high", "present", "absent"),
    # external AUROC under every admissible label mapping: macro, and each finding that a mapping changes
    "mappings": ("run_id", "dataset", "mapping", "finding", "value", "low", "high", "n", "num_positive"),
    # effect of a label mapping other than the grid's on the macro AUROCs at a hospital, and on the order of the recipes
    # num_reversed of num_pairs: pairs of recipes whose order changes; tau: Kendall's tau-b of the two orders
    "reversals": ("dataset", "mapping", "num_runs", "mean_change", "largest", "num_pairs", "num_reversed", "tau"),
    # macro AUROC by policy for uncertain training labels and by source of the test labels
    # The table is empty if all recipes have the same policy.
    "policies": ("policy", "dataset", "split", "reference", "value", "low", "high", "num_runs"),
    # ablation: mean difference of a metric between two levels of a factor (level minus reference), over pairs of recipes
    #     that differ only in this factor; metric: auroc (external AUROC) or gap
    # all_low, all_high: ? if there is one pair of recipes, the interval of this pair as in `pairs`
    "ablation": (
        *("metric", "factor", "level", "reference", "value", "low", "high", "p"),
        *("num_pairs", "num_run_pairs", "pair_sd"),
        *_SIMULTANEOUS,
    ),
    # importance of each factor for a metric, from a model that predicts the metric from the factors; only for a grid
    #     with all combinations of its factors
    # r2, r2_low: the model's r2 on other recipes, and the lower end of its interval
    # If r2_low is not above 0, no factor has an importance, and there is a single row with factor "".
    "surrogate": ("metric", "factor", "importance", "r2", "r2_low", "num_runs"),
    # external AUROC by cost; cost: macs, params, or device_hours (training on the most frequent device)
    # on_front: no cheaper recipe is as good; p_front: share of resamples in which this is true
    # gain: AUROC of the recipe minus AUROC of the best cheaper recipe
    "frontier": ("run_id", "cost", "amount", "on_front", "p_front", "gain", "gain_low", "gain_high"),
    # forecast of the external AUROC of a new recipe with twice the cost of the most expensive recipe; cost: as in `frontier`
    # amount: this cost; value, low, high: forecast with its 95 % prediction interval
    # gain: change of the AUROC for twice the cost, from a line over log2(cost) of all recipes
    # check: ? AUROC of the most expensive recipes, forecast from the cheaper ones; reached: their mean AUROC
    "compute_forecast": (
        *("cost", "amount", "value", "low", "high", "gain", "gain_low", "gain_high"),
        *("check", "check_low", "check_high", "reached", "num_recipes"),
    ),
    # AUROC by training time; auroc: on the split that selects the epoch, after this epoch
    # reached: the AUROC that the run would have if training stopped after this epoch
    # on_front: no run on the same device reached this AUROC in less time
    "anytime": ("run_id", "device", "epoch", "hours", "auroc", "reached", "on_front"),
    "history": ("run_id", "epoch", "train_loss", "val_loss", "val_auroc", "lr", "seconds"),
    # recipes compared in several goals at once; goal: names of the compared goals, separated by spaces
    # auroc: external AUROC
    # maps: ? enrichment of heat maps on the finding divided by the enrichment of a bright image center (see
    #     `attention`), mean over external hospitals
    # on_front: no other recipe is at least as good in every goal and better in one goal
    # p_front: ? share of resamples (of AUROC and gap) in which on_front is true
    "goals": ("run_id", "goal", "auroc", "gap", "maps", "macs", "on_front", "p_front"),
    # SHAP value of each factor for each recipe, from the model of the table `surrogate`; the table is empty if r2_low
    #     is not above 0
    "factor_shap": ("metric", "factor", "level", "run_id", "shap"),
    # results that other authors published: without intervals, never ranked; split "": not stated
    "published": ("name", "setting", "source", "dataset", "split", "finding", "metric", "value"),
    # one row per cohort; role: internal or external
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
    # number of images and patients in each split
    "splits": ("dataset", "split", "images", "patients"),
    # co-occurrence of two findings: counts over the scored images in which both findings have a label
    "cooccurrence": ("dataset", "split", "finding", "other", "both", "first_only", "second_only", "neither"),
    # number of scored images in each label state
    "prevalence": ("dataset", "split", "finding", "present", "absent", "uncertain", "not_mentioned", "unmapped"),
}
