"""The Python library: the commands as a few typed functions.

    from bench import api

    data = api.make_phantom("cohorts", {"chexpert": 160, "nih": 40})
    config = {"train_on": "chexpert", "architecture": "seresnet_tiny", ...}
    api.plan(config, ["nih"], data=data, store="runs")  # what `run` would train
    grid = api.run(config, ["nih"], data=data, store="runs")
    grid.ranking()                              # recipes with intervals; a notebook shows `grid` as this table
    (run_id,) = api.finished(grid)
    logits = api.load_logits(grid, run_id)      # by cohort and split, with the labels
    api.score(logits).scores                    # all scores with their intervals
    api.render(grid, "leaderboard.html")
    run = api.load_run("runs", run_id)
    api.predict(run, ["chest.png"]).table       # for research, not for clinical use

docs/library.md and docs/library.ipynb are tutorials. The functions raise the same errors as the commands: subclasses of
`CxrError`. Each function imports pandas, torch and other heavy libraries itself, so that the import of this module is
fast.
"""

import multiprocessing
from collections.abc import Mapping, Sequence
from os import fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.config.arguments import AnyPath, in_library_words, path_of, path_or_none, plain, several
from reports import extensions, hooks

if TYPE_CHECKING:
    from bench.config.run_config import RunConfig
    from bench.config.settings import Settings
    from bench.extensions.estimates.library import estimate as estimate
    from bench.extensions.heat_maps.library import explain as explain
    from bench.extensions.heat_maps.library import overlay as overlay
    from bench.extensions.label_needs.library import labels_needed as labels_needed
    from bench.extensions.next_hospital.library import next_hospital as next_hospital
    from bench.planning.manifest import Manifest
    from bench.results.grid_result import GridResult
    from bench.runs.new_images import Inference
    from bench.runs.stored_run import StoredRun
    from bench.scoring.across_runs.paired_runs import ScoredRun
    from bench.scoring.score_run import RunScores
    from bench.study.run_single import SinglePlan
    from harmonize.cohorts.cohort import Cohort
    from harmonize.images.image_header import InMemory
else:

    def __getattr__(name: str) -> Any:
        """Return the function `name` of an extension's module `library`."""
        # the import system asks for `__path__`, also while it imports a library
        for library in () if name.startswith("_") else extensions.modules(hooks.Library):
            if name in library.__all__:
                return in_library_words(getattr(library, name))
        raise AttributeError(f"bench.api has no function {name!r}")


def _refuse_second_run_of_the_script(where: str) -> None:
    """Raise SetupError if a new worker process is importing the calling script, and so runs its calls a second time."""
    from harmonize.errors import SetupError

    if getattr(multiprocessing.current_process(), "_inheriting", False):
        what = "a worker process ran the calling script a second time"
        raise SetupError(what, where, 'put the call below `if __name__ == "__main__":`')


@in_library_words
def make_phantom(
    folder: AnyPath, images: Mapping[str, int], *, size: int = 64, shortcut: float = 0.9, seed: int = 0
) -> Path:
    """Write synthetic cohorts in the layouts of the real datasets; return the folder.

    `images`: hospital -> number of frontal images. `size`: long side of an image in pixels. The first hospital prints a
    tag (a marker) on some images. `shortcut` (0 to 1) is the probability of the tag on an image with Pleural Effusion,
    minus the probability of the tag on an image without Pleural Effusion. If the folder already has cohorts with the
    same settings, these cohorts are kept. Raises ConfigError for an unknown hospital, for a setting outside its range,
    and for a folder with other content.


    >>> data = make_phantom(work / "made", {"nih": 12})
    >>> sorted(path.name for path in data.iterdir())
    ['nih', 'phantom.json', 'truth']
    """
    from harmonize.phantom import PhantomSettings, write_cohorts
    from harmonize.phantom.sites import SITES

    root, counts = path_of(folder), plain(dict(images))
    source = next((site for site in counts if site in SITES), "chexpert")
    raw = {"source": source, "images": counts, "size": plain(size), "shortcut": plain(shortcut), "seed": plain(seed)}
    settings = PhantomSettings.from_dict(raw, "make_phantom")
    root.mkdir(parents=True, exist_ok=True)
    write_cohorts(root, settings)
    return root


