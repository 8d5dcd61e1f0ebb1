"""The columns of the table `estimates`; `reports.schemas.tables` explains columns that all tables share."""

# the quantities that are estimated for a hospital without labels
ESTIMATED = ("auroc", "sensitivity", "specificity", "accuracy", "ece", "prevalence")

SCORE_TABLES = ("estimates",)
SCHEMAS: dict[str, tuple[str, ...]] = {
    # measured scores of the internal test split and of each external hospital, and estimates of the external scores that were
    # made without the labels of the hospital
    # estimator: cbpe, atc or "measured"; sensitivity, specificity, accuracy: at the threshold of the grid; ece: of uncalibrated
    #     probabilities; prevalence: share of images with the finding (all six may be empty: not estimated)
    "estimates": ("run_id", "dataset", "finding", "estimator", *ESTIMATED),
}
