"""The function of `bench.api` that tells how many labeled patients a new hospital needs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.config.arguments import several

if TYPE_CHECKING:
    from bench.extensions.label_needs.needs import LabelNeeds
    from bench.planning.manifest import Manifest

__all__ = ["labels_needed"]


def labels_needed(
    grid: "Manifest",
    run_id: str | None = None,
    *,
    findings: Sequence[str] = (),
    ece: float = 0.05,
) -> "LabelNeeds":
    """Estimate how many labeled patients a new hospital needs, from the external hospitals of a grid.

    The labels are for a calibration error of at most `ece`. Without `run_id`, all finished trained runs are measured together.
    The result has the tables `needs` (one answer per finding and hospital) and `curves`. docs/extensions/estimates.md explains
    the method. Raises the errors of `bench labels-needed`.

    >>> answer = labels_needed(grid, run_id, findings=["No Finding"])
    >>> answer.needs[["finding", "dataset", "largest"]]
          finding dataset  largest
    0  No Finding     nih       10
    """
    from bench.extensions.label_needs.needs import labels_needed as measure

    return measure(grid.store, grid.name, run_id, several(findings, "findings"), ece)
