"""Compare two runs of the store; each run is given by the start of its id."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from bench.config.run_names import RunName
from bench.config.settings import Settings
from bench.planning.manifest import Manifest, read_manifest
from bench.planning.planned_grid import PlannedRun
from bench.results.read_predictions import CohortLabels, unfinished
from bench.results.run_table import run_title
from bench.results.scored_run import load_scored_run
from bench.scoring.across_runs.paired_runs import GAP, ScoredRun, differences, shared_findings
from bench.scoring.gaps.gap import EXTERNAL, MACRO
from bench.scoring.metrics_of_split import AUROC, BUILT_IN, Key, MetricNeeds
from bench.store.checked_folders import ReportFolder
from bench.store.store import Store
from harmonize.errors import ConfigError, StoreError
from reports import extensions, hooks
from reports.report_data.headline_rows import Estimate
from reports.schemas.tables import SCHEMAS
from reports.sentences.verdicts import HIGHER, LOWER, verdict

EXTERNAL_MEAN = "external mean"  # the name that readers see for the mean over external hospitals
ORDINALS = ("first", "second")  # how messages name the two runs


@dataclass(frozen=True, slots=True)
class GridRun:
    """A run and the manifest of a grid that planned it."""

    manifest: Manifest
    run: PlannedRun

    @property
    def name(self) -> str:
        """Return id and title, such as "1a2b3c4d5e6f DenseNet-121 seed 0"."""
        return f"{self.run.id} {run_title(self.manifest, self.run)}"


@dataclass(frozen=True, slots=True)
class Contrast:
    """Two runs and the table of their differences (columns: bench.scoring.across_runs.paired_runs.COLUMNS).

    first, second: id and name of each run. synthetic: whether a program drew the images. hospitals: dataset in the
    table, or hospital of a pool -> title of the hospital. notes: sentences about differences between the two grids that
    limit the comparison, and a sentence with the verdicts of the leaderboard.
    """

    first: str
    second: str
    key: Key
    settings: Settings
    table: pd.DataFrame
    synthetic: bool
    hospitals: Mapping[str, str]
    notes: tuple[str, ...] = ()

    def hospital(self, dataset: str, split: str) -> str:
        """Return the title of the hospital of a split; the split "test:mimic" has the images of one hospital of a pool."""
        return self.hospitals[split.partition(":")[2] or dataset]


def contrast(
    store: Store,
    first: str,
    second: str,
    metric: str,
    operating_point: str | None = None,
    calibrator: str = "none",
    datasets: Sequence[str] = (),
    grid: str | None = None,
) -> Contrast:
    """Compare two finished runs on the cohorts that both runs predicted, or on the cohorts in `datasets`.

    `first` and `second`: the start of each run's id. `grid`: the only grid in which the runs are searched; with None,
    all grids are searched. If a grid has both runs, this grid is used for both. Otherwise, the two grids may differ in
    any setting: the runs are compared on the findings, cohorts and images that both runs have. Labels and custom metrics
    are those of the first run's grid. If the grids differ in min_count (minimum number of patients per class), the
    larger number applies. `operating_point` (threshold rule) is ignored for a metric that needs no
    threshold; None stands for the rule of the first run's grid.

    Raises StoreError for an id prefix that matches no run or several runs, and for an unfinished run. Raises
    ConfigError for a metric that the grid does not score, for a calibrator that the metric does not use, and for a
    cohort that a run did not predict. Also raises ConfigError if both prefixes match the same run, and if the runs have
    no finding, cohort or image in common.
    """
    names = [grid] if grid else sorted(path.stem for path in (store.root / "grids").glob("*.json"))
    manifests = [read_manifest(store, name) for name in names]
    # without --grid, leave out rescored grids, because a rescored grid has the same runs as its original grid
    manifests = [m for m in manifests if grid or not m.scored_from]
    matching = [
        [GridRun(m, run) for m in manifests for run in m.run_of.values() if run.id.startswith(prefix)]
        for prefix in (first, second)
    ]
    for prefix, matches in zip((first, second), matching, strict=True):
        _check_unique(store, manifests, prefix, matches)
    pairs = [(a, b) for a in matching[0] for b in matching[1] if a.manifest is b.manifest]
    planned = pairs[0] if pairs else (matching[0][0], matching[1][0])
    ids = [entry.run.id for entry in planned]
    key = metric_key(metric, operating_point, calibrator, planned[0].manifest.settings)
    if ids[0] == ids[1]:
        fix = "give two different runs: `bench list runs` shows them"
        raise ConfigError(f"both ids belong to run {ids[0]}", "bench compare", fix)
    for entry in planned:
        if reason := unfinished(entry.manifest, entry.run):
            fix = "finish it with `bench run`"
            raise StoreError(f"run {entry.name}: {reason}", str(store.run_dir(entry.run.id)), fix)
    cohorts = [
        [c.name for c in (entry.manifest.cohorts[0], *entry.manifest.external_to(entry.run))] for entry in planned
    ]
    shared = [name for name in cohorts[0] if name in cohorts[1]]
    if not shared:
        predicted = [f"the {word} predicted {', '.join(names)}" for word, names in zip(ORDINALS, cohorts, strict=True)]
        fix = f"add {cohorts[0][0]} to `evaluate_on` of the second grid and run it again: nothing is trained again"
        raise ConfigError(f"the runs have no cohort in common: {' and '.join(predicted)}", "bench compare", fix)
    if unknown := [name for name in datasets if name not in shared]:
        fix = f"choose from: {', '.join(shared)}"
        raise ConfigError(f"no cohort {unknown[0]!r} that both runs predicted", "--cohort", fix)
    labels: dict[int, dict[tuple[str, str, str], CohortLabels]] = {id(m): {} for m in manifests}
    scored = [load_scored_run(entry.manifest, entry.run, labels[id(entry.manifest)]) for entry in planned]
    _check_comparable(planned, scored, key)
    grid_settings = [entry.manifest.settings for entry in planned]
    settings = replace(grid_settings[0], min_count=max(s.min_count for s in grid_settings))
    table = differences(scored[0], scored[1], key, settings, datasets)
    without_images = [name for name in datasets or shared if name not in set(table["dataset"])]
    if table.empty:
        _refuse_empty(planned, key, without_images)
    manifest = planned[0].manifest
    hospitals = {**manifest.titles_of(*(entry.run for entry in planned)), EXTERNAL: EXTERNAL_MEAN}
    notes = _notes(planned, () if key == GAP else without_images)
    if manifest is planned[1].manifest:
        notes += _verdict_note(verdicts_on_page(manifest, (ids[0], ids[1]), key, table), hospitals)
    for module in extensions.modules(hooks.Notes):
        notes += module.of_comparison(planned, key, table)
    first_name, second_name = _names(planned)
    synthetic = manifest.phantom
    return Contrast(first_name, second_name, key, settings, table, synthetic, hospitals, notes)


def _names(planned: Sequence[GridRun]) -> list[str]:
    """Return id and name of each run; the name of a trained run gives the settings in which the two trained runs differ.

    If one of the runs is a derived run or an imported model, the names are from `GridRun.name`.
    """
    if any(entry.run.kind for entry in planned):
        return [entry.name for entry in planned]
    configs = [entry.run.flat_config for entry in planned]
    names = RunName.among(configs, [entry.run.titles for entry in planned])
    return [f"{entry.run.id} {name}" for entry, name in zip(planned, names, strict=True)]


def _check_comparable(planned: Sequence[GridRun], scored: Sequence[ScoredRun], key: Key) -> None:
    """Raise ConfigError for runs without a common finding or with scores of other units, and for gaps of other internal hospitals."""
    units = [entry.manifest.settings.unit for entry in planned]
    if units[0] != units[1]:
        what = f"the first run is scored by {units[0]}, the second by {units[1]}"
        raise ConfigError(what, "bench compare", "run both grids with the same `unit`: nothing is trained again")
    if not shared_findings(scored[0], scored[1]):
        learned = [
            f"the {word} learned {', '.join(f for f in run.findings if f not in run.unlearned) or 'none'}"
            for word, run in zip(ORDINALS, scored, strict=True)
        ]
        fix = "compare runs that learned the same finding; of networks for one finding each, compare their panels"
        raise ConfigError(f"the runs have no finding in common: {' and '.join(learned)}", "bench compare", fix)
    if key == GAP and scored[0].internal != scored[1].internal:
        hospitals = " and ".join(f"that of the {w} is {run.internal}" for w, run in zip(ORDINALS, scored, strict=True))
        fix = "use --metric auroc: it compares the runs at each hospital"
        raise ConfigError(f"the gaps have different internal hospitals: {hospitals}", "--metric", fix)


def _refuse_empty(planned: Sequence[GridRun], key: Key, cohorts: Sequence[str]) -> None:
    """Raise ConfigError with the reason why no cohort could be compared. `cohorts`: the cohorts without a common image."""
    synthetic = [entry.manifest.phantom for entry in planned]
    if synthetic[0] != synthetic[1]:
        what = f"the {ORDINALS[synthetic.index(True)]} run is of synthetic images, the other run of real images"
        raise ConfigError(what, "bench compare", "compare two runs of real images, or two runs of synthetic images")
    if key == GAP:
        raise ConfigError(
            "the runs have no gap in common: a gap needs images of an internal test split and of an external hospital",
            "--metric",
            "add an external cohort of the first grid to `evaluate_on` of the second, or use --metric auroc",
        )
    raise ConfigError(
        f"the runs have no scored image in common in {', '.join(cohorts)}",
        "bench compare",
        "their filters (`cohort`), exclude lists or splits select different images: name other cohorts with --cohort, "
        "or run both grids with the same `cohort`, `split` and data file",
    )


def _notes(planned: Sequence[GridRun], without_images: Sequence[str]) -> tuple[str, ...]:
    """Return one sentence for each difference between the runs' hospitals or grids that limits the comparison.

    `without_images`: the cohorts in which the runs have no scored image in common.
    """
    notes = []
    if without_images:
        names = ", ".join(planned[0].manifest.titles[name] for name in without_images)
        notes.append(f"Not compared: {names}. The runs have no scored image there in common.")
    trained_at = [entry.manifest.internal_name(entry.run).title for entry in planned]
    if trained_at[0] != trained_at[1]:
        hospitals = f"{trained_at[0]} (first) and {trained_at[1]} (second)"
        compared = "" if without_images else " Images of these hospitals are those of the test splits."
        notes.append(f"The runs were trained at {hospitals}.{compared}")
    first, second = (entry.manifest for entry in planned)
    if first is second:
        return tuple(notes)
    if any(
        a.id != b.id for a in first.cohorts for b in second.cohorts if a.name == b.name and a.name not in without_images
    ):
        note = "The cohorts of the two grids differ: only common images are scored, with the labels of the first."
        notes.append(note)
    return tuple(notes)


def _verdict_note(words: Mapping[str, str], hospitals: Mapping[str, str]) -> tuple[str, ...]:
    """Return one sentence with the leaderboard's verdicts on the two runs, or () if the leaderboard has no verdict on them."""
    listed = "; ".join(f"{hospitals[dataset]} {word}" for dataset, word in words.items())
    return (f"Verdict of the leaderboard on first - second: {listed}.",) if words else ()


