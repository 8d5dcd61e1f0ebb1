"""Read a grid file and expand it into run configurations: all combinations of each sweep."""

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from bench.config.analyses import Analysis, read_analyses
from bench.config.compatibility import (
    OWN,
    check_algorithm,
    check_heads,
    check_probe,
    check_trainable,
    with_own_preprocessing,
    with_required_kind,
    without_training,
    without_unused_groups,
)
from bench.config.grid_file import check_name, find, load, location, merge, shipped_grids
from bench.config.preprocessing_ops import check_augmentation, geometry, input_size
from bench.config.published_results import PublishedResult, read_published
from bench.config.registry import WILDCARDS, Registry
from bench.config.run_config import SECTION_OF, RunConfig, differing, from_dict
from bench.config.search import Search, read_search, refuse_binary
from bench.config.settings import OF_GRID, Settings
from bench.config.tta_and_ensembles import Ensemble, read_ensembles, read_tta
from harmonize.cohorts.pool_names import hospitals_of, is_pool, pool_name
from harmonize.errors import ConfigError, CxrError
from harmonize.labels.findings import HYBRID, check_source, labels_yaml

if TYPE_CHECKING:
    from harmonize.cohorts.specs import CohortSpec
    from harmonize.phantom import PhantomSettings


@dataclass(frozen=True, slots=True)
class Expect:
    """The block `expect` of a grid, in which the author of the grid states expectations.

    `runs` must equal the number of runs of the grid; the default 0 is not checked. `minutes` and `device` are never
    checked: they only inform readers of the grid.
    """

    runs: int = 0
    minutes: float = 0.0
    device: str = ""


@dataclass(frozen=True, slots=True)
class PhantomChoice:
    """The synthetic cohorts that a grid makes if it is run without data. Only a grid with the key `phantom` makes synthetic cohorts."""

    source: int = 2300  # frontal images of the training hospital
    external: int = 320  # frontal images of each other hospital
    size: int = 128  # long side in pixels
    # strength of the planted shortcut, 0 to 1: the chance of a tag on images with `finding` minus the chance on other images
    shortcut: float = 0.0
    finding: str = "Pleural Effusion"  # finding that occurs together with the tag at the training hospital
    seed: int = 0


ENCODER = "encoder"  # key of a grid that stands for architecture, weights and preprocessing
# key of a sweep -> keys of `base` that it replaces
_REPLACED = {ENCODER: ("architecture", "weights"), "architecture": (ENCODER,)}
# Maximum number of combinations in a grid. The largest leaderboards have 500 runs, a twentieth of this maximum. A grid
# with the maximum number of combinations is expanded in seconds.
MAX_COMBINATIONS = 10_000
RESERVED = {"external"}  # names that no cohort may have
_KEYS = (
    "name",
    "title",
    "about",
    "expect",
    "evaluate_on",
    *OF_GRID,
    "useful",
    "split",
    "limit",
    "phantom",
    "include",
    "base",
    "leave_one_out",
    "sweeps",
    "skip",
    "label_sources",
    "choose",
    "tta",
    "ensembles",
    "references",
    "analyses",
    "search",
)


