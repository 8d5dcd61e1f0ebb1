"""The columns of every table of a report.

Every table has all its columns. The comments describe the columns. A column that "may be empty" can have cells with
NaN, None or "". A number that cannot be computed is NaN in every table.

If no comment says otherwise, columns with these names have the same meaning in every table:
    run_id: id of a run; in tables that compare recipes, id of a recipe
    dataset: name of a cohort, or "external" for the unweighted mean over the external cohorts
    finding: one finding, or "macro" for the unweighted mean over findings
    value: the score or difference that the comment names; AUROC and other shares are numbers from 0 to 1, not percent
    low, high: bounds of the 95 % interval of value
    n: number of images; num_*: a number, such as num_patients: number of patients
"""

from reports import extensions, hooks
from reports.schemas.shortcut_tables import SOURCES

INVERTED = "inverted or mislabeled"  # in the table `diagnostics`, the kind of an AUROC below .5

# One row per score. The macro of an internal split is over the findings with a score in this split. The macro of an
# external cohort is over the findings of the mean, if there is one (`reports.schemas.common_findings`).
# low, high: bounds of the 95 % interval over patients; for a recipe over patients and seeds
SCORES = (
    "run_id",
    "dataset",  # cohort name, or "external"
    # internal cohort: val, test, expert_valid or expert_test; external cohort: all or test, whichever is its headline
    # split (the split that the page shows); dataset "external": the split that all external cohorts share, else "mixed"
    "split",
    # source of the labels: report (a program that reads reports), radiologist, phantom, or stated (by the owner of the
    # data); dataset "external": the source that all external cohorts share, else "mixed"
    "reference",
    "mapping",  # label mapping: default, strict, broad
    "subgroup",  # "all" for all images, or a patient group such as "sex=F"
    "selection",  # rule that selects the epoch: best_val (best on validation) or last
    "calibrator",  # method that maps logits to probabilities: none (only the sigmoid), platt, temperature, isotonic
    "operating_point",  # threshold rule: f1_max, youden, sens_90, f1_grid; "" for metrics without a threshold
    "finding",  # one finding, or "macro"
    # a metric of registry.yaml; for external cohorts also auroc_gap (internal minus external AUROC), and ece_drift and
    # brier_drift (external minus internal calibration error)
    "metric",
    "value",  # may be empty: the score; NaN if there are fewer positive or negative patients than min_count
    "low",
    "high",
    # n to num_patients: numbers of images, positive images, negative images and patients. A macro has the
    # smallest number over its findings; dataset "external" has the sum over the external cohorts.
    "n",
    "num_positive",
    "num_negative",
    "num_patients",
    "num_findings",  # number of averaged findings; 1 if `finding` is a single finding
)

# value: internal minus external AUROC; internal, external (may be empty): these two AUROCs, over the same findings
# num_findings: number of these findings; n, num_positive, num_patients: numbers of external images, of positive
#     external images, and of external patients
# In rows with the dataset "external", num_findings is the minimum over the hospitals; the other numbers are sums.
_GAP = ("finding", "value", "low", "high", "internal", "external", "num_findings", "n", "num_positive", "num_patients")

# minimum number of runs, recipes or architectures for a rank correlation or a line over them: with fewer, the interval of a
# correlation contains nearly all values, and a line hardly predicts the run that was left out
LEAST_RELATED = 8

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
_VALUE = ("value", "low", "high")
_LINE = ("slope", "intercept", "num_runs")
# bounds of a 95 % interval that holds for several rows at once (simultaneous interval); the comment of the table names
# these rows
_SIMULTANEOUS = ("all_low", "all_high")

