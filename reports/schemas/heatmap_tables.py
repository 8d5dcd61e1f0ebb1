"""The columns of the tables about where networks look; those marked `?` may be null."""

EXPLAINED: dict[str, tuple[str, ...]] = {
    # where the heat maps lie, on a sample of images with the finding. by: network, or a baseline that never looks at the
    # finding (centre, lungs); region: finding (its own outline or box), border, padding, markers, outside lungs, pleura,
    # heart, devices, token (a phantom's PORT tag); metric: energy (share of the heat), enrichment (energy over area), of
    # region `finding` also iou_* and dice_* (at 30, 50, 70 % of the maximum; top: at the outline's area), hit (pointing),
    # empty (share of maps that are zero). finding "all": all pairs of image and finding. chance: of a map that knows
    # nothing?; value NaN below 5 patients
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
    # cases at the threshold of internal validation (f1_max). kind: true positive, false negative, false positive, true negative,
    # sure miss, sure false alarm; probability: calibrated; inside: share of the heat in the finding's outline?; outside: share
    # outside the lungs?; picture: image and heat map side by side, WebP?; real patients' only where asked for
    # whether maps can be trusted, on a few images at the internal hospital with its commonest finding. check: weights (shuffled from the head to
    # the stem, stage by stage), noise (added to the image), pixels (taken away or given back; stage: in whose order); metric:
    # spearman and ssim with the map before (1 = the same), deletion and insertion (area under the probability), *_gain over
    # a random order (positive = the map names what matters)
    "cascade": ("run_id", "dataset", "finding", "check", "step", "stage", "metric", "value", "low", "high", "n"),
    "gallery": ("run_id", "dataset", "finding", "kind", "rank", "probability", "inside", "outside", "picture"),
}
