"""The columns of the table of this extension."""

SCORE_TABLES = SHOWN = DETAILS = ()
SCHEMAS: dict[str, tuple[str, ...]] = {
    # recipes with linear probes whose numbers of labels differ; empty without such recipes
    # line: name of the encoder, with the settings in which the encoders differ; the points of a line differ only in shots
    # shots: number of present and of absent training images of each finding; 0: all images
    # labels: number of labeled training images of a finding, mean over the findings with labels and over the seeds
    "label_efficiency": ("run_id", "line", "shots", "labels"),
}
