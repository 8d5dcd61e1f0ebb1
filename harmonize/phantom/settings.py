"""Define the settings of a set of phantom cohorts; the settings determine every byte of the files.

Some images have the tag (a white tag with text; `token` in names) in a corner. A network may use the tag as a shortcut
in place of a finding.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from numbers import Integral
from typing import Any, Self

from harmonize.errors import ConfigError
from harmonize.phantom.sites import DRAWN, SITES

VERSION = 1  # increase after a change with which equal settings give different files
# px; a smaller canvas would lose thin structures, so a smaller image is drawn at this size and then shrunk
MIN_CANVAS = 128
MIN_SIZE, MAX_SIZE = 64, 2048  # limits of `size` in px; larger images would not show more detail


def _default_images() -> dict[str, int]:
    return {site: 2300 if site == "chexpert" else 320 for site in SITES}


@dataclass(frozen=True, slots=True)
class PhantomSettings:
    """The settings of `write_cohorts`. Equal settings give equal files.

    Settings that differ only in `shortcut`, `finding` or `source` give the same patients, anatomy and noise. Only the
    choice of the images that have the tag differs.
    """

    seed: int = 0
    # the hospital at which the tag depends on `finding`; at the other hospitals, half of the images have the tag
    source: str = "chexpert"
    # hospital -> number of frontal images; a hospital that is not listed is not written
    images: Mapping[str, int] = field(default_factory=_default_images)
    size: int = 128  # long side of the stored images in pixels
    # At `source`, an image with `finding` has the tag with probability 0.5 + shortcut / 2. An image without `finding`
    # has the tag with probability 0.5 - shortcut / 2.
    shortcut: float = 0.9
    finding: str = "Pleural Effusion"  # the finding on which the presence of the tag depends

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"seed must not be negative: {self.seed}")
        if self.source not in SITES:
            raise ValueError(f"no hospital {self.source!r}; {ConfigError.suggestion(self.source, SITES)}")
        images: Mapping[str, Any] = self.images  # a caller may give other types
        for site, number in images.items():
            if site not in SITES:
                raise ValueError(f"no hospital {site!r}; {ConfigError.suggestion(site, SITES)}")
            if not isinstance(number, Integral) or not 1 <= int(number) < 1_000_000:
                raise ValueError(f"images of {site} must be a whole number between 1 and 999,999, not {number!r}")
        if not self.images:
            raise ValueError("images must have at least one hospital")
        if not MIN_SIZE <= self.size <= MAX_SIZE:
            raise ValueError(f"size must be between {MIN_SIZE} and {MAX_SIZE} pixels, not {self.size}")
        if not 0 <= self.shortcut <= 1:
            raise ValueError(f"shortcut must be in [0, 1], not {self.shortcut}")
        if self.finding not in DRAWN:
            raise ValueError(
                f"no finding {self.finding!r} in the phantom; {ConfigError.suggestion(self.finding, DRAWN)}"
            )
        ordered = {site: int(self.images[site]) for site in SITES if site in self.images}
        object.__setattr__(self, "images", ordered)
        object.__setattr__(self, "shortcut", float(self.shortcut))  # 0 and 0.0 must give the same `key`

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any], where: str) -> Self:
        """Return the settings from a `phantom:` block; raise ConfigError, which names the location `where`."""
        types: dict[str, tuple[type, ...]] = {
            "seed": (int,),
            "source": (str,),
            "images": (Mapping,),
            "size": (int,),
            "shortcut": (int, float),
            "finding": (str,),
        }
        ConfigError.known_keys(raw, types, where)
        for key, value in raw.items():
            if isinstance(value, bool) or not isinstance(value, types[key]):
                fix = f"write a value of type {' or '.join(kind.__name__ for kind in types[key])}"
                raise ConfigError(f"{key} is {value!r}, which has the wrong type", f"{where}.{key}", fix)
        try:
            return cls(**raw)
        except (ValueError, TypeError) as error:
            raise ConfigError(str(error), where, "correct the value") from error

    @property
    def canvas(self) -> int:
        """Return the side of the canvas on which images are drawn, in pixels."""
        return max(MIN_CANVAS, self.size)

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as a dict for JSON."""
        return asdict(self)

    @property
    def key(self) -> str:
        """Return 12 hexadecimal digits that name these settings and this version of the phantom."""
        text = json.dumps([VERSION, self.as_dict()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]
