"""The columns of every table of a report.

Every table has all its columns. The comment above a table describes its rows and columns. A `?` before the description
of a column (`lead: ? difference ...`) means that cells of this column may be empty: NaN, None or "".

These columns have the same meaning in most tables, so the comments of the tables do not describe them again:
    run_id        id of a run; in rows of recipes, id of the recipe
    dataset       name of a cohort, or "external" for the unweighted mean over the external cohorts
    finding       one finding, or "macro" for the unweighted mean over findings
    value         ? the number that the row states; NaN if it cannot be computed, for example with too few patients
    low, high     ? bounds of the 95 % interval of `value` over resampled patients; for a recipe also over seeds
    n             number of images; in a macro, the smallest number over its findings
    num_positive  number of images with the finding; in a macro, the smallest number over its findings
    num_runs      number of compared runs or recipes
AUROCs, probabilities and shares are numbers from 0 to 1.
"""

from reports.schemas.heatmap_tables import EXPLAINED
from reports.schemas.shortcut_tables import SOURCES

# One row per score. At an external hospital, "macro" is the mean over the findings that this hospital and the internal
# hospital score.
SCORES = (
    "run_id",
    "dataset",
    # internal cohort: val, test, expert_valid or expert_test; external cohort: the split with its scored rows (all or
    # test); "external": "mixed" if the hospitals differ
    "split",
    # source of the labels: report (text labeler), radiologist, phantom, or stated (by the owner of the data);
    # "external": "mixed" if the hospitals differ
    "reference",
    "mapping",  # label mapping: default, strict, broad
    "subgroup",  # the scored patients: "all", or a subgroup such as "sex=F"
    "selection",  # the epoch whose weights are scored: best_val (best on the validation split) or last
    "calibrator",  # method that maps logits to probabilities: none, platt, temperature, isotonic
    "operating_point",  # ? threshold rule: f1_max, youden, sens_90, f1_grid; "" for metrics without a threshold
    "finding",  # one finding, "macro", or "core": the mean over the findings that every cohort has
    # a metric of registry.yaml; for external cohorts also auroc_gap (internal - external),
    # ece_drift and brier_drift, which are external - internal
    "metric",
    "value",  # ? the score; NaN if there are fewer positive or negative patients than min_count
    "low",
    "high",
    "n",  # number of images; in rows of "external", the sum over the hospitals
    "num_positive",  # number of images with the finding; "external" as above
    "num_negative",  # number of images without the finding; "external" as above
    "num_patients",  # number of patients; "external" as above
    "num_findings",  # number of averaged findings; 1 if `finding` is a single finding
)

