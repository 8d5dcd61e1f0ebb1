"""The block `search` of a grid: trials, which draw settings at random, the same number for every recipe of the grid.

A draw depends only on the seed, the key and the number of the trial. So another algorithm, another key or more trials
change no other draw. Trial 0 has the settings of the grid itself.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeGuard, get_type_hints

from msgspec import Meta

from bench.config.run_config import Count, RunConfig, from_dict
from harmonize.errors import ConfigError

CHOICE, LOG, LINEAR = "choice", "log", "linear"
DIGITS = 4  # significant digits of a number that is drawn
MAX_TRIALS = 1000
# blocks of a run's configuration whose keys can be searched: the other keys name what a grid compares, or its data
_BLOCKS = ("schedule", "head_weights", "lora")
_FIXED = ("schedule.select_on", "schedule.audit")  # they decide how a run is chosen or what is recorded
_EXAMPLE = "write [log, 0.00001, 0.001], [linear, 0, 0.1] or [choice, 16, 32, 64]"


@dataclass(frozen=True, slots=True)
class Space:
    """The values that one key may get.

    >>> Space("schedule.lr", "log", (1e-5, 1e-3)).draw(0, 1)
    7.058e-05
    """

    key: str
    kind: str  # log, linear or choice
    values: tuple[Any, ...]  # the lowest and the highest number, or the values to choose from
    is_whole: bool = False  # whether the key takes whole numbers only

    def draw(self, seed: int, trial: int) -> Any:
        """Return the value of this key in a trial; numbers are rounded to DIGITS significant digits, inside the bounds."""
        digest = hashlib.sha256(f"{seed}/{self.key}/{trial}".encode()).digest()
        share = int.from_bytes(digest[:6]) / 2**48  # in [0, 1)
        if self.kind == CHOICE:
            return self.values[int(share * len(self.values))]
        low, high = self.values
        # a whole number stands for the interval above it, so that the highest is as likely as its neighbor
        top = high + 1 if self.is_whole else high
        number = low * (top / low) ** share if self.kind == LOG else low + share * (top - low)
        if self.is_whole:
            return int(min(max(math.floor(number), low), high))
        return float(min(max(float(f"{number:.{DIGITS}g}"), low), high))


@dataclass(frozen=True, slots=True)
class Search:
    """The search of a grid: its number of trials with trial 0, the seed of the draws, and the spaces of the keys."""

    trials: int
    seed: int
    over: tuple[Space, ...]
    # for each combination of the grid: its configuration in each trial, trial 0 first; equal configurations are one run
    configs: tuple[tuple[RunConfig, ...], ...] = field(default=(), compare=False)

    @property
    def keys(self) -> tuple[str, ...]:
        """Return the keys whose values are drawn."""
        return tuple(space.key for space in self.over)

    def drawn(self, trial: int) -> dict[str, Any]:
        """Return the drawn settings of a trial: {dotted key: value}, {} for trial 0."""
        return {space.key: space.draw(self.seed, trial) for space in self.over} if trial else {}

    @property
    def document(self) -> dict[str, Any]:
        """Return the block as a grid file states it."""
        over = {space.key: [space.kind, *space.values] for space in self.over}
        return {"trials": self.trials, "seed": self.seed, "over": over}


@dataclass(frozen=True, slots=True)
class _Block:
    """The block `search` as written."""

    trials: Annotated[int, Meta(ge=2, le=MAX_TRIALS)]  # with trial 0, which has the grid's own settings
    over: Annotated[dict[str, Any], Meta(min_length=1)]
    seed: Count = 0


def read_search(raw: Mapping[str, Any], where: str) -> Search | None:
    """Return the search of a parsed grid file, None if the file has no block `search`.

    `raw`: the whole grid file; `where`: its path, for errors. Raises ConfigError for an invalid block, for a key that a
    sweep or a `skip` names, too, and for grids that cannot have a search (TTA, ensembles, binary tasks).
    """
    if "search" not in raw:
        return None
    place = f"{where}: search"
    block = from_dict(_Block, raw["search"], place)
    spaces = tuple(_space(str(key), values, f"{place}.over.{key}") for key, values in block.over.items())
    search = Search(block.trials, block.seed, spaces)
    _refuse_conflicts(raw, search.keys, where)
    return search


def _space(key: str, value: object, where: str) -> Space:
    """Return the space of a key. Raises ConfigError for a key that cannot be searched, and for invalid bounds."""
    kinds = _searchable()
    if key not in kinds:
        raise ConfigError(f"{key!r} cannot be searched", where, ConfigError.suggestion(key, tuple(kinds)))
    if not isinstance(value, list) or len(value) < 3 or value[0] not in (CHOICE, LOG, LINEAR):
        raise ConfigError(f"the values of {key} must be a list with a kind (got {value!r})", where, _EXAMPLE)
    how, *values = value
    if how == CHOICE:
        if len({repr(v) for v in values}) < len(values):
            raise ConfigError(f"{key} has a value twice", where, "write each value once: all have the same chance")
        return Space(key, CHOICE, tuple(values))
    if kinds[key] not in (int, float):
        raise ConfigError(f"{key} is no number", where, "write [choice, A, B]")
    is_whole = kinds[key] is int
    if len(values) != 2 or not all(_is_number(v, whole=is_whole) for v in values):
        what = f"the bounds of {key} must be two {'whole ' if is_whole else ''}numbers (got {values!r})"
        raise ConfigError(what, where, _EXAMPLE)
    low, high = values
    if low >= high or (how == LOG and low <= 0):
        what = f"the bounds of {key} must rise{', and be above 0' if how == LOG else ''} (got {low:g} and {high:g})"
        raise ConfigError(what, where, _EXAMPLE)
    return Space(key, how, (low, high), is_whole)


def _is_number(value: object, *, whole: bool) -> bool:
    return type(value) is int or (not whole and type(value) is float and math.isfinite(value))


def _searchable() -> dict[str, Any]:
    """Return {dotted key: type} of the keys that can be searched."""
    kinds: dict[str, Any] = {}
    for block, kind in get_type_hints(RunConfig).items():
        if block in _BLOCKS:
            kinds |= {f"{block}.{key}": inner for key, inner in get_type_hints(kind).items()}
    return {key: kind for key, kind in kinds.items() if key not in _FIXED}


def _refuse_conflicts(raw: Mapping[str, Any], keys: Iterable[str], where: str) -> None:
    """Raise ConfigError for parts of a grid that a search cannot have, and for keys that are stated elsewhere, too."""
    for part in ("tta", "ensembles"):
        if raw.get(part):
            fix = f"write one grid with `search`, then one with the chosen settings and `{part}`"
            raise ConfigError(f"a grid with `search` cannot have `{part}`", f"{where}: {part}", fix)
    for part in ("sweeps", "skip"):
        blocks = raw.get(part)
        named = [(i, str(name)) for i, block in enumerate(blocks) for name in block] if _is_blocks(blocks) else []
        for i, name in named:
            for key in keys:
                if f"{name}.".startswith(f"{key}.") or f"{key}.".startswith(f"{name}."):
                    fix = f"remove {key} from `search.over` or from `{part}`"
                    what = f"{key} is searched, and `{part}` names it, too"
                    raise ConfigError(what, f"{where}: {part}[{i}].{name}", fix)


def _is_blocks(value: object) -> TypeGuard[list[Mapping[str, Any]]]:
    return isinstance(value, list) and all(isinstance(block, Mapping) for block in value)


def refuse_binary(configs: Iterable[RunConfig], where: str) -> None:
    """Raise ConfigError if a run of a grid with a search learns one finding: a panel would join runs of several trials."""
    if any(config.task == "binary" for config in configs):
        fix = "use `task: multilabel`, or search in a grid for each finding without `task: binary`"
        raise ConfigError("a grid with `search` cannot have `task: binary`", f"{where}: search", fix)
