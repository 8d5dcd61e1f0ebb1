"""The columns of the tables on heat maps; `reports.schemas.tables` explains columns that all tables share.

Energies, overlaps and other shares are numbers from 0 to 1.
"""

SCORE_TABLES = SHOWN = DETAILS = ()
SCHEMAS: dict[str, tuple[str, ...]] = {
    # how much of the heat maps lies in regions of the image, measured on a sample of images with the finding
    # value (may be empty): mean of the metric over maps; NaN for fewer than 5 patients
    # finding: one finding, or "all" (all pairs of image and finding)
    # by: source of the map: network (the heat map of the run), or a baseline map that depends on neither network nor
    #     finding: centre (bright in the image center) or lungs (bright in the lungs)
    # region: border, padding, markers, outside lungs, pleura, heart, devices, token (the tag, a white
    #     mark with the text PORT on a phantom), or finding (the outline or box of the finding)
    # metric: energy (share of the heat map's sum inside the region), enrichment (energy divided by the region's share
    #     of the image area; a factor, 1 is chance)
    # more metrics, only for the region `finding`: hit (share of maps whose maximum is inside or near the region),
    #     empty (share of maps that are zero everywhere), iou_30 to iou_70 and dice_30 to dice_70 (overlap of the region
    #     with the pixels of at least 30, 50 or 70 % of the map's maximum), iou_top and dice_top (overlap of the region
    #     with the highest pixels of the map, as many as the region has)
    # chance (may be empty): the value that a map with equal values everywhere would have
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
    # checks whether the heat maps depend on the network; they use a few internal images with the most common finding
    # check weights: the network's weights are shuffled stage by stage, from the head (last layer) to the stem (first
    #     layers); step: number of shuffled stages; stage: name of the stage that was shuffled last
    # check noise: noise is added to the image; step 0, stage ""
    # check pixels: pixels are blurred or restored in small steps; step 0; stage: the order of the pixels: heat (highest
    #     value of the heat map first), random, or centre (from the center outwards)
    # metric spearman, ssim: similarity of the maps before and after the change; 1 means equal
    # metric deletion, insertion: area under the curve of the probability by share of blurred or restored pixels,
    #     divided by the probability of the original image
    # metric deletion_gain, insertion_gain: advantage over a random order of pixels; above 0: the map marks pixels that
    #     matter for the prediction
    # n: number of images
    "cascade": ("run_id", "dataset", "finding", "check", "step", "stage", "metric", "value", "low", "high", "n"),
    # similarity of the heat maps of a recipe's runs, which differ only in the seed; run_id: id of the recipe
    # dataset external: mean over the external hospitals; finding all: all pairs of image and finding
    # value (may be empty): mean Spearman correlation of two runs' maps of the same image and finding; 1 means that both
    #     maps have their high and low values at the same positions
    # other (may be empty): mean Spearman correlation of two runs' maps of two different images with the finding
    # value, low, high and other are NaN for fewer than 5 patients
    # num_seeds: number of compared runs
    "map_stability": (
        *("run_id", "dataset", "finding", "value", "low", "high", "other"),
        *("n", "num_patients", "num_seeds"),  # n: number of pairs of image and finding
    ),
    # cases of the gallery; a case is an image with a finding; the threshold f1_max of internal validation decides
    #     whether the finding is called positive
    # kind: true positive, false negative, false positive, true negative; and two confident errors: sure miss (present,
    #     probability at most .1) and sure false alarm (absent, probability at least .9)
    # rank: position among the cases of the same run, cohort, finding and kind, from 0
    # probability: the Platt-scaled probability of the finding
    # inside (may be empty): share of the heat map's sum inside the finding's outline
    # outside (may be empty): share of the heat map's sum outside the lungs
    # picture (may be empty): bytes of a WebP file with image and heat map side by side; pictures of real patients are
    #     stored only on request
    "gallery": ("run_id", "dataset", "finding", "kind", "rank", "probability", "inside", "outside", "picture"),
}