# columns of a gap. value: internal minus external AUROC; internal, external: ? these two AUROCs, over the same findings
# num_findings: number of these findings; n, num_positive, num_patients: numbers of external images and patients; rows of
# "external" have the sum over the hospitals, but the minimum of num_findings
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
    # one row per run of the grid, including failed runs, and one row per recipe with several runs
    "runs": (
        "run_id",
        # run: trained by the grid; recipe: the mean of runs that differ only in the seed
        # tta (test-time augmentation), ensemble: derived from other runs, never ranked
        # panel: joins runs with one finding each; the panel is ranked in place of these runs
        # external: an imported model, ranked only if the grid trains nothing
        "kind",
        # ? derived run: names of its source runs; recipe: its seeds; imported model: its file format; "" for other runs
        "of",
        "name",  # display name of the architecture, e.g. "DenseNet-121", or of the ensemble
        "architecture",  # name of the registry entry, e.g. "densenet121"
        "family",  # ? classic, modern, efficient, attention, lightweight, underexplored, scratch; "" if unknown
        # the columns from `optimizer` to `weights` have names of the registry entries that the run uses
        "optimizer",
        "loss",
        "uncertainty",  # rule for uncertain training labels, e.g. U-Ones
        "preprocessing",
        "augmentation",
        "weights",  # the starting weights; "none" for random weights
        "corpus",  # ? training data of the starting weights, e.g. in1k; "" for random weights or if not stated
        "weights_licence",  # ? license of the starting weights; "" for random weights or if not stated
        "train_on",  # name of the training cohort; for an imported model, the training data that its owner declares
        "seed",  # whole number that determines the random numbers of the training
        "what",  # ? the run's values of the settings that vary in the grid, e.g. "sam · seed 1"
        "state",  # done, failed, started, absent
        "reason",  # ? the reason why the run has no score, or that the run is only a part of a panel
        "remark",  # ? irregularities of the training: "limit reached: ...", "memory ran out: ..."
        "epochs",  # number of finished epochs; 0 for runs without a training of their own
        "best_epoch",  # number of the epoch whose weights the run has, from 1; 0 for recipes and derived runs
        "gradient_evaluations",  # ? number of forward and backward passes in training, each over one batch
        "seconds",  # ? training time in seconds, summed over epochs and devices, without validation
        "command",  # the command that reproduces this row
        "config",  # the configuration as canonical JSON
        "commit",  # ? commit of this project's code
        "versions",  # ? "torch 2.15.0, timm 1.0.31, ..."
        "device",  # ? name of the device that the run used: "cpu (1 thread)", "NVIDIA H200"
        "weights_sha256",  # ? hash of the trained weights
    ),
    # the runs of each ranked recipe, in the order of their seeds; a recipe with one run has the id of this run
    # The tables `scores`, `gaps`, `costs` and `runs` have rows of runs and rows of recipes (means over their runs). The
    # tables that compare recipes (ranks, robustness, selection, frontier, goals) have only rows of recipes.
    "recipes": ("recipe_id", "run_id"),
    # rankings of the recipes, best recipe first, one ranking for each criterion; a criterion is a metric, a dataset and a
    #     finding. The page first shows the ranking by auroc, external, macro.
    # metric: auroc, auprc, ece (after Platt scaling), gap (in AUROC), or a custom metric; value: the recipe's score
    # mean_rank: mean of the rank over resampled patients (1 = best); rank_low, rank_high: bounds of its 95 % interval
    # p_best: share of the resamples in which the recipe is best
    # group: number of the tie group, from 1; p_anchor: ? adjusted p-value of the difference from the first recipe of the
    #     group; NaN for this first recipe
    # all_low, all_high: bounds of an interval of the score, simultaneous over all recipes
    # lead: ? difference between the scores of this row and the next row, above 0 if this row is better; NaN in the last
    #     row of a ranking, like the following columns
    # lead_low, lead_high: ? bounds of the lead's own interval
    # lead_all_low, lead_all_high: ? bounds of the lead's interval that is adjusted for all pairs of rows
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
    # paired differences between the best recipes: the macro score of one recipe minus the macro score of another recipe
    # first, second: ids of the two recipes; value: score of `first` minus score of `second`; metric: auroc or gap
    # all_low, all_high: bounds of the interval of `value` that is adjusted for all pairs of ranked recipes (Holm's
    #     method); this interval decides everywhere on the page whether the difference is clear
    # Only the bench.scoring.across_runs.all_pairs.MOST best recipes have rows.
    "pairs": ("first", "second", "dataset", "metric", "value", "low", "high", *_SIMULTANEOUS),
    # agreement of two cohorts on the order of the recipes
    # first, second: names of the two cohorts; tau: ? Kendall's tau-b (-1 to 1) between the recipes' macro AUROCs
    # low, high: ? bounds of the interval of tau; num_runs: number of recipes in the comparison
    "agreement": ("first", "second", "tau", "low", "high", "num_runs"),
    # variation of the macro AUROC of a recipe with several seeds, for each cohort and for "external"; run_id: id of the
    #     recipe
    # seed_sd: standard deviation of the AUROC over the seeds, on the same patients
    # patient_sd: ? standard deviation of the AUROC of one run over resampled patients
    "seeds": ("run_id", "dataset", "num_seeds", "seed_sd", "patient_sd"),
    # gaps: internal test AUROC minus external AUROC, of each finding, and of the macros over the shared findings
    "gaps": ("run_id", "dataset", *_GAP),
    # gaps as in the table `gaps`, but from the AUROC of each internal split: test, and the splits that radiologists
    #     labeled (expert_*)
    # split: the internal split; reference: source of its labels; external_reference: source of the external labels
    # dataset: an external cohort, "external", or "worst" (the hospital with the largest gap)
    # hospital: ? in rows of "worst", the name of this hospital's cohort; "" in other rows
    "references": ("run_id", "split", "reference", "dataset", "external_reference", "hospital", *_GAP),
    # components of the gap of a metric (auroc, auprc, ece); `value` is an amount in the unit of the metric
    # A recipe has only rows of the macro, which are means over its runs.
    # part: gap (the entire gap), prevalence, case_mix, labels or remainder. The last four sum to the gap, also in each
    #     resample; an unknown component (`value` is NaN) counts as 0 in this sum.
    # reason: ? why the component is unknown, or how it was measured
    # effective_positive, effective_negative: ? Kish's effective number of weighted positive and negative images
    # covered: ? share of internal images for which external images with the same label, sex, age and view exist
    # least, most: ? minimum and maximum of the component `labels` over the admissible label mappings
    # paired: ? only for the component `labels`: share of findings whose two sets of labels belong to the same images
    # num_findings: number of findings for which the component is known
    "decomposition": ("run_id", "dataset", "metric", "finding", "part", "value", "low", "high", *_DECOMPOSED),
    # scores of subgroups ("sex=F", "sex=F age=<40", ...) and of all patients ("all", whose AUROC is in `scores`)
    # If `subgroup` is the name of an attribute ("sex"), the metric is a spread (auroc_spread, ...): the largest minus the
    #     smallest score of the attribute's subgroups.
    "subgroups": SCORES,
    # effective robustness of each recipe (`value`): its external AUROC minus its expected external AUROC
    # internal, external: the two macro AUROCs of the recipe
    # expected: ? the AUROC that a line predicts from `internal`; the line is fitted to the logits of the other recipes'
    #     AUROCs
    # slope, intercept: a line that is fitted to the logits of all num_runs recipes
    # all_low, all_high: ? bounds of an interval of `value`, simultaneous over all recipes at this hospital
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
    # the recipe that each selection rule chooses, with its AUROC at each hospital
    # rule: the AUROCs by which the rule chooses: "internal val", "internal test", an external cohort, or "external"
    # oracle: whether the rule uses external labels; run_id: the chosen recipe; value: AUROC of this recipe at `dataset`
    # best_run, best: the recipe with the highest AUROC at `dataset`, and this AUROC
    # regret: `best` minus `value`; low, high: bounds of the interval of the regret
    # optimism: ? the amount by which the AUROC that chose the recipe is too high; NaN for "internal val"
    # num_runs: number of recipes from which the rule chooses
    "selection": ("rule", "oracle", "run_id", "dataset", "value", *_BEST, "low", "high", "optimism", "num_runs"),
    # the epoch that each rule selects, without intervals; epoch: number of the epoch, from 1
    # rule: best_val (or best_expert_valid), last, or oracle (best epoch on the internal test split; only with the setting
    #     schedule.audit)
    # chosen_auroc: macro AUROC on the split that selects the epoch (val or expert_valid)
    # test_auroc: ? macro AUROC on the internal test split; NaN without schedule.audit
    # over_honest: ? test_auroc minus the test_auroc of the rule best_*; for the oracle, this difference is its optimism
    "epochs": ("run_id", "rule", "epoch", "chosen_auroc", "test_auroc", "over_honest"),
    # macro gap, averaged over recipes: for each hospital, and averaged over hospitals ("external")
    # num_runs: number of recipes; num_worse, num_better: number of recipes whose gap is clearly above 0 or clearly below 0,
    #     by an interval that is simultaneous over recipes
    # all_low, all_high: bounds of an interval of the mean, simultaneous over hospitals; for "external" equal to low, high
    "mean_gaps": ("dataset", "value", "low", "high", "num_runs", "num_worse", "num_better", *_SIMULTANEOUS),
    # cost of each network; operations and speed are those of inference, of one forward pass with one image
    # params, trainable_params: numbers of parameters; macs: multiply-accumulates; flops: 2 x macs
    # images_per_second: ? speed of inference; throughput_device: ? name of the device on which this speed was measured
    # peak_memory_bytes: ? peak memory in training: of the GPU or, without a GPU, of the process
    # seconds_per_epoch: ? median training time of an epoch, summed over devices; image_size: side of the input in pixels
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
    # reliability curves of each hospital: one per finding, and one over all findings (finding "pooled"); one row per bin
    #     of predicted probabilities that has images
    # calibrator: as in `scores`; bin: index of the bin, from 0; confidence: mean predicted probability in the bin
    # observed: share of the bin's images with the finding; low, high: bounds of the interval of this share
    # count: number of images in the bin
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
    # thresholds and calibrators of each finding, fitted on the internal validation split
    # rule: threshold rule, as `operating_point` in `scores`
    # threshold: ? a logit; probability: ? the sigmoid of this logit; both are NaN for fewer than min_count patients
    # platt_a, platt_b: ? Platt scaling is sigmoid(platt_a * logit + platt_b); temperature: ? divisor of the logit
    # num_positive_patients, num_negative_patients: numbers of validation patients with a positive (negative) image
    "operating_points": ("run_id", "finding", "rule", *_FITTED),
    # ROC and precision-recall curves; x and y are lists of 30 numbers each
    # kind roc: x is the false positive rate, y the sensitivity; kind pr: x is the recall, y the precision
    # finding "macro": the curve whose y is the mean over findings
    "curves": ("run_id", "dataset", "finding", "kind", "x", "y"),
    # numbers of images by label and call (positive or negative), at the thresholds fixed on internal validation
    # operating_point: threshold rule, as in `scores`
    # Findings without a score or without a threshold have no row.
    "confusion": (
        "run_id",
        "dataset",
        "split",
        "operating_point",
        "finding",
        "threshold",  # a logit; predictions at or above it are positive calls
        "true_positive",
        "false_positive",
        "false_negative",
        "true_negative",
    ),
    # AUROC (`value`) with DeLong's 95 % interval (low, high), and three standard errors of this AUROC:
    # se_image: by DeLong's method, over images; se_patient: by Obuchowski's method, over patients
    # se_bootstrap: ? standard deviation of the AUROC over resampled patients
    "delong": ("run_id", "dataset", "split", "finding", *_VALUE, "se_image", "se_patient", "se_bootstrap"),
    **SOURCES,
    **EXPLAINED,
    # region transplant test: effects on the predictions if pixels of a donor cohort are put into images of a host cohort
    # donor, host: names of the two cohorts, or "external" for the mean over external hospitals
    # donor: ? "" for kinds without a donor, which change pixels without another image
    # kind with a donor: border, corner, marker (the region that is copied), intensity (the gray values of the donor),
    #     resolution (the sharpness and noise of the donor), jpeg (the JPEG quality of the donor's file), causal (mean of
    #     marker, corner and border, with internal donors and external hosts)
    # kind without a donor: erased (markers removed), toggled (markers removed, and added to images without one),
    #     lungs_only (pixels outside the lungs hidden), lungs_masked (lungs hidden), jpeg_low (encoded as JPEG of quality
    #     25), clahe (local contrast equalized)
    # subset: the images that are counted, by their label of the finding: all, present, absent
    # measure: dp (mean signed change of the uncalibrated probability), abs_dp (mean absolute change of this probability),
    #     flip_rate (share of images whose call at the threshold changes), auroc (change of the AUROC)
    # value: the measure for the change that `kind` names
    # control: ? the measure for a control change: with pixels from the host's own cohort, or with the JPEG quality of the
    #     host's own file; NaN for kinds without a control
    # effect: `value` minus `control`, or `value` without a control; low, high: bounds of the interval of the effect
    # n: number of images of the host cohort; in a mean, the smallest number
    "transplants": (
        *("run_id", "kind", "donor", "host", "finding", "subset", "measure"),
        *("value", "control", "effect", "low", "high", "n"),
    ),
    # correlation of a shortcut score with the gap or the external AUROC, over architectures (means over the runs of each
    #     architecture)
    # score: source_bits (cross-entropy in bits of the classifier that predicts the source of an image from a run's
    #     features; a low value means that the source is easy to predict), or causal (effect of the kind `causal` in
    #     `transplants`)
    # against: gap (the macro gap in AUROC), or external (the external macro AUROC)
    # statistic: spearman, kendall, spearman_families (interval from resampled architecture families),
    #     partial (Spearman, adjusted for the logit of the internal AUROC); value: ? this correlation, -1 to 1
    # p: ? p-value of a permutation test; only for spearman
    # detectable: ? the smallest absolute Spearman correlation with p < .05; NaN if there are too few architectures
    # power: the probability of p < .05 if the true Spearman correlation is .5
    "associations": (
        *("score", "against", "statistic", "value", "low", "high", "p", "num_architectures", "num_families"),
        *("detectable", "power"),
    ),
    # symptoms: patterns in a run's predictions that technical faults cause; finding "all": a symptom of the entire run
    # kind: text that names the symptom; advice: text on the likely cause
    # value: depends on `kind`: an AUROC, a gain in mean AUROC (outputs in another order), or the share of images with
    #     equal logits (constant output); only AUROCs have an interval low, high
    "diagnostics": ("run_id", "dataset", "finding", "kind", "value", "low", "high", "advice"),
    # histograms of the uncalibrated probabilities of findings whose labels or predictions seem inverted; one row per bin
    # bin_low, bin_high: bounds of the bin, as probabilities; present, absent: numbers of images with and without the
    #     finding
    "histograms": ("run_id", "dataset", "finding", "bin_low", "bin_high", "present", "absent"),
    # external AUROC (`value`) under every admissible label mapping: of the macro, and of each finding that a mapping
    #     changes
    # num_positive: number of images with the finding under this mapping
    "mappings": ("run_id", "dataset", "mapping", "finding", "value", "low", "high", "n", "num_positive"),
    # effect of a label mapping on the recipes' macro AUROCs at a hospital, compared with the grid's own mapping
    # mapping: name of the other mapping; num_runs: number of recipes
    # mean_change: ? mean of the AUROC under this mapping minus the AUROC under the grid's mapping
    # largest: ? the largest absolute change of a recipe's AUROC
    # num_pairs: number of pairs of recipes; num_reversed: number of pairs whose order is reversed
    # tau: ? Kendall's tau-b of the two orders of the recipes, -1 to 1
    "reversals": ("dataset", "mapping", "num_runs", "mean_change", "largest", "num_pairs", "num_reversed", "tau"),
    # mean macro AUROC (`value`) of the num_runs recipes with one policy for training labels, on each set of test labels
    # policy: rule for uncertain labels, and other settings of the training labels, e.g. "U-Ones, blank ignore"
    # split, reference: the scored split and the source of its labels, as in `scores`
    # The table is empty if all recipes have the same policy.
    "policies": ("policy", "dataset", "split", "reference", "value", "low", "high", "num_runs"),
    # ablation: mean difference of a metric between two levels of a factor, over pairs of recipes that differ only in this
    #     factor; metric: auroc or gap (macros, averaged over external hospitals)
    # value: metric with the level `level` minus metric with the level `reference`
    # p: ? p-value, adjusted for the levels of the factor (Holm's method)
    # num_pairs: number of pairs of recipes; num_run_pairs: number of pairs of runs; pair_sd: ? standard deviation of the
    #     differences over the pairs of recipes; NaN for one pair
    # all_low, all_high: ? bounds as in the table `pairs` if there is only one pair of recipes; NaN for several pairs
    "ablation": (
        *("metric", "factor", "level", "reference", "value", "low", "high", "p"),
        *("num_pairs", "num_run_pairs", "pair_sd"),
        *_SIMULTANEOUS,
    ),
    # importance of each factor for a metric, from a model (random forest) that predicts the metric from the factors
    # metric: as in `ablation`; num_runs: number of recipes
    # importance: ? mean absolute SHAP value of the factor, in the unit of the metric
    # r2: R2 of the model's predictions for recipes that were not in its training data; r2_low: lower bound of the 95 %
    #     interval of r2
    # factor: ? If r2_low is not above 0, no factor has an importance, and there is a single row with factor "".
    "surrogate": ("metric", "factor", "importance", "r2", "r2_low", "num_runs"),
    # recipes by external macro AUROC and cost
    # cost: macs, params, or device_hours (training time in hours; only recipes on the most frequent device)
    # amount: the recipe's cost, as a number of multiply-accumulates (macs), parameters (params) or hours (device_hours)
    # on_front: whether no other recipe is at least as good and at least as cheap, and better or cheaper
    # p_front: ? share of resamples in which on_front is true
    # gain: ? AUROC of the recipe minus AUROC of the best cheaper recipe, with the bounds gain_low, gain_high of its
    #     interval; NaN for the cheapest recipe
    "frontier": ("run_id", "cost", "amount", "on_front", "p_front", "gain", "gain_low", "gain_high"),
    # forecast of the external macro AUROC of a new recipe with twice the cost of the most expensive recipe
    # cost: as in `frontier`; amount: the cost of the new recipe
    # value: the forecast AUROC; low, high: ? bounds of its 95 % prediction interval
    # gain: change of the AUROC for twice the cost, from a line over log2(cost) of all num_recipes recipes;
    #     gain_low, gain_high: ? bounds of its interval
    # check: ? AUROC of the most expensive recipes, forecast from the cheaper recipes, with the bounds check_low, check_high
    # reached: the true mean AUROC of the most expensive recipes, to be compared with `check`
    "compute_forecast": (
        *("cost", "amount", "value", "low", "high", "gain", "gain_low", "gain_high"),
        *("check", "check_low", "check_high", "reached", "num_recipes"),
    ),
    # AUROC by training time, one row per run and epoch
    # hours: training time so far in hours, summed over devices
    # auroc: ? macro AUROC after this epoch, on the split that selects the epoch
    # reached: the AUROC that the run would have if training stopped after this epoch
    # on_front: whether no run on the same device reached this AUROC in less time
    "anytime": ("run_id", "device", "epoch", "hours", "auroc", "reached", "on_front"),
    # training history, one row per run and epoch; epoch: number of the epoch, from 1
    # train_loss: mean loss over the optimizer steps; val_loss, val_auroc: ? cross-entropy and macro AUROC on the split val
    # lr: learning rate at the end of the epoch (of the first parameter group)
    # seconds: training time of the epoch in seconds, summed over devices, without validation
    "history": ("run_id", "epoch", "train_loss", "val_loss", "val_auroc", "lr", "seconds"),
    # recipes compared in several goals at once; goal: names of the compared goals (columns), separated by spaces
    # auroc, gap: macros, averaged over external hospitals; macs: ? multiply-accumulates of one forward pass with one image
    # maps: ? enrichment of heat maps on the finding, divided by the enrichment of a fixed map that is bright in the image
    #     center (see `attention`); mean over external hospitals
    # on_front: whether no other recipe is at least as good in every goal and better in one goal
    # p_front: ? share of resamples (of AUROC and gap) in which on_front is true
    "goals": ("run_id", "goal", "auroc", "gap", "maps", "macs", "on_front", "p_front"),
    # shap: SHAP value of each factor for each recipe, in the unit of the metric, from the model of the table `surrogate`
    # level: the recipe's level of the factor. The table is empty if r2_low in `surrogate` is not above 0.
    "factor_shap": ("metric", "factor", "level", "run_id", "shap"),
    # scores (`value`) that other authors published: without intervals, never ranked
    # name: the published model; setting: text on its training or test; source: the publication; split: ? "" if not stated
    "published": ("name", "setting", "source", "dataset", "split", "finding", "metric", "value"),
    # one row per cohort
    "cohorts": (
        "dataset",
        "role",  # internal or external
        "layout",  # name of the layout of the dataset's files
        "title",  # name of the hospital in full
        "place",  # ? city and country
        "label_source",  # as `reference` in `scores`
        "found",  # number of images that the dataset lists
        "absent",  # number of selected images without a file
        "not_frontal",  # number of images that are left out because they are not frontal
        "unreadable",  # number of images whose file cannot be decoded
        "used",  # number of images that remain
        "patients",  # number of patients
        "female",  # number of images of women
        "male",  # number of images of men
        "age_median",  # ? median age over images, in years
        "ap",  # number of images with the view AP
        "pa",  # number of images with the view PA
        "headline_split",  # name of the split with the scored rows
        "fingerprint",  # hash of images and labels; several hashes are joined by "/"
        "licence",  # ? license of the images
    ),
    # numbers of images and patients in each split of the internal cohort, and in the headline split of each external
    #     cohort
    "splits": ("dataset", "split", "images", "patients"),
    # co-occurrence of two findings (`finding` is the first, `other` the second): numbers of scored images in which both
    #     findings, only the first, only the second, or neither is present; only images with a label of both findings count
    "cooccurrence": ("dataset", "split", "finding", "other", "both", "first_only", "second_only", "neither"),
    # numbers of images in each label state, for each finding and each split in `splits`; unmapped: the state null
    "prevalence": ("dataset", "split", "finding", "present", "absent", "uncertain", "not_mentioned", "unmapped"),
}