# name of table -> its columns
SCHEMAS: dict[str, tuple[str, ...]] = {
    "scores": SCORES,
    # one row per run of the grid, including failed runs, and one row per recipe with several runs
    "runs": (
        "run_id",
        # run: trained by the grid; recipe: mean of the runs that differ only in the seed
        # tta (test-time augmentation), ensemble: derived from other runs, never ranked
        # panel: joins runs with one finding each; the panel is ranked, these runs are not
        # external: an imported model, ranked only if the grid trains no run
        "kind",
        "of",  # may be empty: source runs of a derived run, seeds of a recipe, or file format of an imported model
        "name",  # display name of the architecture, e.g. "DenseNet-121", or of the ensemble
        "architecture",  # name of the registry entry, e.g. "densenet121"
        # may be empty (unknown): classic, modern, efficient, attention, lightweight, other, scratch
        "family",
        # the columns from `optimizer` to `weights` have names of the registry entries that the run uses
        "optimizer",
        "loss",
        "uncertainty",  # rule for uncertain training labels, e.g. U-Ones
        "preprocessing",
        "augmentation",
        "weights",
        "corpus",  # training data of the starting weights, e.g. in1k; "" for random weights or if not stated
        "weights_licence",  # license of the starting weights; "" for random weights or if not stated
        "train_on",  # name of the training cohort; for an imported model, the training data that its owner declares
        "seed",
        "what",  # settings that vary among the runs of the grid, e.g. "sam · seed 1"
        "state",  # done, failed, started (not finished, or not usable), absent (not started)
        "reason",  # may be empty: the reason why the run has no score or no rank
        "remark",  # may be empty: irregularities of the training: "limit reached: ...", "memory ran out: ..."
        "epochs",  # number of trained epochs; 0 for derived runs and imported models; for a recipe the mean
        "best_epoch",  # selected epoch, counted from 1; 0 for recipes, derived runs and imported models
        "gradient_evaluations",  # may be empty: number of forward and backward passes in training, each over one batch
        "seconds",  # may be empty: training time in seconds, summed over the devices that train the run
        "date",  # may be empty: day (UTC) on which the run was finished; for a recipe that of its last run
        "command",  # the command that reproduces this row
        "config",  # the configuration as canonical JSON
        "commit",  # may be empty: commit of this project's code
        "versions",  # may be empty: "torch 2.15.0, timm 1.0.31, ..."
        "device",  # may be empty: name of the device that the run used: "cpu (1 thread)", "NVIDIA H200"
        "weights_sha256",  # may be empty: hash of the trained weights
    ),
    # the runs of each trial of a grid with `search`; all other tables have the runs of the chosen trials only
    # recipe: name of the recipe; recipe_id: id of the first run of its trial 0
    # trial: number of the trial, 0 for the settings of the grid itself; settings: what was drawn, "" for trial 0
    # val_auroc, gradient_evaluations: NaN if the run is not finished; chosen: whether the report shows the trial
    "trials": (
        *("recipe", "recipe_id", "trial", "settings", "run_id", "seed", "leave_out"),
        *("state", "val_auroc", "gradient_evaluations", "chosen"),
    ),
    # the runs of each ranked recipe, in the order of their seeds
    # A recipe has an id of its own. Only if the grid has too few seeds for intervals over seeds, a recipe with one run
    # has the id of this run.
    # The tables `scores`, `gaps`, `mappings`, `costs` and `runs` also have rows of recipes. The numbers of such a
    # row are means over the runs of the recipe, with intervals over patients and seeds.
    # In the tables `ranks`, `seeds`, `robustness`, `frontier` and `factor_shap`, run_id is the id
    # of a recipe.
    "recipes": ("recipe_id", "run_id"),
    # rankings of the recipes: one row per criterion and recipe, the best recipe first
    # A criterion is a combination of metric, dataset and finding. The page first shows auroc, external, macro.
    # metric: auroc, auprc, ece (after Platt scaling), gap (the gap in AUROC), or a metric of an extension or a
    #     custom metric
    # Extensions add rankings whose tests let hospitals vary; their rows lack the columns that may be empty.
    # value; low, high (may be empty): the score and its own interval
    # mean_rank: mean rank over draws from the errors of the scores, 1 is best
    # rank_low, rank_high: 1 + number of recipes that are better, and number of recipes - number that are worse, by the paired tests
    #     of the tie groups; in 95 % of samples, the intervals of all recipes of the ranking contain the true ranks
    # p_best: share of these draws in which the recipe ranks first; not the probability that it is truly the best
    # group: number of the tie group, 1 is best
    # all_low, all_high (may be empty): interval of the score, simultaneous over all recipes
    # lead (may be empty): difference from the next recipe of the ranking, above 0 because this recipe is better; NaN in
    #     the last row
    # lead_low, lead_high (may be empty): interval of lead alone
    # lead_all_low, lead_all_high (may be empty): interval of lead, adjusted for all pairs of recipes
    "ranks": (
        *("metric", "dataset", "finding", "run_id"),
        *("value", "low", "high"),
        "mean_rank",
        "rank_low",
        "rank_high",
        "p_best",
        "group",
        *_SIMULTANEOUS,
        "lead",
        "lead_low",
        "lead_high",
        "lead_all_low",
        "lead_all_high",
    ),
    # paired differences between the best recipes: macro score of the recipe `first` minus macro score of the recipe
    #     `second`, on the same patients; `bench.scoring.across_runs.all_pairs.MOST` limits the number of recipes
    # first, second: ids of recipes; metric: auroc, gap or a metric of an extension
    # all_low, all_high: interval that is adjusted for all pairs of ranked recipes (Holm); the page calls the difference
    #     clear if this interval excludes 0
    "pairs": ("first", "second", "dataset", "metric", "value", "low", "high", *_SIMULTANEOUS),
    # external macro AUROC of a TTA run or an ensemble minus the mean of its runs, on the same patients (internal without external hospitals)
    "derived": ("run_id", "value", "low", "high"),
    # agreement of two cohorts on the ranking of the recipes; first, second: names of the cohorts
    # tau (may be empty): Kendall's tau-b (-1 to 1) between the macro AUROCs of the recipes at the two cohorts
    # low, high (may be empty): interval of tau; pairs of recipes whose order is not clear at both may have any order
    # num_runs: number of recipes with a value in every cohort
    "agreement": ("first", "second", "tau", "low", "high", "num_runs"),
    # variation of the macro AUROC of each recipe with several seeds, in each cohort and for the mean "external"
    # run_id: id of the recipe; num_seeds: number of its runs
    # seed_sd: standard deviation of the AUROC over seeds, on the same patients
    # patient_sd (may be empty): standard error of the AUROC of one run over patients
    "seeds": ("run_id", "dataset", "num_seeds", "seed_sd", "patient_sd"),
    # value: gap, which is the internal test AUROC (`internal`) minus the external AUROC (`external`)
    # Both AUROCs of a macro gap are means over the same findings, those with a score at both hospitals.
    "gaps": ("run_id", "dataset", *_GAP),
    # gaps as in the table `gaps`, but from each internal split: test, and the splits that radiologists labeled
    #     (expert_*)
    # split, reference: internal split, and the source of its labels; external_reference: source of the external labels
    # dataset: name of a cohort, "external", or "worst" (the hospital with the largest gap)
    # hospital (may be empty): only for the dataset "worst": name of the hospital with the largest gap
    "references": ("run_id", "split", "reference", "dataset", "external_reference", "hospital", *_GAP),
    # components of the gap of a metric (auroc, auprc, ece), in units of the metric
    # A recipe has only rows with the finding "macro", which are means over its runs.
    # part: gap (the whole gap), or a component: prevalence, case_mix, labels or remainder. The components sum to the
    #     gap. An unknown component is part of the remainder. A macro is unknown if a
    #     finding is unknown.
    # value (may be empty): amount of the part; NaN if the component is unknown
    # reason (may be empty): why the component is unknown, or how it was measured
    # effective_positive, effective_negative (may be empty): Kish's effective number of positive and of negative
    #     external images; the images have weights that give them the internal case mix
    # covered (may be empty): share of internal images whose combination of sex, age decade and view also occurs among
    #     external images with the same label
    # num_findings: number of findings for which the component was measured
    # least, most (may be empty): only for the component `labels`: its minimum and maximum over all label mappings
    # paired (may be empty): only for the component `labels`, which compares two sets of labels: share of findings for
    #     which both sets are labels of the same images; 0 means that the sets are from different patients
    "decomposition": ("run_id", "dataset", "metric", "finding", "part", "value", "low", "high", *_DECOMPOSED),
    # scores of patient groups; subgroup: a group such as "sex=F" or "sex=F age=<40", or "all" (all images). The AUROC
    #     of "all" is only in the table `scores`.
    # If `subgroup` is an attribute such as "sex", the metric is a spread (such as auroc_spread): largest minus smallest
    #     score of its groups.
    "subgroups": SCORES,
    # value: effective robustness, which is the external AUROC of a recipe minus the AUROC that a line predicts from its
    #     internal AUROC; the line is fitted to the logits of the AUROCs of the other recipes
    # all_low, all_high: interval that is simultaneous over all recipes at this hospital
    # internal, external: macro AUROCs of the recipe; expected: the predicted external AUROC
    # slope, intercept: the line on the logit scale, fitted to all recipes; num_runs: number of recipes
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
    # value: macro gap, averaged over recipes: at each hospital, and for the mean over hospitals ("external")
    # num_runs: number of recipes; num_worse, num_better: number of recipes whose interval of the gap is entirely above
    #     0, and entirely below 0; these intervals are simultaneous over recipes
    # all_low, all_high: interval of the mean gap, simultaneous over hospitals; for the dataset "external", this
    #     interval is equal to low and high
    "mean_gaps": ("dataset", "value", "low", "high", "num_runs", "num_worse", "num_better", *_SIMULTANEOUS),
    # cost of each scored run
    # params: number of parameters; trainable_params: number of those that training changes (with LoRA: entries of the
    #     trained matrices; of imported models: all); macs: multiply-accumulate operations for one image; flops: 2 x macs
    # not_counted: operations of more than 1 % of macs that macs leaves out, as "silu 1.6 %", with ", " between them
    # images_per_second (may be empty): inference speed on the device throughput_device
    # peak_memory_bytes (may be empty): peak memory in training
    # seconds_per_epoch (may be empty): median training time of an epoch, summed over devices
    # image_size: side of the input in pixels
    "costs": (
        "run_id",
        "params",
        "trainable_params",
        "macs",
        "flops",
        "not_counted",
        "images_per_second",
        "throughput_device",
        "peak_memory_bytes",
        "seconds_per_epoch",
        "image_size",
    ),
    # calibration curves of all findings, uncalibrated and Platt-scaled
    # bin: index of the bin of predicted probabilities, from 0
    # confidence (may be empty): mean predicted probability of the bin; count: number of pairs of image and finding in the bin
    # smooth (may be empty): smooth calibration curve at the probability `confidence`, from all images
    # smooth_low, smooth_high (may be empty): its pointwise 95 % band
    "reliability": (
        "run_id",
        "dataset",
        "calibrator",
        "bin",
        "confidence",
        "count",
        "smooth",
        "smooth_low",
        "smooth_high",
    ),
    # thresholds and calibrators, fixed on the internal validation split; rule: threshold rule, as in `scores`
    # threshold (may be empty): a logit; probability (may be empty): the same threshold as a probability
    #     Both are NaN if fewer than min_count patients have a positive image, or fewer than min_count a negative image.
    # platt_a, platt_b (may be empty): calibrated probability = sigmoid(platt_a * logit + platt_b)
    # temperature (may be empty): divisor of the logit in temperature scaling
    # num_positive_patients, num_negative_patients: numbers of validation patients with a positive image, and with a
    #     negative image
    "operating_points": ("run_id", "finding", "rule", *_FITTED),
    # curves; x and y of a row are lists with at most 30 numbers each
    # kind roc: x is the false positive rate, y the sensitivity; kind pr: x is the recall, y the precision
    # kind f1, sensitivity, specificity: x is the threshold, an uncalibrated probability
    # finding "macro": the curve with the mean y over findings
    "curves": ("run_id", "dataset", "finding", "kind", "x", "y"),
    # confusion matrices: numbers of images by label and positive call; operating_point: threshold rule, as in `scores`
    # The thresholds are fixed on internal validation. Findings without a score or without a threshold have no row.
    "confusion": (
        "run_id",
        "dataset",
        "split",
        "operating_point",
        "finding",
        "threshold",  # a logit
        "true_positive",
        "false_positive",
        "false_negative",
        "true_negative",
    ),
    # value: AUROC; low, high: DeLong's interval; se_*: standard error of the AUROC by two methods:
    # se_image (DeLong, independent images), se_patient (Obuchowski, independent patients)
    "delong": ("run_id", "dataset", "split", "finding", *_VALUE, "se_image", "se_patient"),
    **SOURCES,
    # region transplant test: images of a host cohort are changed, most often with pixels of a donor cohort
    # donor, host: names of cohorts, or "external" for the mean over external hospitals; donor "": a change without a
    #     donor
    # kind with a donor: border, corner, marker (the region that is copied), intensity (the gray values of the donor),
    #     resolution (the sharpness and noise of the donor), jpeg (the JPEG quality of the donor's file), causal (mean
    #     of marker, corner and border, with internal donors and external hosts)
    # kind without a donor: erased (markers removed), toggled (markers removed, and added to images without one),
    #     lungs_only (pixels outside the lungs hidden), lungs_masked (lungs hidden), jpeg_low (encoded as JPEG of
    #     quality 25), clahe (local contrast equalized)
    # measure: dp and abs_dp (mean signed and mean absolute change of the probability), flip_rate (share of images whose
    #     prediction changes at the threshold), auroc (change of the AUROC)
    # value: the measure of the change
    # control (may be empty): the measure of a similar change without the tested property, such as pixels from the
    #     host's own cohort, another region erased, or the JPEG quality of the host's own file; NaN for kinds without a
    #     control
    # effect: value minus control; value if there is no control; low, high (may be empty): interval of effect; NaN if
    #     all images change equally
    # subset: the images that are measured: all, or those with the label present, or absent, for the finding
    # n: number of images of the host cohort
    "transplants": (
        *("run_id", "kind", "donor", "host", "finding", "subset", "measure"),
        *("value", "control", "effect", "low", "high", "n"),
    ),
    # a synthetic external image before and after the marker of an internal image is pasted into it, and the probability of the
    #     finding whose probability markers change most; the image is the one of n with the median change
    # picture (may be empty): bytes of a WebP file, both images side by side
    "marker_example": ("run_id", "dataset", "finding", "before", "after", "n", "picture"),
    # symptoms: patterns in a run's predictions that technical faults cause; finding "all": a symptom of the entire run
    # kind: the symptom in words, from `bench.scoring.diagnostics`; advice: likely cause, or what to check
    # p (empty for a constant output): corrected for all tests of the run, on the page also for all runs of the grid
    # value: AUROC; for a constant output, the share of images with the same logit; if the outputs seem to be in another
    #     order of findings, the amount by which the right order would raise the mean AUROC
    # low, high (may be empty): interval of an AUROC
    "diagnostics": ("run_id", "dataset", "finding", "kind", "value", "low", "high", "p", "advice"),
    # value: external AUROC under each label mapping: of the macro, and of each finding whose labels a mapping changes
    # n, num_positive: numbers of images and of positive images; a macro has the smallest number over its findings
    "mappings": ("run_id", "dataset", "mapping", "finding", "value", "low", "high", "n", "num_positive"),
    # value: mean difference of a metric between two levels of a factor (level minus reference), over pairs of recipes
    #     that differ only in this factor; metric: auroc (external macro AUROC) or gap (external macro gap)
    # p: p-value, Holm-adjusted over the levels of the factor
    # num_pairs: number of pairs of recipes; num_run_pairs: number of pairs of runs
    # pair_sd (may be empty): standard deviation of the differences over the pairs of recipes; NaN for one pair
    # all_low, all_high (may be empty): only if there is just one pair of recipes: its interval in the table `pairs`
    "ablation": (
        *("metric", "factor", "level", "reference", "value", "low", "high", "p"),
        *("num_pairs", "num_run_pairs", "pair_sd"),
        *_SIMULTANEOUS,
    ),
    # value: difference of macro AUROC between a training algorithm and ERM (algorithm minus ERM), mean over pairs of
    #     recipes that differ only in the algorithm
    # setting: "" for the mean over all pairs; if the pairs have several settings (architecture and so on), the name of one
    # algorithm: title of the algorithm, with its groups if the grid compares several kinds of groups
    # dataset, split: the mean "external", an external cohort, or a test split of the internal cohort; in a pool of training
    #     hospitals, "test" is the mean over them, and a split such as "test:mimic" is one of them
    # p: p-value of this row alone; p_holm, all_low, all_high: p-value and interval adjusted over the algorithms by Holm's
    #     method, separately for each setting, dataset and split
    # num_pairs: number of pairs of recipes; num_run_pairs: number of pairs of runs with the same seed (and
    #     the same training hospitals)
    "algorithms": (
        *("setting", "algorithm", "dataset", "split", "value", "low", "high", "p", "p_holm"),
        *_SIMULTANEOUS,
        *("num_pairs", "num_run_pairs"),
    ),
    # importance of each factor for a metric (as in `ablation`), from a random forest that predicts the metric of a
    #     recipe from its levels; only for at least 10 recipes, 2 factors and 5 configurations
    # importance (may be empty): mean absolute SHAP value of the factor, in units of the metric
    # r2, r2_low: R2 of the random forest on recipes to which it was not fitted, and the lower end of the interval of R2
    # num_runs: number of recipes
    # If r2_low is not above 0, the metric has a single row, with factor "" and without an importance.
    "surrogate": ("metric", "factor", "importance", "r2", "r2_low", "num_runs"),
    # Pareto front of external macro AUROC and cost
    # cost: macs or params (as in `costs`), or device_hours (hours of training, only on the most frequent device)
    # amount: the cost of the recipe, in these units
    # on_front: no other recipe has at least the same AUROC at a lower cost, or a higher AUROC at the same cost
    # gain (may be empty): AUROC of the recipe minus AUROC of the best cheaper recipe; gain_low, gain_high: interval of
    #     gain
    "frontier": ("run_id", "cost", "amount", "on_front", "gain", "gain_low", "gain_high"),
    # training history, one row per epoch; val_auroc: macro AUROC on the split val; lr: learning rate at the end of the
    #     epoch
    # seconds: time of training and validation, summed over the devices
    "history": ("run_id", "epoch", "train_loss", "val_loss", "val_auroc", "lr", "seconds"),
    # shap: SHAP value of a factor for one recipe, in units of the metric, from the random forest of the table
    #     `surrogate`
    # level: the level of this factor in the recipe; a metric has no rows if its r2_low in `surrogate` is not above 0
    "factor_shap": ("metric", "factor", "level", "run_id", "shap"),
    # scores that other authors published; they have no intervals and are never ranked
    # name: name of the result; setting: how the numbers were obtained, in words; source: the publication
    # split (may be empty): test split; "" if the authors do not state it
    "published": ("name", "setting", "source", "dataset", "split", "finding", "metric", "value"),
    # what each model had seen of each external hospital before it was trained here, one row per model and hospital
    # Empty if every network started from random weights and no model is imported. run_id: a recipe, a run that is in no
    #     recipe, or an imported model
    # answer: no, images, text (images and reports), labels (images and labels), or unknown
    # value (may be empty): macro AUROC at the hospital. rank: rank, by the same findings, of the models whose answer is no;
    #     0 for all other models. num_ranked: number of these models
    # listed: number of images of the cohort that the list of seen images names; 0 without a list
    # clean_value, clean_low, clean_high (may be empty): macro AUROC without the listed images, with its 95 % interval over
    #     patients. clean_n: number of these images
    "exposure": (
        "run_id",
        "dataset",
        "answer",
        "value",
        "rank",
        "num_ranked",
        "listed",
        "clean_value",
        "clean_low",
        "clean_high",
        "clean_n",
    ),
    # one row per cohort
    "cohorts": (
        "dataset",
        "role",  # internal or external
        "layout",  # name of the format of the dataset's files, such as nih
        "title",  # name of the hospital in full
        "place",  # may be empty: city and country
        "label_source",  # as `reference` in `scores`
        "found",  # number of images that the dataset lists
        "absent",  # number of selected images without a file
        "not_frontal",  # number of images that are left out because they are not frontal
        "unreadable",  # number of images whose file cannot be decoded
        "used",  # number of images that remain
        "patients",  # number of patients
        "female",  # number of images of women
        "male",  # number of images of men
        "age_median",  # may be empty: median age over images, in years
        "ages",  # number of images with a recorded age, or of a layout whose patients are all children
        "children",  # number of these images that are of patients below 18 years
        "ap",  # number of images with the view AP
        "pa",  # number of images with the view PA
        "headline_split",  # name of the split whose scores the page shows
        "fingerprint",  # hash of images and labels; several hashes are joined by "/"
        "licence",  # may be empty: license of the images
    ),
    # numbers of images and patients in each split of the internal cohort, and in the headline split of each external
    #     cohort
    "splits": ("dataset", "split", "images", "patients"),
    # number of images in each label state; unmapped: the dataset cannot express the finding
    "prevalence": ("dataset", "split", "finding", "present", "absent", "uncertain", "not_mentioned", "unmapped"),
}
for _module in extensions.modules(hooks.Schemas):
    SCHEMAS |= _module.SCHEMAS
