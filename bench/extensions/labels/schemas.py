"""The columns of the tables of this extension; `reports.schemas.tables` explains columns that all tables share."""

SCORE_TABLES = ("reading_gaps",)
_CHANGED = ("changed_internal", "changed")
SCHEMAS: dict[str, tuple[str, ...]] = {
    # macro gap of a run or recipe under another reading of uncertain and unmentioned labels than that of the grid, over findings with
    # a score under both readings; only readings that change a label, at each hospital and as mean ("external")
    # reading: uncertain-present, uncertain-absent, unmentioned-dropped or standard; internal, external: the two AUROCs of the gap
    # same_findings: the gap under the reading of the grid, over the same findings
    # changed_internal, changed: share of the labels of scored findings that the reading changes, at the internal hospital and at this one
    "reading_gaps": (
        *("run_id", "reading", "dataset", "value", "low", "high", "same_findings"),
        *("internal", "external", "num_findings", *_CHANGED),
    ),
    # `mean_gaps` under each reading, first that of the grid; num_findings: smallest number of findings of a recipe
    "mean_reading_gaps": (
        *("reading", "dataset", "value", "low", "high", "num_runs", "num_worse", "num_better", "all_low", "all_high"),
        *("same_findings", "num_findings", *_CHANGED),
    ),
    # value: macro AUROC, averaged over the num_runs recipes with a policy, on each labeled split
    # policy: rule for training labels, such as the treatment of uncertain labels; reference: source of the test labels
    # The table is empty if all recipes have the same policy.
    "policies": ("policy", "dataset", "split", "reference", "value", "low", "high", "num_runs"),
    # recipes with linear probes whose numbers of labels differ; empty without such recipes
    # line: name of the encoder, with the settings in which the encoders differ; the points of a line differ only in shots
    # shots: number of present and of absent training images of each finding; 0: all images
    # labels: number of labeled training images of a finding, mean over the findings with labels and over the seeds
    "label_efficiency": ("run_id", "line", "shots", "labels"),
}
