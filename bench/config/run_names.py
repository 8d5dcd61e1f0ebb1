"""Names that tell runs apart: architecture and the settings that vary among the runs shown. The seed comes last.

Every list of runs uses these names: the commands, the progress, the page and the app.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from bench.config.run_config import SECTION_OF, RunConfig, flat

# keys that a run's name does not list among its settings: architecture, seed and the hospital that is left out have their
# own places in the name, and the setting `finding` already shows the task
_NOT_SETTINGS = ("architecture", "seed", "task", "leave_out")
# key -> its text in names, for keys whose last word alone would be unclear
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
    # key of each setting that varies among the runs -> its value as text, "" for the default
    settings: Mapping[str, str]
    seed: int | None = None  # None if all the runs have the same seed
    left_out: str = ""  # the hospital that the run leaves out

    @classmethod
    def among(
        cls, configs: Sequence[Mapping[str, Any]], titles: Sequence[Mapping[str, str]] | None = None
    ) -> list[Self]:
        """Return the names of runs, given their configurations as flat mappings (with or without defaults).

        A name shows the settings that vary among these runs, but not a setting that has its default value. The seed is shown
        if it varies. `titles`: for each run, {key: title of the registry entry}; without titles, the names of the entries are
        shown.

        >>> runs = [{"architecture": "densenet121", "loss": "bce", "schedule.lr": lr} for lr in (0.0, 0.001)]
        >>> [str(name) for name in RunName.among(runs)]
        ['densenet121', 'densenet121 · lr 0.001']
        """
        own_titles = titles or [{}] * len(configs)
        changed = [{k: v for k, v in config.items() if v != _DEFAULTS.get(k)} for config in configs]
        keys = [*_ORDER, *sorted({key for config in changed for key in config} - {*_ORDER})]
        varying = [k for k in keys if k not in _NOT_SETTINGS and len({str(config.get(k)) for config in changed}) > 1]
        forms = {key: _form([config[key] for config in changed if key in config]) for key in varying}
        seeds = [int(config.get("seed", 0)) for config in changed]
        seeds_vary = len(set(seeds)) > 1
        return [
            cls(
                str(title.get("architecture", config.get("architecture", ""))),
                {k: _text(k, config[k], title, forms[k]) if k in config else "" for k in varying},
                seed if seeds_vary else None,
                str(config.get("leave_out", "")),
            )
            for config, title, seed in zip(changed, own_titles, seeds, strict=True)
        ]

    @staticmethod
    def joined(names: Sequence["RunName"]) -> str:
        """Return the names of several runs as one text.

        Runs that differ only in the seed are named together, with their seeds.

        >>> RunName.joined([RunName("densenet121", {}, 0), RunName("densenet121", {}, 1), RunName("resnet50", {}, 0)])
        'densenet121 seeds 0, 1; resnet50 seed 0'
        """
        of_recipe: dict[tuple[str, str], list[RunName]] = {}
        for name in names:
            of_recipe.setdefault((name.recipe, name.left_out), []).append(name)
        return "; ".join(own[0].with_seeds([seed for name in own for seed in name.seeds]) for own in of_recipe.values())

    @property
    def seeds(self) -> list[int]:
        """Return the seed as a list, empty if all the runs have the same seed."""
        return [] if self.seed is None else [self.seed]

    @property
    def cells(self) -> list[str]:
        """Return the name as cells of a table: architecture, and one cell for each varying setting. The seed comes last."""
        return [self.architecture, *self.settings.values(), *self._without, *self._seed]

    @property
    def settings_without_seed(self) -> str:
        """Return the varying settings that differ from their defaults, and the hospital that is left out: "SAM · without nih"."""
        return " · ".join([*filter(None, self.settings.values()), *self._without])

    @property
    def differences(self) -> str:
        """Return `settings_without_seed`, and the seed if it varies: "SAM · seed 1"."""
        return " · ".join([*filter(None, [self.settings_without_seed]), *self._seed])

    @property
    def _without(self) -> list[str]:
        return [f"without {self.left_out}"] if self.left_out else []

    @property
    def _seed(self) -> list[str]:
        return [f"seed {seed}" for seed in self.seeds]

    @property
    def recipe(self) -> str:
        """Return the name without the seed and the hospital that is left out."""
        return " · ".join([self.architecture, *filter(None, self.settings.values())])

    def with_seeds(self, seeds: Sequence[int]) -> str:
        """Return the name with other seeds: "DenseNet-121 · SAM · seeds 0, 1". Without seeds, return the name without the seed."""
        name = " · ".join([self.recipe, *self._without])
        if not seeds:
            return name
        separator = " · " if self.settings_without_seed else " "
        return f"{name}{separator}seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"

    def __str__(self) -> str:
        return self.with_seeds(self.seeds)


def _form(values: Sequence[Any]) -> str:
    """Return the format of the numbers of a setting: ".4g", or "" (all digits) if four digits cannot distinguish the values."""
    numbers = {value for value in values if isinstance(value, float)}
    return ".4g" if len({f"{value:.4g}" for value in numbers}) == len(numbers) else ""


def _text(key: str, value: Any, titles: Mapping[str, str], form: str) -> str:
    """Return a setting as text: the name of a registry entry or finding, else key and value."""
    if key in SECTION_OF or key == "finding":
        return str(titles.get(key, value))
    name = _SHORT.get(
        key, key.rpartition(".")[2] if key.startswith(("schedule.", "cohort.")) else key.replace(".", " ")
    )
    if value is True:
        return name
    return f"{name} {value:{form}}" if isinstance(value, float) else f"{name} {value}"