@dataclass(frozen=True, slots=True)
class Grid:
    """The content of a grid file: what to train, where to test, and how to score."""

    name: str
    path: str
    title: str
    evaluate_on: tuple[str, ...]
    configs: tuple[RunConfig, ...]
    settings: Settings = field(default_factory=Settings)  # how the grid is scored
    expect: Expect = field(default_factory=Expect)
    phantom: PhantomChoice = field(default_factory=PhantomChoice)
    synthetic: bool = False  # whether the grid has the key `phantom`: without data, it makes synthetic cohorts
    # (finding, label source) of the findings whose label source differs from the runs' `label_source`
    label_sources: tuple[tuple[str, str], ...] = ()
    # label sources that the grid compares; empty if all runs have the same label source
    training_sources: tuple[str, ...] = ()
    tta: tuple[str, ...] = ()
    ensembles: tuple[Ensemble, ...] = ()
    references: tuple[PublishedResult, ...] = ()
    analyses: tuple[Analysis, ...] = ()
    search: Search | None = None
    left_out: tuple[str, ...] = ()  # why combinations of a pattern such as "*" cannot run
    choose: str = ""  # label_source: one more row has, for each finding, the run of the best label source
    useful: float = 0.0  # AUROC from which a model is useful at a new hospital; 0 for the default

    @property
    def train_on(self) -> str:
        """Return the name of the internal cohort, a training hospital or a pool of several. A grid has one internal cohort."""
        return self.configs[0].train_on

    @property
    def hospitals(self) -> tuple[str, ...]:
        """Return the names of all hospitals: the training hospitals, then the external cohorts."""
        return (*hospitals_of(self.train_on), *self.evaluate_on)

    @property
    def phantom_settings(self) -> "PhantomSettings":
        """Return the settings of the synthetic cohorts that the grid uses without data.

        Raises ConfigError if the grid needs data, names a hospital that has no phantom, or has an invalid number.
        """
        from harmonize.cohorts.specs import GOLD
        from harmonize.phantom import PhantomSettings

        self.check_synthetic()
        choice = self.phantom
        external = (name.removesuffix(GOLD) for name in self.evaluate_on)
        try:
            training = hospitals_of(self.train_on)
            return PhantomSettings(
                seed=choice.seed,
                source=training[0],
                images={**dict.fromkeys(training, choice.source), **dict.fromkeys(external, choice.external)},
                size=choice.size,
                shortcut=choice.shortcut,
                finding=choice.finding,
            )
        except ValueError as error:
            fix = "see `bench data phantom --help` for the ranges"
            raise ConfigError(str(error), f"{self.path}: phantom", fix) from error

    def check_synthetic(self) -> None:
        """Raise ConfigError if the grid cannot be run without data.

        A grid can be run without data only if it has the key `phantom`, and if phantoms exist for all its cohorts.
        """
        from harmonize.cohorts.specs import GOLD
        from harmonize.datasets import PUBLISHED
        from harmonize.labels.findings import labels_yaml

        if not self.synthetic:
            close = {name: ConfigError.nearest(name, PUBLISHED, cutoff=0.8) for name in self.hospitals}
            misspelled = {name for name, published in close.items() if published not in ([], [name])}
            cohorts = ", ".join(
                f"{name} (did you mean {close[name][0]}?)" if name in misspelled else name for name in self.hospitals
            )
            fix = f"give --data FOLDER or --data data.yaml, with the hospitals {cohorts} (docs/real-data.md)"
            twins = [name for name in shipped_grids() if name.endswith("-smoke")]
            twin = max((t for t in twins if self.name.startswith(t.removesuffix("-smoke"))), key=len, default="demo")
            fix += f". To try the program on synthetic images: `bench run --grid {twin}`"
            if not self.is_shipped:
                fix += ", or add `phantom: {}` to the grid"
            raise ConfigError(f"the grid {self.name} needs data", "--data", fix)
        gold = [name for name in self.hospitals if name.endswith(GOLD)]
        drawn = [name for name in PUBLISHED if labels_yaml()["datasets"][name].get("synthetic", True)]
        self._check_known([*drawn, *(n for n in gold if n.removesuffix(GOLD) in drawn)], "no synthetic images")

    def check_cohorts(self, specs: "Mapping[str, CohortSpec]", data: Path) -> None:
        """Raise ConfigError for a cohort of the grid that is not in the data.

        `specs`: the cohorts in the data, by name. `data`: path of the data, for the error.
        """
        self._check_known(list(specs), f"no entry in the data ({data})")

    def _check_known(self, known: Sequence[str], lacks: str) -> None:
        """Raise ConfigError for a cohort of the grid that is not in `known`; the error names the line of the grid file.

        `lacks` completes the sentence "the hospital NAME has ..." of the error.
        """
        num_training = len(hospitals_of(self.train_on))
        for i, name in enumerate(self.hospitals):
            if name not in known:
                key = f"evaluate_on[{i - num_training}]" if i >= num_training else "base.train_on"
                fix = f"{ConfigError.hint(name, known)}choose from: {', '.join(known)}"
                raise ConfigError(f"the hospital {name!r} has {lacks}", self.location(key), fix)

    def location(self, key: str) -> str:
        """Return file, line and key of a setting. A grid that was not read from a file has no line."""
        return location(Path(self.path), key) if Path(self.path).is_file() else f"{self.path}: {key}"

    @property
    def is_shipped(self) -> bool:
        """Return whether the file is one of the shipped grids."""
        return self.name in shipped_grids() and Path(self.path).resolve() == find(self.name).resolve()

    def cohort_spec(self, spec: "CohortSpec") -> "CohortSpec":
        """Return the settings for reading a cohort: the settings `spec` of the data file, changed by the grid's settings.

        The grid changes only the training hospitals: their selection of images and their label sources. An external cohort
        is read as the data file states.
        """
        if spec.name not in hospitals_of(self.train_on):
            return spec
        config = self.configs[0]
        # The limit of training patients is set to 0 here, because `bench.planning.protocol` applies the limit.
        chosen = differing(replace(config.cohort, limit=0))
        if self.training_sources:
            names = [name for name in self.training_sources if name != "default"]
            for name in (*names, *(source for _, source in self.label_sources)):
                if name != HYBRID:
                    check_source(spec.layout, name, f"{self.path}: sweeps: label_source")
            training = tuple((name, self.label_sources if name == HYBRID else ()) for name in names)
            return replace(spec, choice=replace(spec.choice, **chosen), training=training)
        source = spec.label_source if config.label_source == "default" else config.label_source
        hybrid = self.label_sources or (spec.hybrid if source == spec.label_source else ())
        for _, other in self.label_sources:
            check_source(spec.layout, other, f"{self.path}: label_sources")
        return replace(spec, choice=replace(spec.choice, **chosen), label_source=source, hybrid=hybrid)

    @classmethod
    def read(cls, name_or_path: str, registry: Registry) -> Self:
        """Read and expand a grid, given the path of its file or the name of a shipped grid.

        Raises ConfigError with file, line and key for an invalid file.
        """
        path = find(name_or_path)
        raw = load(path)
        try:
            return cls.of(raw, path, registry)
        except CxrError as error:
            if not error.where.startswith(f"{path}: "):
                raise
            where = location(path, error.where.removeprefix(f"{path}: "))
            raise type(error)(error.what, where, error.fix) from error

    @classmethod
    def of(cls, raw: Mapping[str, Any], path: Path, registry: Registry) -> Self:
        """Return the grid of a parsed grid file. `path` names the file in errors.

        Raises ConfigError with file and key for anything unknown, misspelled, repeated or impossible.
        """
        ConfigError.known_keys(raw, _KEYS, str(path))
        search, configs, left_out = _with_trials(raw, registry, str(path))
        _check_shared(configs, str(path))
        label_sources = _label_sources(raw.get("label_sources", {}), f"{path}: label_sources")
        training_sources = _training_sources(configs, label_sources, str(path))
        evaluate_on = _cohorts(raw.get("evaluate_on", []), configs[0].train_on, f"{path}: evaluate_on")
        settings = Settings.of_grid(raw, str(path))
        useful = raw.get("useful", 0.0)
        if type(useful) is not float or (useful and not 0.5 < useful < 1):
            fix = "give an AUROC between .5 and 1, such as useful: 0.7"
            raise ConfigError(f"useful is {useful!r}", f"{path}: useful", fix)
        expect = from_dict(Expect, raw.get("expect", {}), f"{path}: expect")
        if expect.runs and expect.runs != len(configs):
            raise ConfigError(
                f"the grid has {len(configs)} runs, but expect.runs is {expect.runs}",
                f"{path}: expect.runs",
                "correct the sweeps or expect.runs, or delete `expect`",
            )
        name = str(raw.get("name", path.stem))
        check_name(name, f"{path}: name")
        phantom = from_dict(PhantomChoice, raw.get("phantom", {}), f"{path}: phantom")
        tta = read_tta(raw.get("tta", []), configs, registry, f"{path}: tta")

        def meets(config: RunConfig, conditions: Mapping[str, Any], location: str) -> bool:
            return _meets(config, conditions, registry, location)

        ensembles = read_ensembles(raw.get("ensembles", []), configs, tta, meets, f"{path}: ensembles")
        references = raw.get("references", [])
        if not isinstance(references, list):
            fix = "write [published/mine.yaml]"
            raise ConfigError("references must be a list of files", f"{path}: references", fix)
        return cls(
            name,
            str(path),
            str(raw.get("title", name)),
            evaluate_on,
            configs,
            settings,
            expect,
            phantom,
            "phantom" in raw,
            label_sources,
            training_sources,
            tta,
            ensembles,
            read_published([Path(name) for name in references]),
            read_analyses(raw.get("analyses", {}), f"{path}: analyses"),
            search,
            left_out,
            _choose(raw.get("choose", ""), configs, f"{path}: choose"),
            useful,
        )


