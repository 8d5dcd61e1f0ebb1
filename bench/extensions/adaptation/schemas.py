"""The columns of the table `adaptation`; `reports.schemas.tables` explains columns that all tables share."""

SCHEMAS: dict[str, tuple[str, ...]] = {
    # scores of a run at a hospital after its adaptation to labeled patients of this hospital, on other patients of it
    # method: recalibration, head or lora; patients: number of labeled patients; pool: how many could be drawn
    # metric: auroc or brier; finding: a finding, or macro
    # zero_shot: the score without adaptation; value: mean over draws; low, high: interval of the difference value - zero_shot
    # draws: draws whose labeled patients have both classes of the finding (macro: of any); the others leave it as it is
    # harmed: share of all draws with a worse score than zero_shot
    # The table is empty without a result of `bench adapt`.
    "adaptation": (
        *("run_id", "dataset", "method", "patients", "pool", "metric", "finding", "zero_shot", "value"),
        *("difference", "low", "high", "draws", "harmed"),
    ),
}
