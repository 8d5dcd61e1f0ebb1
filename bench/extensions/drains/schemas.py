"""The columns of the table of this extension; `reports.schemas.tables` explains columns that all tables share."""

SCORE_TABLES = SHOWN = DETAILS = ()
SCHEMAS: dict[str, tuple[str, ...]] = {
    # AUROC of Pneumothorax on images: positives with (or without) a chest drain against all negatives, and the difference of both
    # drain: with, without or difference; num_positive: positives with (or without) a drain; of the difference, the smaller number
    "drains": ("run_id", "dataset", "split", "drain", "value", "low", "high", "n", "num_positive"),
}