def _label_sources(raw: object, where: str) -> tuple[tuple[str, str], ...]:
    """Return the (finding, label source) pairs of the block `label_sources`, whose value is `raw`.

    Raises ConfigError for an unknown finding. `Grid.cohort_spec` checks whether the data have these label sources.
    """
    if not isinstance(raw, Mapping) or not all(isinstance(source, str) for source in raw.values()):
        raise ConfigError(f"label_sources must be a block of findings (got {raw!r})", where, "write {Edema: chexbert}")
    findings = {finding for names in labels_yaml()["spaces"].values() for finding in names}
    for finding in raw:
        if finding not in findings:
            fix = ConfigError.suggestion(finding, findings, "name a finding of harmonize/labels/labels.yaml")
            raise ConfigError(f"unknown finding {finding!r}", where, fix)
    return tuple((str(finding), source) for finding, source in raw.items())


def _training_sources(
    configs: Sequence[RunConfig], by_finding: Sequence[tuple[str, str]], where: str
) -> tuple[str, ...]:
    """Return the label sources that the grid compares, () if all runs have the same source.

    `by_finding`: the pairs of the block `label_sources`, which define the source `hybrid`. A grid that compares sources
    must have both the source `hybrid` and the block, or neither; otherwise, raises ConfigError. If all runs have the
    same source, raises ConfigError if this source is `hybrid`.
    """
    sources = tuple(dict.fromkeys(config.label_source for config in configs))
    if len(sources) == 1:
        if sources == (HYBRID,):
            fix = "remove `label_source: hybrid`: with one source, `label_sources` applies to all runs"
            raise ConfigError("hybrid is a label source of a sweep", f"{where}: label_source", fix)
        return ()
    if (HYBRID in sources) != bool(by_finding):
        if by_finding:
            what, fix = "no run uses the block label_sources", "add hybrid to the sweep of label_source"
        else:
            what, fix = "hybrid has no label sources", "add `label_sources: {Edema: chexbert}` at the top level"
        raise ConfigError(what, f"{where}: label_sources", fix)
    return sources


