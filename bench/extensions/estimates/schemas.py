"""The columns of the tables `estimates` and `estimators`; `reports.schemas.tables` explains columns that all tables share."""

# the quantities that are estimated for a hospital without labels
ESTIMATED = ("auroc", "sensitivity", "specificity", "accuracy", "ece", "prevalence")

SCORE_TABLES = ("estimates",)
SHOWN = DETAILS = ()
SCHEMAS: dict[str, tuple[str, ...]] = {
    # measured scores of the internal test split and of each external hospital, and estimates of the external scores that were
    # made without the labels of the hospital
    # estimator: name in the registry, or "measured"; sensitivity, specificity, accuracy: at the threshold of the grid; ece: of uncalibrated
    #     probabilities; prevalence: share of images with the finding (all six may be empty: not estimated)
    "estimates": ("run_id", "dataset", "finding", "estimator", *ESTIMATED),
    # how wrong each estimator of scores without labels is: each labeled hospital is left out and estimated
    # finding: "all" for all cells (a cell is one run and finding at one hospital), or "macro" for the means over findings
    # value: mean absolute error; low, high (may be empty): only for the macro AUROC
    # bias: mean error; positive if the estimates are too high
    # difference: value minus that of the estimator mean_gap, negative if the estimator is better; difference_low,
    #     difference_high (may be empty): its 95 % interval over patients (these three only in rows with the finding "macro")
    # coverage: share of cells whose true score is inside the 90 % interval; half_width: mean half width of these intervals
    # stated: share of cells with a number, others have a reason; coverage_stated: coverage of these cells
    # num_large, num_large_stated: number of cells with an error above 0.1, and of those with a number
    # tau (may be empty): mean rank correlation (Kendall) of estimated and true scores of the runs at a hospital
    "estimators": (
        "estimator",
        "title",  # of the registry entry
        "quantity",
        "finding",
        "value",
        "low",
        "high",
        "bias",
        "difference",
        "difference_low",
        "difference_high",
        "coverage",
        "half_width",
        "stated",
        "coverage_stated",
        "num_large",
        "num_large_stated",
        "tau",
        "n",
    ),
}
