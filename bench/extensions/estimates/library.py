"""The function of `bench.api` that estimates scores at a hospital without labels."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bench.config.arguments import AnyPath, path_of, path_or_none, several
from harmonize.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

    from bench.extensions.estimates.expected_at_hospital import ExpectedScores
    from bench.planning.manifest import Manifest

__all__ = ["estimate"]


def estimate(
    grid: "Manifest",
    images: "Sequence[AnyPath]" = (),
    *,
    logits: "Mapping[str, pd.DataFrame] | None" = None,
    runs: Sequence[str] = (),
    estimator: str = "mean_gap",
    labels: "AnyPath | None" = None,
    device: str = "cpu",
) -> "ExpectedScores":
    """Estimate the scores of a grid's runs at a hospital without labels, as `bench estimate` does.

    Give `images` (files, folders, or CSV files that list image files), or `logits`: run id -> a table with `image_id` and
    one column of logits for each finding; without both, the result has only the 95 % prediction intervals for a hospital of
    which nothing is known. `runs`, not with logits: starts of run ids, by default the ranked runs. Runs
    without current scores are scored first. `labels`: a table with labels of some of the images, as for `bench estimate --labels`; the scores from these labels
    are in `measured`. The `table` of the result has one row per run, finding (or "macro") and quantity: value, low, high
    (90 % interval), the reason if there is no value, and the prediction without images (predicted, predicted_low,
    predicted_high). Raises ConfigError for unknown runs and estimators. Raises DatasetError for unusable images or logits.

    >>> from bench import api
    >>> nih_logits = api.predict(stored, [data / "nih" / path for path in nih.table["path"]]).table
    >>> wide = nih_logits.pivot(index="image", columns="finding", values="logit").rename_axis("image_id").reset_index()
    >>> estimate(grid, logits={run_id: wide}).table["reason"].iloc[0]
    '1 of 3 labeled hospitals needed'
    """
    from bench.extensions.estimates.expected_at_hospital import (
        checked_request,
        expected_scores,
        no_images,
        runs_to_estimate,
    )
    from bench.extensions.estimates.hospital_logits import hospital_logits
    from bench.results.score_runs import score_all
    from bench.runs.image_paths import images_of
    from bench.system.devices import check_device, first_device

    check_device(str(device))
    given = [path_of(image) for image in several(images, "images")]
    chosen = several(runs, "runs")
    if logits and (given or chosen):
        raise ConfigError("give only one of images and logits; logits name their runs", "estimate", "remove the others")
    of_labels = path_or_none(labels)
    if labels is not None and not given and not logits:
        raise ConfigError("labels need images or logits", "estimate", "give images=[...] or logits={run id: table}")
    score_all(grid, lambda *_: None, processes=1)
    named = runs_to_estimate(grid, list(logits) if logits else chosen)
    run_ids = [run.id for run in named]
    findings = checked_request(grid, run_ids, estimator, of_labels)
    if logits:
        if len(named) < len(logits):
            raise ConfigError("two keys of logits name the same run", "estimate", "give each run once")
        return expected_scores(grid, dict(zip(run_ids, logits.values(), strict=True)), estimator, of_labels)
    if not given:
        return expected_scores(grid, no_images(run_ids, findings))
    of_runs, notes = hospital_logits(grid, named, images_of(given), first_device(str(device)), lambda *_: None)
    return expected_scores(grid, of_runs, estimator, of_labels, notes)