def _choose(value: object, configs: Sequence[RunConfig], where: str) -> str:
    """Return the value of the key `choose`. Raises ConfigError if there is nothing to choose from."""
    if value not in ("", "label_source"):
        raise ConfigError(f"choose is {value!r}", where, "write `choose: label_source`")
    sources = {config.label_source for config in configs}
    if value and any(config.task != "binary" for config in configs):
        fix = "set `task: binary`, and sweep over `finding` and `label_source`"
        raise ConfigError("choose is only valid if all runs learn one finding each", where, fix)
    if value and (len(sources) < 2 or HYBRID in sources):
        what = "all runs have the same label source" if len(sources) < 2 else "hybrid is a choice of its own"
        raise ConfigError(what, where, "sweep over single sources: `label_source: [chexbert, visualchexbert]`")
    return str(value)


def _cohorts(names: object, internal: str, where: str) -> tuple[str, ...]:
    """Return the names of the external cohorts of a grid.

    Raises ConfigError for a reserved or repeated name, and for the name of a training hospital.
    """
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        raise ConfigError("evaluate_on must be a list of cohort names", where, "write [mimic, nih]")
    training = hospitals_of(internal)
    for name in (*training, *names):
        if name in RESERVED:
            raise ConfigError(f"{name!r} is reserved and cannot be the name of a cohort", where, "rename the cohort")
        if [*training, *names].count(name) > 1:
            fix = "name each external cohort once; do not name a training hospital, which is always evaluated"
            raise ConfigError(f"{name!r} is repeated, or is a training hospital", where, fix)
    return tuple(names)