@in_library_words
def load_cohort(name: str, data: AnyPath, *, mapping: str = "default", space: str = "shared-9") -> "Cohort":
    """Load and harmonize one cohort; its `table` has one row per image and one column of label states per finding.

    `data`: a folder of datasets or a data.yaml, as for the option `--data`. Label states: 1 present, 0 absent,
    -1 uncertain, -2 not mentioned, null if the dataset cannot express the finding. Raises DatasetError if files do not
    have the layout of their dataset. Raises ConfigError for an unknown cohort, mapping or label space.


    >>> nih = load_cohort("nih", data)
    >>> len(nih.table), nih.flow["found"], nih.phantom
    (40, 40, True)
    >>> nih.table[["image_id", "patient_id", "Edema"]].head(2)
                   image_id patient_id  Edema
    0  00090001_000.png      90001      0
    1  00090002_000.png      90002      0
    """
    from harmonize.cohorts.cohort import load
    from harmonize.cohorts.label_mapping import MAPPINGS
    from harmonize.cohorts.specs import read_data, with_gold
    from harmonize.errors import ConfigError
    from harmonize.labels import findings

    if mapping not in MAPPINGS:
        raise ConfigError(f"unknown mapping {mapping!r}", "load_cohort", f"choose from: {', '.join(MAPPINGS)}")
    specs = with_gold(read_data(path_of(data)), [name])
    if name not in specs:
        raise ConfigError(f"the data have no cohort {name!r}", str(data), f"choose from: {', '.join(specs)}")
    return load(specs[name], mapping, findings.space(space))


@in_library_words
def run(
    config: "Mapping[str, Any] | RunConfig",
    evaluate_on: Sequence[str],
    *,
    data: AnyPath | None = None,
    store: AnyPath = "runs",
    name: str = "library",
    sweep: Mapping[str, Sequence[Any]] | None = None,
    min_count: int = 10,
    registry: AnyPath | None = None,
    weights: AnyPath | None = None,
    device: str = "auto",
    workers: int = 1,
    quiet: bool = True,
) -> "GridResult":
    """Train, test and score the runs of one configuration; return their grid.

    Each run is tested at the internal and the external hospitals. Runs are trained one after the other in this process.
    Runs that the store already has are not trained again.

    config: settings of the run, as under `base` in a grid file (docs/grids.md). sweep: setting -> list of values, as in
    one sweep of a grid file; {"seed": [0, 1]} gives two runs. evaluate_on: names of the external cohorts. min_count: a
    finding is scored if at least this many patients have the finding, and at least this many do not. data: a folder of
    datasets, or data.yaml; with None, synthetic (phantom) cohorts are made in the store. name: the grid is stored as
    `grids/<name>.yaml`; the next call with this name replaces the file and keeps the runs. registry: a registry file;
    with None, the registry of this package. weights: folder of pretrained weights. device: auto, cpu, cuda or cuda:N.
    workers: number of processes, at least 1, that decode images and score; with more than 1, the calling script needs
    `if __name__ == "__main__":`. While a run is trained, what any thread of this process prints goes to the log of the run.

    Raises ConfigError, RegistryError, DatasetError and SetupError before training starts. Raises StoreError if a run
    failed, or if another process works on a run.


    >>> grid = run(config, ["nih"], data=data, store=store, name="documented", min_count=2)
    >>> grid.settings.min_count, [cohort.name for cohort in grid.cohorts]
    (2, ['chexpert', 'nih'])
    """
    from bench.cli.progress_bars import choose_display
    from bench.study.run_single import run_alone
    from bench.system.devices import check_device

    _refuse_second_run_of_the_script("run")
    check_device(str(device))
    planned = plan(
        config, evaluate_on, data=data, store=store, name=name, sweep=sweep, min_count=min_count, registry=registry,
        weights=weights, workers=workers, quiet=quiet,
    )  # fmt: skip
    with choose_display(quiet) as display:
        run_alone(planned, str(device), plain(workers), display)
    return open_grid(store, name)


