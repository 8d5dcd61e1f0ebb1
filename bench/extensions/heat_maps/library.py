"""The functions of `bench.api` that draw heat maps of an image."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.config.arguments import AnyPath, path_of, several

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.extensions.heat_maps.panels import Explanation
    from bench.runs.stored_run import StoredRun
    from harmonize.images.image_header import InMemory

__all__ = ["explain", "overlay"]


def explain(run: "StoredRun", image: "AnyPath | InMemory", findings: Sequence[str] = ()) -> "Explanation":
    """Compute heat maps of an image for the given findings; without `findings`, for all findings of the run.

    The result has `gray` [D, D]: the image area that the network gets, enlarged to D x D pixels for display. D is
    usually at least 384. Each element of `finding_maps` has `heat` [D, D] float32, the evidence for one finding in each
    pixel, 0 or above. The evidence has no unit, so the values of different networks cannot be compared. Raises DatasetError
    for an unusable image file, ConfigError for a finding that the run has not learned, and for a TTA run or an ensemble.


    >>> explanation = explain(stored, data / "nih" / nih.table["path"][0], ["Edema"])
    >>> explanation.finding_maps[0].finding, explanation.finding_maps[0].heat.shape == explanation.gray.shape
    ('Edema', True)
    """
    from bench.extensions.heat_maps.explain_image import chosen_findings, explain_image
    from harmonize.images.image_header import InMemory

    file = image if isinstance(image, InMemory) else path_of(image)
    chosen = chosen_findings(run, several(findings, "findings"))
    return explain_image(run, file, chosen)


def overlay(explanation: "Explanation", finding: str) -> "NDArray[np.uint8]":
    """Draw the heat map of one finding over the image; return uint8 [D, D, 3] in the order red, green, blue.

    The picture has the size D of `explanation.gray`. The colors are scaled to the maximum of this map; larger values are
    more opaque. Raises ConfigError for a finding without a map.


    >>> overlay(explanation, "Edema").shape
    (384, 384, 3)
    """
    import numpy as np

    from bench.extensions.heat_maps.panels import overlaid
    from harmonize.errors import ConfigError

    for finding_map in explanation.finding_maps:
        if finding_map.finding == finding:
            return np.ascontiguousarray(overlaid(explanation, finding_map)[..., ::-1])
    names = ", ".join(finding_map.finding for finding_map in explanation.finding_maps)
    raise ConfigError(f"the explanation has no map of {finding!r}", "overlay", f"choose from: {names}")
