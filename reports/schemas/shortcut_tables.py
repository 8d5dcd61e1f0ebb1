"""Columns of the tables on differences between hospitals and on nuisances inside them; included in `reports.schemas.tables`.

run_id "": the row depends only on the images and tables of the cohorts, not on a run.
"""

SOURCES: dict[str, tuple[str, ...]] = {
    # scores of classifiers that predict the source (cohort) of an image.
    # probe: the input. features (of the run), random or imagenet (features of the same network before training), labels, logits
    # (with labels), cnn (a small network trained on images), pixels or header (trees on descriptors of the image or the file)
    # control: none, shuffled, no_finding, matched (the same findings in every source), border, centre_masked, low_res
    # shots: training images per source, 0 = all images of the other folds
    # metric: balanced_accuracy, auroc, bits (cross-entropy per image, chance log2 K); with control random or imagenet also
    # selectivity (balanced accuracy of the run's features minus that of the untrained network; chance 0)
    "sources": ("run_id", "probe", "control", "shots", "metric", "value", "low", "high", "chance", "num_sources", "n"),
    # confusion matrix of these classifiers: true source, predicted source (named); share of the images of the true source
    "source_confusion": ("run_id", "probe", "control", "source", "named", "count", "share"),
    # out-of-fold SHAP values of the trees (model: pixels or header) for the probability of the true source.
    # kind: importance (shap: mean |SHAP|, value: median of the descriptor; source "" = over all sources) or point (one image;
    # rank of its value among all images, 0 to 1)
    "descriptors": ("run_id", "model", "kind", "descriptor", "source", "shap", "rank", "value"),
    # nuisances: what varies inside a cohort and may replace a finding. nuisance: view, support devices, sex, age, device,
    # marker, any (all together)
    # metric of cohorts: share (of a level), cramers_v, auroc_nuisance (of the finding, predicted from the nuisance only; at
    # external hospitals with the internal model)
    # metric of a run: decodability (AUROC; random_decodability and imagenet_decodability before training), pooled_auroc,
    # stratified_auroc, pooled_less_stratified (of a finding or macro)
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
