"""The columns of the tables of this extension; `reports.schemas.tables` explains columns that all tables share."""

SCHEMAS: dict[str, tuple[str, ...]] = {
    # what a recipe will score at a hospital that was not measured; a row without numbers has a reason
    # metric: auroc, gap, sensitivity or specificity (at the threshold of the grid). The first recipes have a row for each
    #     finding; other recipes only for auroc and gap, and the macros of the other metrics
    # hospitals: names of the cohorts that count, joined by spaces; num_hospitals: number of those with a value
    # value, low, high: expected value at a new hospital; new_low, new_high: 95 % prediction interval
    # sd, sd_low, sd_high: standard deviation between hospitals, on the scale of the model (logit for AUROC,
    #     sensitivity and specificity); AUROC of a finding: that of hospital and finding together, the same for all findings
    # inconsistency (empty for the AUROC of a finding): I², share of the variation between hospitals that the errors of their values
    #     do not explain; 0 if its estimate is negative, as that of tau² without the prior
    # below_half (only auroc): probability of an AUROC below .5 at a new hospital; below_internal (only auroc, may be empty):
    #     probability of an AUROC below the measured internal score
    # num_left_out, num_inside (only auroc): number of hospitals that were left out in turn, and of those whose value was inside the 95 %
    #     prediction interval of the other hospitals, which allows for the error of the value
    # reason: why the row has no numbers, else ""
    "next_hospital": (
        "run_id",
        "metric",
        "finding",
        "hospitals",
        "num_hospitals",
        *("value", "low", "high", "new_low", "new_high"),
        "sd",
        "sd_low",
        "sd_high",
        "inconsistency",
        "below_half",
        "below_internal",
        "num_left_out",
        "num_inside",
        "reason",
    ),
    # prediction interval of the macro AUROC with priors of other scales (on the logit scale): half, as used, and twice
    "next_hospital_scales": ("run_id", "scale", "new_low", "new_high"),
}