@in_library_words
def plan(
    config: "Mapping[str, Any] | RunConfig",
    evaluate_on: Sequence[str],
    *,
    data: AnyPath | None = None,
    store: AnyPath = "runs",
    name: str = "library",
    sweep: Mapping[str, Sequence[Any]] | None = None,
    min_count: int = 10,
    registry: AnyPath | None = None,
    weights: AnyPath | None = None,
    workers: int = 1,
    quiet: bool = True,
) -> "SinglePlan":
    """Return the plan of `run` with the same arguments but `device`: read and check everything, but train nothing.

    A notebook shows the plan as a table of its runs. Its attribute `runs` has their ids and configurations.

    >>> [planned.id for planned in plan(config, ["nih"], data=data, store=store).runs] == [run_id]
    True
    """
    from bench.cli.progress_bars import choose_display
    from bench.study.run_single import SingleRequest, plan_alone

    external = plain(several(evaluate_on, "evaluate_on"))
    swept = {key: plain(several(values, str(key))) for key, values in dict(() if sweep is None else sweep).items()}
    wanted = SingleRequest(name, plain(config), tuple(external), swept, plain(min_count), synthetic=data is None)
    places = path_or_none(registry), path_or_none(data), path_or_none(weights)
    with choose_display(quiet) as display:
        return plan_alone(wanted, path_of(store), places, plain(workers), display.progress)


@in_library_words
def open_grid(store: AnyPath = "runs", name: str | None = None) -> "GridResult":
    """Open a grid of the store; without a name, open the only grid.

    The attributes `runs`, `derived` and `cohorts` of the grid list its contents; `ranking()` returns a table of its recipes.
    Raises StoreError if the store or the grid does not exist. Also raises StoreError without a name if the store has several grids.

    >>> grid = open_grid(store, "documented")
    >>> grid.source, [run.config.architecture for run in grid.runs]
    ('chexpert', ['seresnet_tiny'])
    >>> grid.ranking()[["recipe", "group"]]
              recipe  group
    0  SE-ResNet-10 (tiny)      1
    """
    from bench.planning.manifest import read_manifest
    from bench.results.grid_result import GridResult
    from bench.store.store import Store

    # absolute, because the grid is also used after a change of the working directory
    opened = Store.open(path_of(store).absolute(), create=False)
    return GridResult.from_manifest(read_manifest(opened, None if name is None else str(name)))


@in_library_words
def finished(grid: "Manifest") -> list[str]:
    """Return the ids of the finished and scored runs of a grid: trained runs first, then derived runs.

    If several grids of a store have a run, its scores and thresholds are from the grid that was scored last.

    >>> run_id in finished(grid)
    True
    """
    from bench.results.read_predictions import scored_ids

    return scored_ids(grid, [*grid.runs, *grid.derived])


@in_library_words
def load_logits(grid: "Manifest", run_id: str) -> "ScoredRun":
    """Load the logits and labels of a finished run; the attribute `scored_splits` has one entry per scored split.

    The internal hospital has several scored splits. Each external cohort has one: `all`, or the dataset's own test
    split. A split of N images and K findings has the arrays `logit` [N, K] float32, `state` [N, K] int8 (label states;
    -3 for null) and `image_id` [N]. Raises StoreError if the grid does not contain the run, the run is not finished, or
    its files are damaged.


    >>> logits = load_logits(grid, run_id)
    >>> [scored.name for scored in logits.scored_splits], logits.scored_splits[-1].logit.shape
    (['chexpert/val', 'chexpert/test', 'chexpert/expert_valid', 'chexpert/expert_test', 'nih/all'], (40, 9))
    """
    from bench.results.read_predictions import unfinished
    from bench.results.scored_run import load_scored_run
    from harmonize.errors import StoreError

    where = str(grid.store.run_dir(run_id))
    planned = grid.run_of.get(run_id)
    if planned is None:
        raise StoreError(f"no run {run_id!r} in the grid {grid.name}", where, f"choose from: {', '.join(grid.run_of)}")
    if reason := unfinished(grid, planned):
        raise StoreError(f"run {run_id}: {reason}", where, "finish it with `bench run`")
    return load_scored_run(grid, planned)


