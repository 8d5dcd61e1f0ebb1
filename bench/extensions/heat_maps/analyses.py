"""The hook `analyses`: the analysis `attention` with its options, a check of networks before a grid begins, and its gallery."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.config.analyses import Kind
from bench.config.registry import Entry
from bench.config.run_config import RunConfig
from harmonize.errors import ConfigError

if TYPE_CHECKING:  # this module is imported by every command, so it imports little
    import pandas as pd

    from bench.planning.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Attention:
    """Options of the analysis `attention`: it measures heat maps on a sample of images of each cohort, and makes a gallery."""

    images: int = 24  # images per finding and cohort, one per patient
    gallery: int = 1  # pictures per finding, cohort and kind of case (such as false negative)
    sanity: int = 12  # number of internal images for the sanity checks of the maps; 0: no check

    def __post_init__(self) -> None:
        if self.images < 1 or self.gallery < 0 or self.sanity < 0:
            raise ValueError("images must be at least 1, gallery and sanity at least 0")


KINDS = {
    "attention": Kind(
        "bench.extensions.heat_maps.attention:attention",
        Attention,
        version=2,
        reads_images=True,
        reads_scores=True,
        check=f"{__name__}:check",
    ),
}


def check(architecture: Entry, config: RunConfig, size: int, where: str) -> None:
    """Raise ConfigError for a network without feature maps, of which the analysis `attention` could draw no heat map."""
    from bench.extensions.heat_maps.gradcam import chosen_stage  # imports torch
    from bench.models.network import build

    network = build(architecture.use, architecture.options, len(config.findings), config.channels)
    try:
        chosen_stage(network, size, size)
    except ConfigError as error:
        fix = "add `attention: false` to the grid's `analyses`, or use a network with feature maps or patch tokens"
        raise ConfigError(f"the analysis `attention` is impossible: {error.what}", where, fix) from error


def tables(
    manifest: "Manifest", frames: "Mapping[str, pd.DataFrame]", with_images: bool
) -> "tuple[dict[str, pd.DataFrame], dict[str, str]]":
    """Return the table `gallery` with its pictures, and the reason why pictures are left out."""
    from bench.extensions.heat_maps.gallery import with_pictures

    if "gallery" not in frames:
        return {}, {"no_pictures": ""}
    gallery, no_pictures = with_pictures(manifest, frames, with_images)
    return {"gallery": gallery}, {"no_pictures": no_pictures}
