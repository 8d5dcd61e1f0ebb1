"""The columns of the tables on heat maps. A column marked `?` in a comment may contain nulls."""

EXPLAINED: dict[str, tuple[str, ...]] = {
    # how heat maps lie on regions of the image, measured on a sample of images with the finding
    # values are NaN for fewer than 5 patients
    # finding: one finding, or "all" (all pairs of image and finding)
    # by: network (the heat map of the run), or a baseline map that does not depend on the finding: centre (bright
    #     in the image center) or lungs (bright in the lungs)
    # region: border, padding, markers, outside lungs, pleura, heart, devices, token (the PORT tag of a phantom),
    #     or finding (its outline or box)
    # metric: energy (share of the heat map inside the region), enrichment (energy / area share of the region)
    # metrics of the region `finding` only: hit (share of maps whose maximum is inside or near), empty (share of maps
    #     that are zero everywhere), iou_* and dice_* (overlap of the region with the pixels of at least 30, 50 or 70 %
    #     of the maximum; top: with as many of the highest pixels as the region has)
    # chance: ? the value of a map with equal values everywhere
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
        "n",  # number of maps
        "num_patients",
        "chance",
    ),
    # checks whether the heat maps depend on the network, on a few internal images with the most common finding
    # check weights: weights are shuffled from the head to the stem, one stage per step
    # check noise: noise is added to the image
    # check pixels: pixels are removed or restored step by step; `stage` names the map whose values give the order
    # metric spearman, ssim: similarity of the maps before and after (1 = equal)
    # metric deletion, insertion: area under the curve of the probability by share of removed or restored pixels
    # metric *_gain: gain over a random order of pixels (positive: the map marks pixels that matter)
    "cascade": ("run_id", "dataset", "finding", "check", "step", "stage", "metric", "value", "low", "high", "n"),
    # similarity of the heat maps of a recipe's runs, which differ only in the seed; run_id: id of the recipe
    # dataset external: mean over the external hospitals; finding all: all pairs of image and finding
    # value: mean Spearman correlation of two runs' maps of the same image and finding; 1 = the same order of the cells
    # other: the same for maps of two images with the finding; values are NaN for fewer than 5 patients
    "map_stability": (
        *("run_id", "dataset", "finding", "value", "low", "high", "other"),
        *("n", "num_patients", "num_seeds"),  # n: number of pairs of image and finding
    ),
    # cases for the gallery, at the threshold f1_max of internal validation
    # kind: true positive, false negative, false positive, true negative; and the confident errors
    #     sure miss and sure false alarm
    # probability: the calibrated probability
    # inside: ? share of the heat map inside the finding's outline; outside: ? share outside the lungs
    # picture: ? image and heat map side by side as WebP; pictures of real patients only on request
    "gallery": ("run_id", "dataset", "finding", "kind", "rank", "probability", "inside", "outside", "picture"),
}
