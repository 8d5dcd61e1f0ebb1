"""Names that tell runs apart: architecture, the settings that vary among the runs shown, and the seed.

Every list of runs uses these names: the commands, the progress, the page and the app.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from bench.config.run_config import NAMED, RunConfig, flat

_NOT_SETTINGS = ("architecture", "seed", "task")  # `finding` tells tasks apart
# keys whose last word alone would be unclear
_SHORT = {"schedule.kind": "schedule", "cohort.limit": "patients", "limit.hours": "hours"}
_REQUIRED: dict[str, Any] = dict.fromkeys(("architecture", "optimizer", "loss", "uncertainty", "preprocessing"), "")
_DEFAULTS = flat(asdict(RunConfig(**_REQUIRED)))
# keys in the order of a name: settings of a block, such as schedule.lr, come last
_ORDER = sorted(_DEFAULTS, key=lambda key: "." in key)


@dataclass(frozen=True, slots=True)
class RunName:
    """The name of one run among other runs.

    >>> str(RunName("DenseNet-121", {"optimizer": "SAM", "schedule.lr": ""}, 1))
    'DenseNet-121 · SAM · seed 1'
    """

    architecture: str
    settings: Mapping[str, str]  # key of each setting that varies among the runs -> text, "" for the default
    seed: int

    @classmethod
    def among(
        cls, configs: Sequence[Mapping[str, Any]], titles: Sequence[Mapping[str, str]] | None = None
    ) -> list[Self]:
        """Return the names of runs, given their configurations as flat mappings (with or without defaults).

        A name holds exactly the settings that vary among these runs, and no defaults. `titles`: for each run, the titles of its registry
        entries by key; without them, names contain the names of the entries.

        >>> runs = [{"architecture": "densenet121", "loss": "bce", "schedule.lr": lr} for lr in (0.0, 0.001)]
        >>> [str(name) for name in RunName.among(runs)]
        ['densenet121 seed 0', 'densenet121 · lr 0.001 · seed 0']
        """
        own_titles = titles or [{}] * len(configs)
        changed = [{k: v for k, v in config.items() if v != _DEFAULTS.get(k)} for config in configs]
        keys = [*_ORDER, *sorted({key for config in changed for key in config} - {*_ORDER})]
        varying = [k for k in keys if k not in _NOT_SETTINGS and len({str(config.get(k)) for config in changed}) > 1]
        forms = {key: _form([config[key] for config in changed if key in config]) for key in varying}
        return [
            cls(
                str(title.get("architecture", config.get("architecture", ""))),
                {k: _text(k, config[k], title, forms[k]) if k in config else "" for k in varying},
                int(config.get("seed", 0)),
            )
            for config, title in zip(changed, own_titles, strict=True)
        ]

    @staticmethod
    def joined(names: Sequence["RunName"]) -> str:
        """Return the names of several runs as one text. Runs of one recipe are joined.

        >>> RunName.joined([RunName("densenet121", {}, 0), RunName("densenet121", {}, 1), RunName("resnet50", {}, 0)])
        'densenet121 seeds 0, 1; resnet50 seed 0'
        """
        seeds: dict[str, list[str]] = {}
        for name in names:
            separator = str(name)[len(name.recipe) : -len(f"seed {name.seed}")]
            seeds.setdefault(f"{name.recipe}{separator}", []).append(str(name.seed))
        return "; ".join(f"{recipe}seed{'s'[: len(own) - 1]} {', '.join(own)}" for recipe, own in seeds.items())

    @property
    def cells(self) -> list[str]:
        """Return the name as cells of a table: architecture, one cell for each varying setting, and seed."""
        return [self.architecture, *self.settings.values(), f"seed {self.seed}"]

    @property
    def differences(self) -> str:
        """Return the settings that are no defaults, and the seed: "SAM · seed 1"."""
        return " · ".join([*filter(None, self.settings.values()), f"seed {self.seed}"])

    @property
    def recipe(self) -> str:
        """Return the name without the seed."""
        return " · ".join([self.architecture, *filter(None, self.settings.values())])

    def __str__(self) -> str:
        separator = " · " if any(self.settings.values()) else " "
        return f"{self.recipe}{separator}seed {self.seed}"


def _form(values: Sequence[Any]) -> str:
    """Return the format of the numbers of a setting: four digits, or all digits if four do not tell the values apart."""
    numbers = {value for value in values if isinstance(value, float)}
    return ".4g" if len({f"{value:.4g}" for value in numbers}) == len(numbers) else ""


def _text(key: str, value: Any, titles: Mapping[str, str], form: str) -> str:
    """Return a setting as text: the name of a registry entry or finding, else key and value."""
    if key in NAMED or key == "finding":
        return str(titles.get(key, value))
    name = _SHORT.get(
        key, key.rpartition(".")[2] if key.startswith(("schedule.", "cohort.")) else key.replace(".", " ")
    )
    return name if value is True else f"{name} {value:{form}}" if isinstance(value, float) else f"{name} {value}"
