"""The columns of the tables on source classifiers and nuisances.

A `?` before the description of a column (`chance: ? ...`) means that cells of this column may be empty: NaN, None or
"". `reports.schemas.tables` describes the columns that most tables have: run_id, dataset, finding, value, low, high and
n. In the tables here, run_id "" means that the row depends on no run, only on the images and tables of the cohorts.
"""

SOURCES: dict[str, tuple[str, ...]] = {
    # scores of source classifiers; a source classifier predicts the source (cohort) of an image
    # probe: the input of the classifier: features (of the run), random or imagenet (features of the same network before
    #     training, with random or ImageNet weights), labels (of the findings), logits (labels and the run's logits),
    #     cnn (images; the classifier is a small network), pixels or header (descriptors of image or file; decision
    #     trees)
    # control: how the data were changed: none, shuffled (sources in random order), no_finding (only healthy images),
    #     matched (the same findings in every source); changed images of the probe cnn: border (only the border is
    #     visible), centre_masked (the center is hidden), low_res (low resolution)
    # shots: number of training images per source; 0 means all images of the other cross-validation folds
    # metric: balanced_accuracy, auroc (mean over the sources), selectivity, bits (cross-entropy in bits per image)
    # metric selectivity: balanced accuracy on the run's features minus balanced accuracy on the features of the same
    #     network before training; in these rows, `control` names the weights before training: random or imagenet
    # chance: the value of a classifier that guesses; num_sources: number of predicted cohorts
    "sources": ("run_id", "probe", "control", "shots", "metric", "value", "low", "high", "chance", "num_sources", "n"),
    # confusion matrices of the classifiers in the table `sources`; probe and control are as in this table
    # source: the true cohort; named: the predicted cohort; count: number of images
    # share: `count` divided by the number of images of the true cohort
    "source_confusion": ("run_id", "probe", "control", "source", "named", "count", "share"),
    # SHAP values of the decision trees for the probability of the true source, on images to which the trees were not
    #     fitted
    # model: pixels or header, the probe in the table `sources`; descriptor: name of a number that describes the image or
    #     the file
    # kind importance: shap is the mean absolute SHAP value, value (?) the median of the descriptor, rank NaN (?);
    #     source: a cohort, or "" (?) for all cohorts
    # kind point: one image; shap: its SHAP value; value: ? its descriptor; rank: rank of this value among all explained
    #     images, 0 to 1; source: the image's cohort
    # SHAP values have the unit of a probability.
    "descriptors": ("run_id", "model", "kind", "descriptor", "source", "shap", "rank", "value"),
    # nuisances: properties that vary inside a cohort, and that a network may use in place of a finding
    # nuisance: view, support devices, sex, age, device, marker, any (all together)
    # level: ? one value of the nuisance, only for the metric share; finding: ? "" for metrics without a finding
    # metrics of a cohort (run_id ""): share (of images with the level), cramers_v (association of nuisance and finding,
    #     0 to 1), auroc_nuisance (AUROC of a finding predicted from the nuisance alone; the model is fitted at the
    #     internal hospital)
    # metrics of a run: decodability (AUROC with which the run's features predict the nuisance), random_decodability and
    #     imagenet_decodability (the same AUROC with features of the network before training, with random or ImageNet
    #     weights), pooled_auroc (AUROC of a finding over all images), stratified_auroc (weighted mean of the AUROCs
    #     inside each level), pooled_less_stratified (pooled_auroc minus stratified_auroc)
    # chance: ? the value without any association, e.g. 0.5 for an AUROC; NaN for share
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
