"""The library: what the commands do, as a few typed functions.

    from bench import api

    data = api.make_phantom("cohorts", {"chexpert": 160, "nih": 40})
    grid = api.run({"train_on": "chexpert", "architecture": "seresnet_tiny", ...}, ["nih"], data=data, store="runs")
    (run_id,) = api.finished(grid)
    logits = api.load_logits(grid, run_id)      # by cohort and split, beside the labels
    api.score(logits).scores                    # every number with its interval
    api.render(grid, "leaderboard.html")
    run = api.load_run("runs", run_id)
    api.predict(run, ["chest.png"]).table       # for research, not for clinical use

docs/library.md walks through it, docs/library.ipynb does, too. Errors are those of the commands, children of `CxrError`. This module imports
pandas, torch and the rest in the functions that need them.
"""

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.analyses.heatmaps.panel import Explanation
    from bench.config.run_config import RunConfig
    from bench.planning.manifest import Manifest
    from bench.runs.new_images import Inference, StoredRun
    from bench.scoring.across_runs.paired_runs import ScoredRun
    from bench.scoring.score_run import RunScores
    from bench.scoring.scored_split import Settings
    from harmonize.cohorts.cohort import Cohort
    from harmonize.images.image_header import InMemory

Where = str | PathLike[str]


def make_phantom(
    folder: Where, images: Mapping[str, int], *, size: int = 64, shortcut: float = 0.9, seed: int = 0
) -> Path:
    """Write synthetic cohorts in the layouts of the real datasets, so many frontal images each; return the folder.

    What is there already is kept. Raises ConfigError for a hospital that cannot be drawn and for a folder that holds
    something else. `size` is the long side in pixels, `shortcut` how surely (0 to 1) the first hospital prints a tag on
    images with Pleural Effusion.

    >>> data = make_phantom(work / "made", {"nih": 12})
    >>> sorted(path.name for path in data.iterdir())
    ['nih', 'phantom.json', 'truth']
    """
    from harmonize.errors import ConfigError
    from harmonize.phantom import PhantomSettings, write_cohorts

    root = Path(folder)
    source = next(iter(images), "chexpert")
    try:
        settings = PhantomSettings(seed=seed, source=source, images=images, size=size, shortcut=shortcut)
    except ValueError as error:
        raise ConfigError(str(error), "make_phantom", "see harmonize.phantom.PhantomSettings for the ranges") from error
    root.mkdir(parents=True, exist_ok=True)
    write_cohorts(root, settings)
    return root