def _with_trials(
    raw: Mapping[str, Any], registry: Registry, where: str
) -> tuple[Search | None, tuple[RunConfig, ...], tuple[str, ...]]:
    """Return the search of a grid (None without one), all its distinct configurations, those of trial 0 first, and what `_expand` left out."""
    search = read_search(raw, where)
    block_of, cannot_run = _expand(raw, registry, where)  # block_of: configuration -> its block of settings
    left_out = raw.get("leave_one_out", False)
    place = f"{where}: leave_one_out"
    if search is None:
        return None, _leave_one_out(tuple(block_of), left_out, place), cannot_run
    refuse_binary(block_of, where)
    if len(block_of) * search.trials > MAX_COMBINATIONS:
        what = f"{len(block_of):,} settings with {search.trials:,} trials are more than {MAX_COMBINATIONS:,} runs"
        raise ConfigError(what, f"{where}: search.trials", "lower `trials`, or list fewer values in `sweeps`")
    later = (
        tuple(_trial(block, search, trial, registry, where) for block in block_of.values())
        for trial in range(1, search.trials)
    )
    configs_of_trial = [_leave_one_out(configs, left_out, place) for configs in (tuple(block_of), *later)]
    distinct = tuple(dict.fromkeys(config for configs in configs_of_trial for config in configs))
    trials_of_config = tuple(zip(*configs_of_trial, strict=True))  # as `Search.configs`
    return replace(search, configs=trials_of_config), distinct, cannot_run


def _trial(block: Mapping[str, Any], search: Search, trial: int, registry: Registry, where: str) -> RunConfig:
    """Return the configuration of a trial. Raises ConfigError at `search` if the drawn values and the settings do not fit."""
    place, drawn = f"{where}: base", search.drawn(trial)
    for key, value in drawn.items():
        block = merge(block, _nested(key, value, place))
    try:
        config = _config(block, registry, place)
        _check_combination(config, registry, place)
    except CxrError as error:
        key = error.where.removeprefix(place).removeprefix(".")
        where_drawn = f"{where}: search.over" + (f".{key}" if key in drawn else "")
        values = ", ".join(f"{name} {value}" for name, value in drawn.items())
        raise type(error)(f"trial {trial} ({values}): {error.what}", where_drawn, error.fix) from error
    return config


def _expand(
    raw: Mapping[str, Any], registry: Registry, where: str
) -> tuple[dict[RunConfig, Mapping[str, Any]], tuple[str, ...]]:
    """Return the distinct configurations of all sweeps, each with its block of settings, and sentences on what is left out.

    Configurations that a `skip` removes are left out, and so are combinations of a sweep with a pattern that cannot run; only
    the latter have a sentence. If no combination of the sweep can run, its first error is raised.
    """
    base = raw.get("base") or {}
    if not isinstance(base, Mapping):
        raise ConfigError("base must be a block of keys", f"{where}: base", "write `key: value` lines")
    base = {key: raw[key] for key in ("split", "limit") if key in raw} | {**base}
    sweeps, skips = _blocks(raw, "sweeps", where) or [{}], _blocks(raw, "skip", where)
    unique: dict[RunConfig, Mapping[str, Any]] = {}
    unused_skips = set(range(len(skips)))
    refused: dict[int, list[CxrError]] = {}
    runnable = set()
    for i, block in _combinations(sweeps, base, registry, where):
        try:
            config = _config(block, registry, f"{where}: base")
            skipped = [j for j, skip in enumerate(skips) if _meets(config, skip, registry, f"{where}: skip[{j}]")]
            unused_skips -= set(skipped)
            if not skipped:
                _check_combination(config, registry, f"{where}: base")
                unique.setdefault(config, block)
            runnable.add(i)
        except CxrError as error:
            place = _place(error, base, sweeps[i], where, i)
            fix = f"{error.fix}; `skip:` removes single combinations" if "sweeps[" in place else error.fix
            refused.setdefault(i, []).append(type(error)(error.what, place, fix))
            if not _has_pattern(sweeps[i]):
                raise refused[i][0] from error
    if failed := refused.keys() - runnable:
        raise refused[min(failed)][0]
    for j in sorted(unused_skips):
        fix = "correct its names or values, or remove it"
        raise ConfigError("this skip removes no run", f"{where}: skip[{j}]", fix)
    if not unique:
        raise ConfigError("the grid has no runs", where, "remove a `skip`, or add `sweeps` or a complete `base`")
    counts = Counter(error.what for errors in refused.values() for error in errors)
    return unique, tuple(f"left out, because {what}: {n} combination(s) of a pattern" for what, n in counts.items())


