"""The columns of the tables on source classifiers and nuisances.

run_id "" means that the row does not depend on a run, only on the images and tables of the cohorts. A number that
cannot be computed is NaN. In the comments, a column that "may be empty" can have cells with NaN, None or "".
`reports.schemas.tables` describes the columns dataset, finding, value, low, high and n. AUROC, accuracies and other
shares are numbers from 0 to 1.
"""

SOURCES: dict[str, tuple[str, ...]] = {
    # scores of source classifiers; a source classifier predicts the source (cohort) of an image
    # probe: the input of the classifier: features (of the run), random or imagenet (features of the same network before
    #     training, with random or ImageNet weights), labels (of the findings), logits (labels and the run's logits),
    #     cnn (images; the classifier is a small network), pixels or header (descriptors of the image or of the file;
    #     the classifier consists of decision trees)
    # control: how the data were changed: none, shuffled (the sources of the images are permuted), no_finding
    #     (only healthy images), matched (findings equally frequent in every source), border (only the image border),
    #     centre_masked (image without its center), low_res (image of 8 x 8 pixels)
    # shots: number of training images per source; 0 means all images outside the tested cross-validation fold
    # metric: balanced_accuracy, auroc, bits (cross-entropy per image; lower is better), selectivity
    # metric selectivity: balanced accuracy on the run's features minus balanced accuracy on the same network's features
    #     before training; in these rows, `control` names the weights before training: random or imagenet
    # chance: value of the metric for a guessing classifier, such as log2(num_sources) for bits
    # num_sources: number of sources; n: number of images
    "sources": ("run_id", "probe", "control", "shots", "metric", "value", "low", "high", "chance", "num_sources", "n"),
    # confusion matrices of the classifiers in `sources`: `source` is the true cohort, `named` the predicted cohort
    # count: number of images of `source` that the classifier assigns to `named`
    # share: `count` divided by the number of images of the true cohort
    "source_confusion": ("run_id", "probe", "control", "source", "named", "count", "share"),
    # SHAP values of the decision trees for the probability of the true source, on images to which the trees were not
    #     fitted; a SHAP value is a change in probability
    # model: the probe in `sources`: pixels or header; descriptor: name of a number that describes the image or the file
    # kind importance: shap is the mean absolute SHAP value, value the median of the descriptor; source: the cohort of
    #     the images, "" for all cohorts
    # kind point: one image; shap is the SHAP value of the descriptor for this image, value the descriptor itself
    # rank (may be empty): rank of the image's descriptor among all explained images, 0 to 1; NaN for kind importance
    "descriptors": ("run_id", "model", "kind", "descriptor", "source", "shap", "rank", "value"),
    # nuisances: properties that vary inside a cohort and may replace a finding
    # nuisance: view, support devices, sex, age, device, marker, any (all together)
    # level (may be empty): one value of the nuisance, such as PA; only for the metric share
    # metrics of a cohort: share (of images with the level), cramers_v (association of nuisance and finding, 0 to 1, with a
    #     correction of bias; without an interval, which auroc_nuisance has), auroc_nuisance (AUROC with which a model predicts the finding from the nuisance
    #     alone; the model is fitted at the internal hospital)
    # metrics of a run: decodability (AUROC with which the run's features predict the nuisance), random_decodability and
    #     imagenet_decodability (AUROC with which the features of the network before training, with random or ImageNet
    #     weights, predict the nuisance), pooled_auroc (AUROC of a finding over all images), stratified_auroc (weighted
    #     mean of the AUROCs inside the levels), pooled_less_stratified (pooled_auroc minus stratified_auroc)
    # finding: "" for the metric share and for the three decodability metrics
    # chance (may be empty): value of the metric without an association; NaN for share; n: number of images
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
