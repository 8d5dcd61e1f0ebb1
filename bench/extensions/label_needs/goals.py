"""The goals of labels: what a new hospital needs them for."""

from dataclasses import asdict, dataclass

from harmonize.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Goals:
    """What the labels are for. `share`: share of draws that must reach a goal. Raises ConfigError for a number outside 0 and 1."""

    ece: float = 0.05
    share: float = 0.8

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not isinstance(value, int | float) or not 0 < value < 1:
                what = f"{name} must be a number above 0 and below 1, not {value!r}"
                raise ConfigError(what, f"--{name}", "give a share such as .05 or .9")