def _blocks(raw: Mapping[str, Any], label: str, where: str) -> list[Mapping[str, Any]]:
    """Return the list of blocks `sweeps` or `skip`; [] if the grid has none."""
    blocks = raw.get(label) or []
    if not isinstance(blocks, list) or not all(isinstance(b, Mapping) for b in blocks):
        fix = "write `- {architecture: [a, b], seed: [0, 1]}`"
        raise ConfigError(f"{label} must be a list of blocks", f"{where}: {label}", fix)
    return blocks


def _check_shared(configs: Sequence[RunConfig], where: str) -> None:
    """Raise ConfigError if the runs differ in a setting that all runs of a grid share, or leave out different hospitals."""
    for key, values in {
        **{k: {getattr(c, k) for c in configs} for k in ("train_on", "split", "space", "mapping")},
        "cohort": {replace(c.cohort, limit=0) for c in configs},
    }.items():
        if len(values) > 1:
            fix = "write one grid for each value: runs of a grid share images, labels and findings"
            raise ConfigError(f"all runs of a grid must have the same {key}", f"{where}: {key}", fix)
    left_out = {config.leave_out for config in configs}
    if "" in left_out and len(left_out) > 1:
        what = "some runs leave out a hospital, others leave out none: they have different external hospitals"
        fix = "write two grids, or leave out hospitals in every run: `leave_one_out: true` leaves out each in turn"
        raise ConfigError(what, f"{where}: leave_out", fix)
    folds = {(replace(config, seed=0, leave_out=""), config.leave_out) for config in configs}
    if len(folds) < len({recipe for recipe, _ in folds}) * len(left_out):
        what = "configurations leave out different hospitals, so their means are over different external hospitals"
        fix = "write one grid for each configuration, or leave out the same hospitals in all of them"
        raise ConfigError(what, f"{where}: leave_out", fix)


def _leave_one_out(configs: tuple[RunConfig, ...], value: object, where: str) -> tuple[RunConfig, ...]:
    """Return one configuration for each hospital that is left out, or the configurations unchanged if `value` is False."""
    if not isinstance(value, bool):
        raise ConfigError(f"leave_one_out must be true or false (got {value!r})", where, "write `leave_one_out: true`")
    if not value:
        return configs
    hospitals = hospitals_of(configs[0].train_on)
    if len(hospitals) < 2:
        fix = "list two or more training hospitals, such as `train_on: [chexpert, mimic, nih]`"
        raise ConfigError("there is only one training hospital, so none can be left out", where, fix)
    if any(config.leave_out for config in configs):
        raise ConfigError("leave_out is set, too", where, "remove `leave_out` or `leave_one_out`")
    return tuple(replace(config, leave_out=name) for config in configs for name in hospitals)


