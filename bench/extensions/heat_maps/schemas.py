"""The columns of the tables on heat maps; `reports.schemas.tables` explains columns that all tables share.

Energies, overlaps and other shares are numbers from 0 to 1.
"""

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
    #     empty (share of maps that are zero everywhere), iou_50 (intersection over union of the region and the pixels
    #     of at least half of the map's maximum)
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
    # check whether the heat maps depend on the network, on a few internal images with the most common finding
    # value (may be empty): mean rank correlation of the maps before and after all weights of the network are shuffled;
    #     1 means equal maps; NaN for fewer than 5 images
    # n: number of images
    "randomization": ("run_id", "dataset", "finding", "value", "low", "high", "n"),
    # cases of the gallery; a case is an image with a finding; the threshold f1_max of internal validation decides
    #     whether the finding is called positive, in every grid of the run
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
