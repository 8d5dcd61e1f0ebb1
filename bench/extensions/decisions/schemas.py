"""The columns of the tables of decisions; `reports.schemas.tables` explains columns that all tables share."""

_VALUE = ("value", "low", "high")
_SIZES = ("n", "num_positive", "num_negative", "num_patients", "num_findings")
# each with the bounds of its interval
_WORKLOAD = tuple(
    f"{name}{end}"
    for name in ("sensitivity", "specificity", "called", "missed", "ppv", "npv")
    for end in ("", "_low", "_high")
)
_TRIAGE = ("miss_rate", "false_positive_rate", "released", "flagged", "deferred")
_TRIAGED = tuple(f"{name}{end}" for name in _TRIAGE for end in ("", "_low", "_high"))
_INTERNAL_PATIENTS = ("num_internal_positive", "num_internal_negative")
_BY_CHANCE = ("miss_rate_by_chance", "false_positive_rate_by_chance")

FLOATS = ("standardized", "standardized_low", "standardized_high", "treat_all", "level", *_WORKLOAD)
SHOWN = ("net_benefit",)
DETAILS = ("decision_curves", "workload", "triage")
SCHEMAS: dict[str, tuple[str, ...]] = {
    # net benefit at the stated threshold of each finding, in the internal test split, at each external hospital, and as the
    #     mean over the external hospitals. A call is positive if the probability after Platt scaling is at least the threshold.
    # metric: net_benefit (true positives per image minus false positives per image times threshold / (1 - threshold)),
    #     standardized (net benefit divided by the prevalence), over_all (net benefit minus that of treating all images as
    #     positive); the net benefit of treating none is 0
    # threshold (may be empty): share of the internal validation images with the finding; NaN for the macro, and if there are
    #     too few patients
    # value (may be empty): NaN without a threshold, and if the cohort has too few patients
    # A recipe has only the rows of the macro and of the dataset "external".
    "net_benefit": ("run_id", "dataset", "finding", "metric", "threshold", *_VALUE, *_SIZES),
    # decision curves: net benefit (value) and standardized net benefit by threshold; a curve without a value has no rows
    # treat_all: net benefit of treating all images as positive
    "decision_curves": (
        *("run_id", "dataset", "finding", "threshold", *_VALUE),
        *("standardized", "standardized_low", "standardized_high", "treat_all"),
    ),
    # what a threshold that is fixed on the internal validation split gives at each hospital; dataset "external": the
    #     unweighted mean over the external hospitals. A finding without a value has no rows.
    # goal, level: the sensitivity or specificity that the threshold reaches on the internal validation split
    # threshold: a logit
    # called: share of all images that are called positive; missed: share of all images that have the finding and are not
    #     called positive
    # ppv, npv (may be empty): predictive values at the prevalence of the cohort
    "workload": ("run_id", "dataset", "finding", "goal", "level", "threshold", *_WORKLOAD),
    # triage with conformal thresholds from the internal validation split: an image is released (called negative) below one
    #     threshold, flagged (called positive) above another, and deferred to a radiologist in between
    # level: stated miss rate, and stated false positive rate
    # release_threshold, flag_threshold (may be empty): logits; NaN if there are fewer than 1 / level - 1 internal patients of the
    #     class: then no image is released, or none is flagged
    # num_internal_*: internal validation patients with a positive image, and with a negative image
    # miss_rate: share of the positive images that are released; false_positive_rate: share of the negative images that are
    #     flagged; both are shares of each patient, averaged over the patients of the class
    # released, flagged, deferred: shares of all images
    # *_by_chance (may be empty): 97.5 % quantile of the true rate of thresholds from so many patients, if the patients of the
    #     hospital were exchangeable with the internal patients; NaN if no image is released, or none flagged
    # num_positive, num_negative: patients of the cohort with a positive image, and with a negative image; n: images. The
    #     dataset "external" has the means over the hospitals that score the finding, and sums of patients and images
    # Each finding has its own thresholds, so there is no mean over findings. A finding without a value has no rows.
    "triage": (
        *("run_id", "dataset", "finding", "level", "release_threshold", "flag_threshold"),
        *(*_INTERNAL_PATIENTS, *_TRIAGED, *_BY_CHANCE, "num_positive", "num_negative", "n"),
    ),
}
