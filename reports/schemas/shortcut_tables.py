"""The columns of the tables on source classifiers and nuisances.

run_id "" means that the row does not depend on a run, only on the images and tables of the cohorts.
"""

SOURCES: dict[str, tuple[str, ...]] = {
    # scores of source classifiers, which predict the source (cohort) of an image
    # probe: the input of the classifier: features (of the run), random or imagenet (features of the same network before
    #     training, with random or ImageNet weights), labels (of the findings), logits (labels and the run's logits),
    #     cnn (images; the classifier is a small network), pixels or header (descriptors of image or file; decision
    #     trees)
    # control: how the data were changed: none, shuffled (sources in random order), no_finding (only healthy images),
    #     matched (the same findings in every source), border (only the border), centre_masked (no center), low_res
    # shots: number of training images per source; 0 means all images of the other cross-validation folds
    # metric: balanced_accuracy, auroc, selectivity, bits (cross-entropy per image; guessing gives log2 of num_sources)
    # metric selectivity: balanced accuracy on the run's features minus that on the network's features before training;
    #     in these rows, `control` names the weights before training: random or imagenet
    "sources": ("run_id", "probe", "control", "shots", "metric", "value", "low", "high", "chance", "num_sources", "n"),
    # confusion matrices of the classifiers in `sources`: `source` is the true cohort, `named` the predicted cohort
    # share: `count` divided by the number of images of the true cohort
    "source_confusion": ("run_id", "probe", "control", "source", "named", "count", "share"),
    # SHAP values of the decision trees, on images that the trees were not fitted to, for the probability of the true
    #     source
    # model: pixels or header, the probe in `sources`; descriptor: a number that describes the image or the file
    # kind importance: shap is the mean |SHAP|, value the median of the descriptor; source "": over all sources
    # kind point: one image; rank: rank of the image's value among all images, 0 to 1
    "descriptors": ("run_id", "model", "kind", "descriptor", "source", "shap", "rank", "value"),
    # nuisances: properties that vary inside a cohort and may replace a finding
    # nuisance: view, support devices, sex, age, device, marker, any (all together); level: one value of the nuisance
    # metrics of a cohort: share (of images with the level), cramers_v (association of nuisance and finding, 0 to 1),
    #     auroc_nuisance (finding predicted from the nuisance alone; the model is fitted at the internal hospital)
    # metrics of a run: decodability (AUROC with which the run's features predict the nuisance), random_decodability and
    #     imagenet_decodability (the same with random or ImageNet weights, before training),
    #     pooled_auroc (AUROC of a finding over all images), stratified_auroc (mean AUROC inside levels),
    #     pooled_less_stratified (their difference); finding "macro": mean over findings
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
