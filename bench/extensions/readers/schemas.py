"""The columns of the tables of this extension; `reports.schemas.tables` explains columns that all tables share."""

_AT = ("dataset", "finding")
_BOUNDED = tuple(
    f"{name}{end}" for name in ("sensitivity", "specificity", "precision") for end in ("", "_low", "_high")
)
SCHEMAS: dict[str, tuple[str, ...]] = {
    # operating points of readers against the majority of the other readers, at the images of a cohort that the readers answered
    # reader: number of the reader, from 1, in the order of the names
    # n, num_positive, num_patients: images with a reference, those with the finding, and their patients
    # num_undecided: images that the reader answered and that count nowhere, because the others have no majority
    # precision (may be empty): NaN if the reader never calls the finding present
    # network: sensitivity of the run or recipe at the specificity of the reader, on the same images and reference
    # difference: network minus sensitivity of the reader
    "reader_points": (
        *("run_id", *_AT, "reader", "n", "num_positive", "num_patients", "num_undecided", *_BOUNDED),
        *("network", "difference", "difference_low", "difference_high"),
    ),
    # share of the readers below the ROC curve of the run or recipe; the interval is over patients, not over readers
    "reader_shares": ("run_id", *_AT, "num_readers", "num_below", "value", "low", "high"),
    # mean over readers of the network's ROC curve against the reference of each reader; x: false positive rate, y: sensitivity
    "reader_curves": ("run_id", *_AT, "x", "y"),
    # agreement of the readers. fleiss (may be empty): Fleiss' kappa of the n images with num_answers answers
    "reader_agreement": (*_AT, "num_readers", "fleiss", "n", "num_answers"),
}
