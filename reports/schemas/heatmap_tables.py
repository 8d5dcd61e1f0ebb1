"""Columns of the tables on heat maps; columns marked `?` may be null."""

EXPLAINED: dict[str, tuple[str, ...]] = {
    # location of the heat maps, on a sample of images with the finding; NaN for fewer than 5 patients.
    # finding: one finding, or "all": all pairs of image and finding
    # by: network, or a baseline that does not depend on the finding: centre (center prior), lungs
    # region: finding (its outline or box), border, padding, markers, outside lungs, pleura, heart, devices, token (the PORT tag
    # of a phantom)
    # metric: energy (share of the heat in the region), enrichment (energy / area of the region); for the region `finding` also
    # iou_* and dice_* (at 30, 50, 70 % of the maximum; top: at the area of the outline), hit (pointing game) and empty (share
    # of maps that are zero everywhere)
    # chance: the value of a uniform map?
    "attention": (
        "run_id",
        "dataset",
        "finding",
        "by",
        "region",
        "metric",
        "value",
        "low",
        "high",
        "n",  # maps
        "num_patients",
        "chance",
    ),
    # sanity checks of the heat maps, on a few internal images with the most common finding.
    # check: weights (shuffled from the head to the stem, one stage per step), noise (added to the image), pixels (removed or
    # restored; stage: whose values give the order)
    # metric: spearman and ssim between the maps before and after (1 = equal); deletion and insertion (area under the curve of
    # the probability); *_gain over a random order (positive: the map marks pixels that matter)
    "cascade": ("run_id", "dataset", "finding", "check", "step", "stage", "metric", "value", "low", "high", "n"),
    # cases at the threshold of internal validation (f1_max).
    # kind: true positive, false negative, false positive, true negative, sure miss, sure false alarm (confident errors)
    # probability: calibrated; inside: share of the heat in the finding's outline?; outside: share outside the lungs?
    # picture: image and heat map side by side as WebP?; pictures of real patients only on request
    "gallery": ("run_id", "dataset", "finding", "kind", "rank", "probability", "inside", "outside", "picture"),
}
