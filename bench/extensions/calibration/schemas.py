"""The columns of the table of calibration; `reports.schemas.tables` explains columns that all tables share."""

FLOATS = tuple(
    f"{name}{end}" for name in ("intercept", "slope", "observed_expected") for end in ("", "_low", "_high", "_error")
)
DETAILS = ("calibration",)
SCHEMAS: dict[str, tuple[str, ...]] = {
    # calibration of the probabilities of one finding, in the internal test split and at each external hospital; only runs
    # calibrator: none (uncalibrated) or platt (Platt scaling, fitted on the internal validation split)
    # intercept (may be empty): calibration in the large; above 0: the probabilities are too low
    # slope (may be empty): calibration slope; below 1: the probabilities are too extreme
    # observed_expected (may be empty): observed number of images with the finding, divided by the sum of the probabilities
    # *_error (may be empty): standard error; of observed_expected, that of its logarithm
    # reason: why numbers are missing, else ""
    "calibration": (
        *("run_id", "dataset", "finding", "calibrator"),
        *FLOATS,
        *("n", "num_positive", "num_patients", "reason"),
    ),
}