@in_library_words
def score(logits: "ScoredRun", settings: "Settings | None" = None, *, run_id: str = "") -> "RunScores":
    """Compute all scores of logits and labels, with intervals over patients; read and write no files.

    Logits that were computed elsewhere also work: put the logits into a `ScoredRun` of `ScoredSplit`s. `settings` has
    the choices that affect scores, such as the fewest patients of a scored finding; `grid.settings` are the settings of a
    grid. Raises ValueError for invalid splits, such as arrays of different lengths, or two splits with the same name.


    >>> result = score(logits, grid.settings, run_id=run_id)
    >>> result.scores.query("metric == 'auroc' and finding == 'macro' and calibrator == 'none'")["dataset"].unique().tolist()
    ['chexpert', 'nih', 'external']
    """
    from bench.scoring.score_run import score_run

    return score_run(
        run_id, logits.findings, logits.internal, logits.scored_splits, settings, unlearned=logits.unlearned
    )


@in_library_words
def render(grid: "Manifest", page: AnyPath | None = None) -> Path:
    """Write the leaderboard page of a grid, which is one file; return its path.

    Runs without scores are scored first. The default path is `report/<grid>/leaderboard.html` in the store. Only with
    this default path, the tables of the page are written next to the page, into the folder `tables`.


    >>> render(grid, work / "leaderboard.html").stat().st_size > 100_000
    True
    """
    from bench.cli.progress_bars import choose_display
    from bench.results.write_report import score_and_report
    from harmonize.errors import ConfigError

    output = path_or_none(page)
    if output is not None and output.is_dir():
        raise ConfigError("the page is a folder", str(output), "name a file, such as leaderboard.html")
    with choose_display(quiet=True) as display:
        return score_and_report(grid, output, display.progress, processes=1).page


@in_library_words
def load_run(store: AnyPath, run_id: AnyPath, device: str = "cpu") -> "StoredRun":
    """Load a finished run, ready to predict.

    `run_id`: the start of the run's id, or a folder or hub repository that `bench upload` wrote. The store is not read
    if `run_id` names a folder or a repository. The thresholds of a run in a store are from the grid that was scored last.
    Raises StoreError if no run or several runs match, and for a run that was trained elsewhere, is not finished, or is
    damaged. Raises SetupError if a repository cannot be downloaded.


    >>> stored = load_run(store, run_id[:6])
    >>> stored.run.id == run_id, stored.geometry.size
    (True, 64)
    """
    from bench.runs.model_folder import load_model
    from bench.system.devices import check_device, first_device

    check_device(str(device))
    reference = fspath(run_id)
    if reference.startswith("~"):
        reference = str(path_of(reference))
    return load_model(reference, path_of(store).absolute(), first_device(str(device)))


@in_library_words
def predict(run: "StoredRun", images: "Sequence[AnyPath | InMemory]") -> "Inference":
    """Predict the findings of images (not for clinical use).

    `images`: image files, folders with image files, CSV files that list image files, or images in memory
    (`harmonize.images.image_header.InMemory(name, content)`). Each image is predicted once. Raises ConfigError for different
    images of one name.

    The `table` of the result has a row per image and finding: logit, probability, calibrated probability, warnings about
    the image, and the call at each stored threshold (1 positive, 0 negative, NaN without a threshold). `distance` is how
    far the image is from internal images, as a percentile of internal validation images (NaN if the run has no distances).
    `skipped` lists each unusable file with the reason.

    >>> inference = predict(stored, [data / "nih" / path for path in nih.table["path"][:2]])
    >>> inference.num_images, len(inference.skipped), inference.table["finding"].nunique()
    (2, 0, 9)
    """
    from bench.runs.image_paths import images_of
    from bench.runs.new_images import infer
    from harmonize.errors import ConfigError
    from harmonize.images.image_header import ImageFile, InMemory

    files: list[ImageFile] = []
    for image in several(images, "images"):
        files += [image] if isinstance(image, InMemory) else images_of([path_of(image)])
    named: dict[str, ImageFile] = {}  # the names in the table of the result
    for file in dict.fromkeys(files):
        name = file.name if isinstance(file, InMemory) else str(file)
        if name in named:
            raise ConfigError(f"two images have the name {name!r}", "predict", "give each InMemory its own name")
        named[name] = file
    return infer(run, list(named.values()))


__all__ = [
    "finished",
    "load_cohort",
    "load_logits",
    "load_run",
    "make_phantom",
    "open_grid",
    "plan",
    "predict",
    "render",
    "run",
    "score",
]