def verdicts_on_page(manifest: Manifest, ids: tuple[str, str], key: Key, table: pd.DataFrame) -> dict[str, str]:
    """Return the leaderboard's verdicts on the macro differences first - second in `table`: cohort -> word, such as HIGHER.

    The leaderboard compares recipes (means over seeds), and its intervals are adjusted for all pairs of recipes. A
    cohort is left out if the difference in the stored report is not the difference in `table`. This happens if the
    report is older, or if a recipe has several seeds. Raises StoreError if the table of the report is damaged or changed,
    or has no checksum.
    """
    folder = ReportFolder.of(manifest.store.root, manifest.name)
    if key not in (AUROC, GAP) or not (folder.path / "pairs.parquet").is_file():
        return {}
    stored = folder.table("pairs.parquet")
    metric = "gap" if key == GAP else "auroc"
    if not set(SCHEMAS["pairs"]) <= set(stored.columns):
        return {}
    stored = stored[(stored["metric"] == metric) & stored["first"].isin(ids) & stored["second"].isin(ids)]
    macros = table[(table["finding"] == MACRO) & ~table["split"].str.contains("^expert|:")]
    differences = macros.set_index("dataset")["difference"]
    words = {}
    for row in stored[stored["first"] != stored["second"]].to_dict("records"):
        sign = 1.0 if row["first"] == ids[0] else -1.0
        low, high = sorted((sign * row["low"], sign * row["high"]))
        difference = Estimate(sign * row["value"], low, high)
        difference = difference.simultaneous(*sorted((sign * row["all_low"], sign * row["all_high"])))
        if row["dataset"] in differences and abs(differences[row["dataset"]] - difference.value) < 1e-9:
            words[str(row["dataset"])] = verdict(difference, HIGHER, LOWER)
    return words