def _combinations(
    sweeps: Sequence[Mapping[str, Any]], base: Mapping[str, Any], registry: Registry, where: str
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield (index of the sweep, settings of the run) for each combination of the values in each sweep."""
    num_combinations = 0
    for i, sweep in enumerate(sweeps):
        location = f"{where}: sweeps[{i}]"
        replaced = {name for key in sweep for name in _REPLACED.get(key, ())}
        kept = {key: value for key, value in base.items() if key not in replaced}
        axes = [[(key, v) for v in _values(key, value, registry, location)] for key, value in sweep.items()]
        num_combinations += math.prod(map(len, axes))
        if num_combinations > MAX_COMBINATIONS:
            what = f"the sweeps have {num_combinations:,} combinations or more, the maximum is {MAX_COMBINATIONS:,}"
            raise ConfigError(what, location, "list fewer values, or write several grids")
        for combination in itertools.product(*axes):
            block = dict(kept)
            for key, value in combination:
                block = merge(block, _nested(key, value, location))
            yield i, block


def _place(error: CxrError, base: Mapping[str, Any], sweep: Mapping[str, Any], where: str, number: int) -> str:
    """Return the place in the grid file of the value that causes `error`: in `base`, if only `base` sets it, else in the sweep."""
    start = f"{where}: base"
    if not sweep or not error.where.startswith(start):
        return error.where
    key = error.where.removeprefix(start).removeprefix(".")
    # the sweep sets the key, a block that contains the key, or a part of it
    in_sweep = not key or any(f"{name}.".startswith(f"{key}.") or f"{key}.".startswith(f"{name}.") for name in sweep)
    if not in_sweep and _has(base, key):
        return error.where
    return f"{where}: sweeps[{number}]" + (f".{key}" if key else "")


def _has(block: object, key: str) -> bool:
    head, _, rest = key.partition(".")
    return isinstance(block, Mapping) and head in block and (not rest or _has(block[head], rest))


def _values(key: str, value: Any, registry: Registry, where: str) -> list[Any]:
    """Return the values of one key as a list. A pattern with wildcards becomes the matching registry names."""
    values = _listed(value)
    if not values:
        raise ConfigError(f"{key} is an empty list", f"{where}.{key}", "add at least one value")
    if key not in (*SECTION_OF, ENCODER):
        return values
    matches = [_named(key, v, registry, f"{where}.{key}") for v in values]
    return [name for names in matches for name in names]


def _has_pattern(sweep: Mapping[str, Any]) -> bool:
    texts = [value for values in sweep.values() for value in _listed(values) if isinstance(value, str)]
    return any(character in text for text in texts for character in WILDCARDS)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _named(key: str, value: Any, registry: Registry, where: str) -> list[str]:
    """Return the names of registry entries that a value (a name, or a pattern with wildcards) matches."""
    section = SECTION_OF.get(key, "encoders")
    if not isinstance(value, str):
        raise ConfigError(f"{key} must be a name (got {value!r})", where, f"`bench list {section}` shows the names")
    if (key, value) == ("preprocessing", OWN):
        return [OWN]
    return registry.match(section, value, where)


def _nested(key: str, value: Any, where: str) -> dict[str, Any]:
    """Turn `schedule.lr: 1` into {schedule: {lr: 1}}. Raises ConfigError for an unknown key."""
    head, _, rest = str(key).partition(".")
    ConfigError.known_keys([head], [*(f.name for f in fields(RunConfig)), ENCODER], where)
    return {head: {rest: value}} if rest else {head: value}


def _config(block: Mapping[str, Any], registry: Registry, where: str) -> RunConfig:
    """Return the configuration of a block of settings. Names and values are checked, but not whether they can be combined."""
    if block.get("shots") == "all":
        block = {**block, "shots": 0}
    if isinstance(hospitals := block.get("train_on"), list):
        block = {**block, "train_on": _pool(hospitals, f"{where}.train_on")}
    if ENCODER in block:
        if "architecture" in block:
            fix = "remove one of them; an encoder or an architecture of a sweep replaces that of `base`"
            raise ConfigError("`encoder` and `architecture` both name the network", f"{where}.{ENCODER}", fix)
        # the encoder's weights and preprocessing are the defaults: others beside it are factors
        defaults = registry.of_encoder(str(block[ENCODER]), f"{where}.{ENCODER}")
        block = {**defaults, **{key: value for key, value in block.items() if key != ENCODER}}
    config = with_own_preprocessing(from_dict(RunConfig, block, where), registry, where)
    for key, section in config.named.items():
        registry.find(section, getattr(config, key), f"{where}.{key}")
    geometry(registry.find("preprocessing", config.preprocessing, where).facts)
    check_augmentation(registry.find("augmentation", config.augmentation, where))
    if "kind" not in block.get("schedule", {}):
        config = with_required_kind(config, registry.find("optimizers", config.optimizer, where))
    return without_training(without_unused_groups(config, registry))


def _pool(hospitals: list[object], where: str) -> str:
    """Return the name of the pool of a list of training hospitals. Raises ConfigError for anything but different names."""
    names = [name for name in hospitals if isinstance(name, str) and name and not is_pool(name)]
    if not names or len(names) != len(hospitals) or len(set(names)) != len(names):
        fix = "write one name, or a list of different names such as [chexpert, mimic]"
        raise ConfigError(f"train_on must name different hospitals (got {hospitals!r})", where, fix)
    return pool_name(names)


def _check_combination(config: RunConfig, registry: Registry, where: str) -> None:
    """Raise ConfigError if the values of a run are valid but cannot be combined. Runs that a `skip` removes are not checked."""
    optimizer = registry.find("optimizers", config.optimizer, where)
    loss = registry.find("losses", config.loss, where)
    algorithm = registry.find("algorithms", config.algorithm, where) if "algorithm" in config.named else None
    check_trainable(config, optimizer, loss, algorithm, where)
    check_probe(config, registry.find("uncertainty", config.uncertainty, where), where)
    architecture = registry.find("architectures", config.architecture, where)
    if architecture.given_features:
        architecture.given_features.check(config, where)
    if config.added_head:
        config.added_head.check(config, architecture, where)
    size = input_size(registry.find("preprocessing", config.preprocessing, where).facts)
    if size < (smallest := architecture.facts.get("min_px", 1)):
        fix = f"choose a preprocessing of {smallest} pixels or more"
        raise ConfigError(f"{config.architecture} cannot take images of {size} pixels", f"{where}.preprocessing", fix)
    never_pretrained = architecture.facts.get("corpus") == "none" or not architecture.use.endswith(":timm_model")
    if config.weights == "imagenet" and never_pretrained:
        raise ConfigError(f"{config.architecture} has no ImageNet weights", f"{where}.weights", "set `weights: none`")
    check_heads(config, where)
    policy = registry.find("uncertainty", config.uncertainty, where)
    needed = policy.facts.get("blank", config.blank)
    if needed != config.blank:
        what = f"{config.uncertainty} needs `blank: {needed}` (got {config.blank})"
        raise ConfigError(what, f"{where}.blank", f"set `blank: {needed}`")
    states = int(policy.facts.get("states", 1))
    if algorithm is not None:
        check_algorithm(config, algorithm, optimizer, where)
    if states != 1 and (loss.use != "bench.training.losses:bce" or loss.options):
        fix = "use `loss: bce` without options: this policy turns bce into a cross-entropy over three states"
        raise ConfigError(f"{config.uncertainty} cannot be trained with {config.loss}", f"{where}.loss", fix)


def _meets(config: RunConfig, conditions: Mapping[str, Any], registry: Registry, where: str) -> bool:
    """Return whether a run meets all conditions of a `skip`, or of the key `of` of an ensemble."""
    for key, value in conditions.items():
        _nested(key, value, where)
        actual: Any = config
        # an encoder is the network of its entry, whatever the weights
        for name in ("architecture",) if key == ENCODER else str(key).split("."):
            if name not in getattr(actual, "__dataclass_fields__", {}):
                raise ConfigError(f"unknown key {key!r}", f"{where}.{key}", "docs/grids.md lists all keys")
            actual = getattr(actual, name)
        allowed_values = _values(key, value, registry, where)
        if not any(
            fnmatchcase(actual, allowed) if isinstance(allowed, str) and isinstance(actual, str) else actual == allowed
            for allowed in allowed_values
        ):
            return False
    return True