def load_cohort(name: str, data: Where, *, mapping: str = "default", space: str = "shared-9") -> "Cohort":
    """Return one cohort of `--data` (a folder of datasets, or data.yaml), harmonized: a row per image, a state per finding.

    A state is 1 present, 0 absent, -1 uncertain, -2 not mentioned, null unmapped. Raises DatasetError for data that are
    not what their layout promises, ConfigError for a cohort, mapping or label space that is not there.

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
        raise ConfigError(f"no mapping {mapping!r}", "load_cohort", f"choose from: {', '.join(MAPPINGS)}")
    specs = with_gold(read_data(Path(data)), [name])
    if name not in specs:
        raise ConfigError(f"no cohort {name!r} in the data", str(data), f"found: {', '.join(specs)}")
    return load(specs[name], mapping, findings.space(space))


def run(
    config: "Mapping[str, Any] | RunConfig", evaluate_on: Sequence[str], *,
    data: Where | None = None, store: Where = "runs", name: str = "library", sweep: Mapping[str, Sequence[Any]] | None = None,
    min_count: int = 10, registry: Where | None = None, weights: Where | None = None, device: str = "auto",
    workers: int = 1, quiet: bool = True,
) -> "Manifest":  # fmt: skip
    """Train one configuration, freeze it, test it at the internal and the external hospitals, and score it; return its grid.

    `config` is `base` of a grid file (docs/grids.md), `sweep` one of its sweeps: {"seed": [0, 1]} are two runs, one after
    the other in this process. What the store has already is not done again. The grid file, `grids/<name>.yaml` of the
    store, is what `bench run --grid` would be given; the next call of the same name replaces it, and the runs stay.
    Without `data`, phantom cohorts are made in the store. More than one of `workers` decodes images in processes of
    their own: a script then needs `if __name__ == "__main__":`.

    Raises ConfigError, RegistryError, DatasetError and SetupError before anything trains; StoreError when a run failed
    or another process holds it.

    >>> grid = run(config, ["nih"], data=data, store=store, name="documented", min_count=2)
    >>> grid.settings.min_count, [cohort["name"] for cohort in grid.cohorts]
    (2, ['chexpert', 'nih'])
    """
    from bench.cli.progress_bars import choose_display
    from bench.study.run_single import Wanted, run_alone

    wanted = Wanted(name, config, tuple(evaluate_on), sweep or {}, min_count)
    at = [None if each is None else Path(each) for each in (registry, data, weights)]
    with choose_display(quiet) as display:
        run_alone(wanted, Path(store), (at[0], at[1], at[2]), device, workers, display)
    return open_grid(store, name)


def open_grid(store: Where = "runs", name: str | None = None) -> "Manifest":
    """Return what was planned under a name, as the store remembers it; without a name, the store's only grid.

    Its `runs`, `derived` and `cohorts` say what it is made of. Raises StoreError when there is no such grid or store.

    >>> grid = open_grid(store, "documented")
    >>> grid.content["source"], [each["config"]["architecture"] for each in grid.runs]
    ('chexpert', ['seresnet_tiny'])
    """
    from bench.planning.manifest import read_manifest
    from bench.store.store import Store

    return read_manifest(Store.open(Path(store), create=False), name)


def finished(grid: "Manifest") -> list[str]:
    """Return the ids of the grid's finished and scored runs, in its order: trained ones, then those made of them.

    >>> run_id in finished(grid)
    True
    """
    from bench.results.read_predictions import scored_ids

    return scored_ids(grid, [*grid.runs, *grid.derived])


def load_logits(grid: "Manifest", run_id: str) -> "ScoredRun":
    """Return the logits of a finished run beside the labels: one part per scored split at the internal hospital and per external cohort.

    Shapes: part.logit [N, K] float32, part.state [N, K] int8 (label states, null as -3), part.image_id [N], findings [K].
    Raises StoreError for a run that the grid does not plan, is not finished, or whose files are damaged.

    >>> logits = load_logits(grid, run_id)
    >>> [scored.name for scored in logits.scored_splits], logits.scored_splits[-1].logit.shape
    (['chexpert/val', 'chexpert/test', 'chexpert/expert_valid', 'chexpert/expert_test', 'nih/all'], (40, 9))
    """
    from bench.results.read_predictions import parts_of, run_facts, unfinished
    from bench.scoring.across_runs.paired_runs import ScoredRun
    from harmonize.errors import StoreError

    where = str(grid.store.run_dir(run_id))
    planned = next((each for each in (*grid.runs, *grid.derived) if each["id"] == run_id), None)
    if planned is None:
        ids = ", ".join(each["id"] for each in (*grid.runs, *grid.derived))
        raise StoreError(f"no run {run_id!r} in the grid {grid.content['name']}", where, f"it has {ids}")
    if reason := unfinished(grid, planned):
        raise StoreError(f"run {run_id}: {reason}", where, "finish it with `bench run`")
    config = grid.config(planned)
    unlearnt = run_facts(grid.store, run_id)["trained"].get("unlearnt", [])
    return ScoredRun(config.findings, grid.content["source"], parts_of(grid, planned, config, {}), unlearnt)


def score(logits: "ScoredRun", settings: "Settings | None" = None, *, run_id: str = "") -> "RunScores":
    """Return every number that is made of logits and labels, with intervals over patients: a pure function of both.

    `logits` may be anybody's: a `ScoredRun` of `ScoredSplit`s that you filled. `settings` says, among others, how many patients a
    finding needs and how often they are resampled; those of a grid are `grid.settings`. Raises ValueError for parts that
    do not fit each other.

    >>> result = score(logits, grid.settings, run_id=run_id)
    >>> result.scores.query("metric == 'auroc' and finding == 'macro' and calibrator == 'none'")["dataset"].unique().tolist()
    ['chexpert', 'nih', 'external']
    """
    from bench.scoring.score_run import score_run

    return score_run(
        run_id, logits.findings, logits.internal, logits.scored_splits, settings, unlearned=logits.unlearned
    )


def render(grid: "Manifest", page: Where | None = None) -> Path:
    """Write the page of a grid from its store, scoring what is not scored; return where it is.

    Without `page` it is `report/<grid>/leaderboard.html` of the store, with its tables beside it. The page is one file.

    >>> render(grid, work / "leaderboard.html").stat().st_size > 100_000
    True
    """
    from bench.cli.progress_bars import choose_display
    from bench.study.run_grid import finish

    with choose_display(quiet=True) as display:
        return finish(grid, None if page is None else Path(page), display)


def load_run(store: Where, run_id: str, device: str = "cpu") -> "StoredRun":
    """Return the finished run whose id begins so, ready to predict; nothing but its folder is needed.

    Raises StoreError where none, several or no network is meant, and for a run that is not finished or is damaged.

    >>> stored = load_run(store, run_id[:6])
    >>> stored.run.id == run_id, stored.geometry.size
    (True, 64)
    """
    from bench.runs.new_images import load
    from bench.store.store import Store
    from bench.system.devices import check_device, choose_devices

    check_device(device)
    return load(Store.open(Path(store), create=False), run_id, choose_devices(device, 1, 1)[0])


def predict(run: "StoredRun", images: "Sequence[Where | InMemory]") -> "Inference":
    """Return what a run finds in image files, folders of them, or those that a CSV lists. Not for clinical use.

    An image need not be a file: `harmonize.images.image_header.InMemory(name, content)`.

    `table` has a row per image and finding: logit, probability, calibrated probability, a call at each stored threshold
    (1, 0, NaN without one) and what is unusual about the image. A file that cannot be used is a row of `skipped`, with its reason.

    >>> found = predict(stored, [data / "nih" / path for path in nih.table["path"][:2]])
    >>> found.num_images, len(found.skipped), found.table["finding"].nunique()
    (2, 0, 9)
    """
    from bench.runs.new_images import images_of, infer
    from harmonize.images.image_header import ImageFile, InMemory

    files: list[ImageFile] = []
    for each in images:
        files += [each] if isinstance(each, InMemory) else images_of([Path(each)])
    return infer(run, files)


def explain(
    run: "StoredRun", image: "Where | InMemory", findings: Sequence[str] = (), *, method: str = "gradcam"
) -> "Explanation":
    """Return where in an image the evidence for some findings lies, by default for all that the run learnt.

    Each of `finding_maps` has `heat` [D, D] float32, 0 or more, not scaled, in pixels of `gray` [D, D]: the image as the
    network sees it. Raises DatasetError for an unusable image file, ConfigError for a finding that the run has not learned.

    >>> explanation = explain(stored, data / "nih" / nih.table["path"][0], ["Edema"])
    >>> explanation.finding_maps[0].finding, explanation.finding_maps[0].heat.shape == explanation.gray.shape
    ('Edema', True)
    """
    from bench.analyses.explain_image import Explainer, chosen_findings
    from harmonize.images.image_header import InMemory

    file = image if isinstance(image, InMemory) else Path(image)
    return Explainer(run).explain(file, chosen_findings(run.run, findings), method, None)


def overlay(explanation: "Explanation", finding: str) -> "NDArray[np.uint8]":
    """Return the image with the heat map of one finding on it: uint8 [D, D, 3], red, green, blue.

    The map is scaled to its own maximum; larger values are more opaque. Raises ConfigError for a finding without a map.

    >>> overlay(explanation, "Edema").shape
    (384, 384, 3)
    """
    from bench.analyses.heatmaps.panel import overlaid
    from harmonize.errors import ConfigError

    for finding_map in explanation.finding_maps:
        if finding_map.finding == finding:
            return overlaid(explanation, finding_map)[..., ::-1]
    names = ", ".join(finding_map.finding for finding_map in explanation.finding_maps)
    raise ConfigError(f"the explanation has no map of {finding!r}", "overlay", f"it has maps of {names}")


__all__ = [
    "explain", "finished", "load_cohort", "load_logits", "load_run", "make_phantom", "open_grid", "overlay", "predict",
    "render", "run", "score",
]  # fmt: skip