def metric_key(metric: str, operating_point: str | None, calibrator: str, settings: Settings) -> Key:
    """Return the key of a metric: its name, calibrator and operating point.

    `metric` names a built-in metric, a custom metric of the grid, or the gap. Raises ConfigError for an unknown metric,
    and for a calibrator that the metric does not use.
    """
    needs = {**BUILT_IN, **{entry.name: MetricNeeds() for entry in settings.custom_metrics}, GAP.metric: MetricNeeds()}
    if metric not in needs:
        fix = f"choose from: {', '.join(needs)}; `bench score --registry FILE` adds the metrics of a registry"
        raise ConfigError(f"no metric {metric!r} in this grid", "--metric", fix)
    if calibrator != "none" and not needs[metric].calibrator:
        raise ConfigError(f"{metric} does not depend on a calibrator", "--calibrator", "remove the option")
    rule = operating_point or settings.threshold
    return Key(metric, calibrator, rule if needs[metric].operating_point else "")


def _check_unique(store: Store, manifests: Sequence[Manifest], prefix: str, matches: Sequence[GridRun]) -> None:
    """Raise StoreError unless the prefix matches exactly one run."""
    ids = sorted({match.run.id for match in matches})
    if len(ids) == 1:
        return
    all_runs = {run.id: GridRun(m, run) for m in manifests for run in m.run_of.values()}
    if ids:
        what, near = f"{len(ids)} runs begin with {prefix!r}", ids
    else:
        what = f"no run {prefix!r} in a grid of the store"
        near = StoreError.nearest(prefix, all_runs, 3, 0.0)
    names = "; ".join(all_runs[run_id].name for run_id in near[:5])
    fix = f"{'choose from' if ids else '`bench list runs` shows all; nearest'}: {names or 'there is no run yet'}"
    raise StoreError(what, str(store.root / "grids"), fix)
