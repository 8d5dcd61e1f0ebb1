"""The columns of the tables on heat maps.

A `?` before the description of a column (`chance: ? ...`) means that cells of this column may be empty: NaN, None or
"". `reports.schemas.tables` describes the columns that most tables have: run_id, dataset, finding, value, low, high and
n.
"""

EXPLAINED: dict[str, tuple[str, ...]] = {
    # position of heat maps relative to regions of the image, measured on a sample of images with the finding
    # finding: one finding, or "all" (all pairs of image and finding)
    # by: the measured map: network (the heat map of the run), or a baseline map that does not depend on the finding:
    #     centre (bright in the image center) or lungs (bright in the lungs)
    # region: border, padding, markers, outside lungs, pleura, heart, devices, token (the PORT tag of a phantom),
    #     or finding (its outline or box)
    # metric: energy (share of the map's sum that is inside the region, 0 to 1), enrichment (energy divided by the
    #     region's share of the image; 1 = no preference)
    # metrics of the region `finding` only, all 0 to 1: hit (share of maps whose maximum is inside or near the region),
    #     empty (share of maps that are zero everywhere), iou_30 and dice_30 (overlap of the region with the pixels of
    #     at least 30 % of the map's maximum; also 50 and 70), iou_top and dice_top (overlap with the pixels of the
    #     largest values, as many pixels as the region has)
    # value: ? mean over maps; NaN for fewer than 5 patients
    # chance: ? the value of a map with equal values everywhere; NaN for metrics without such a value
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
        "n",  # number of measured maps
        "num_patients",
        "chance",
    ),
    # checks whether the heat maps depend on the network, on a few internal images with the most common finding
    # check weights: weights are shuffled from the head to the stem; `step` counts the steps from 1, `stage` names the
    #     modules that the step shuffles
    # check noise: noise is added to the image; step is 0, stage is "" (?)
    # check pixels: pixels are blurred or restored in several steps; step is 0, `stage` names the order of the pixels:
    #     heat (largest values of the heat map first), random, or centre (from the image center outwards)
    # metrics spearman, ssim: similarity of the maps before and after the change (1 = equal)
    # metrics deletion, insertion: area under the curve of the probability over the share of blurred or restored pixels,
    #     divided by the probability of the original image
    # metrics deletion_gain, insertion_gain: improvement over a random order of pixels (above 0: the map marks pixels
    #     that matter)
    # value: ? mean over n images; NaN for fewer than 5 images; low, high: ? bounds of its 95 % interval over images
    "cascade": ("run_id", "dataset", "finding", "check", "step", "stage", "metric", "value", "low", "high", "n"),
    # similarity of the heat maps of a recipe's runs, which differ only in the seed; run_id: id of the recipe
    # finding: one finding, or "all" (all pairs of image and finding)
    # value: ? mean Spearman correlation between the cells (pixels) of two runs' maps of the same image and finding;
    #     1 = the same order of the cells
    # other: ? the same correlation for maps of two different images with the same finding
    # value, low, high and other are NaN for fewer than 5 patients
    "map_stability": (
        *("run_id", "dataset", "finding", "value", "low", "high", "other"),
        *("n", "num_patients", "num_seeds"),  # n: number of pairs of image and finding
    ),
    # cases (pairs of an image and a finding) for the gallery, at the threshold f1_max of internal validation
    # kind: true positive, false negative, false positive, true negative; or a confident error: sure miss (probability of
    #     at most .1, but the finding is present), sure false alarm (at least .9, but the finding is absent)
    # rank: position of the case among the cases of its run, cohort, finding and kind, from 0
    # probability: the calibrated probability
    # inside, outside: ? shares of the heat map inside the finding's outline and outside the lungs
    # picture: ? image and heat map side by side as the bytes of a WebP file; pictures of real patients only on request
    "gallery": ("run_id", "dataset", "finding", "kind", "rank", "probability", "inside", "outside", "picture"),
}
