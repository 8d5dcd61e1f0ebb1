"""Schemas of the tables about what tells hospitals apart, and what varies inside them; part of `reports.schemas.tables.SCHEMAS`.

run_id "": of the images and tables of the cohorts alone, whatever the run.
"""

SOURCES: dict[str, tuple[str, ...]] = {
    # how well classifiers name the source (cohort) of an image.
    # probe: features (of the run), random, imagenet (features of the same network before training), labels, logits (and
    # labels), cnn (a small network trained for it), pixels, header (trees on descriptors of the image, of the file);
    # control: none, shuffled, no_finding, matched (the same findings in every source), border, centre_masked, low_res;
    # shots: images of each source that it learnt from, 0 = all in the other folds;
    # metric: balanced_accuracy, auroc, bits (cross-entropy per image, chance log2 K), and, with control random or imagenet,
    # selectivity: balanced accuracy of the run's features less that of theirs (chance 0)
    "sources": ("run_id", "probe", "control", "shots", "metric", "value", "low", "high", "chance", "num_sources", "n"),
    # what they call the images of each source; share: of the source's images
    "source_confusion": ("run_id", "probe", "control", "source", "named", "count", "share"),
    # SHAP of the trees (model pixels or header) on the probability of an image's own source, out of fold. kind: importance
    # (mean |shap|, value: the median; source "" = over all), point (one image; rank: of its value among all, 0 to 1)
    "descriptors": ("run_id", "model", "kind", "descriptor", "source", "shap", "rank", "value"),
    # what varies inside a cohort and may stand in for a finding. nuisance: view, support devices, sex, age, device, marker,
    # any (all together). metric, of the cohorts: share (of a level), cramers_v, auroc_nuisance (of the finding, from the
    # nuisance alone; externally by the model of the internal hospital); of a run: decodability (AUROC; random_decodability, imagenet_decodability
    # before training), pooled_auroc, stratified_auroc, pooled_less_stratified (of a finding or macro)
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
