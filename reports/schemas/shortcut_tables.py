"""The columns of the tables on source classifiers and nuisances.

run_id "" means that the row does not depend on a run, only on the images and tables of the cohorts.
"""

SOURCES: dict[str, tuple[str, ...]] = {
    # scores of source classifiers, which predict the source (cohort) of an image
    # probe: features (of the run), random or imagenet (features of the same network before training), labels,
    #     logits (and labels), cnn (a small network on images), pixels or header (trees on image or file descriptors)
    # control: none, shuffled, no_finding, matched (the same findings in every source), border, centre_masked, low_res
    # shots: training images per source, 0 = all images of the other folds
    # metric: balanced_accuracy, auroc, bits (cross-entropy per image; chance is log2 K), selectivity
    # selectivity: balanced accuracy of the run's features minus that of the untrained network (control: random, imagenet)
    "sources": ("run_id", "probe", "control", "shots", "metric", "value", "low", "high", "chance", "num_sources", "n"),
    # confusion matrices of these classifiers: `source` is the true cohort, `named` the predicted cohort
    # share: share of the images of the true cohort
    "source_confusion": ("run_id", "probe", "control", "source", "named", "count", "share"),
    # out-of-fold SHAP values of the trees, for the probability of the true source; model: pixels or header
    # kind importance: shap is the mean |SHAP|, value the median of the descriptor; source "": over all sources
    # kind point: one image; rank: rank of its value among all images, 0 to 1
    "descriptors": ("run_id", "model", "kind", "descriptor", "source", "shap", "rank", "value"),
    # nuisances: properties that vary inside a cohort and may replace a finding
    # nuisance: view, support devices, sex, age, device, marker, any (all together)
    # metrics of a cohort: share (of a level), cramers_v,
    #     auroc_nuisance (finding predicted from the nuisance alone; the model is fitted at the internal hospital)
    # metrics of a run: decodability (AUROC), random_decodability and imagenet_decodability (before training),
    #     pooled_auroc, stratified_auroc, pooled_less_stratified (of a finding or macro)
    "nuisances": (
        "run_id",
        "dataset",
        "split",
        "nuisance",
        "level",
        "finding",
        "metric",
        "value",
        "low",
        "high",
        "chance",
        "n",
    ),
}
