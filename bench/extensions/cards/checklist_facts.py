"""What a store knows about a study: one function for each fact that a reporting checklist asks for.

Each function returns a `Fact` (a short text and the places of the stored values), or None if the store does not know it.
No function states what is not stored: who paid for the study, or when the images were taken, is written by people.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from bench.planning.manifest import Manifest
from bench.results.grid_recipes import with_chosen_runs
from bench.results.read_predictions import LABEL_SOURCES
from bench.store.checked_folders import WEIGHTS, CheckedFolder, ReportFolder
from harmonize.errors import StoreError
from reports import formatting
from reports.schemas.tables import SCHEMAS
from reports.sentences.data import READING_RULES

# keys of the report's metadata that the facts need
_META = ("findings", "mapping", "reading", "split", "shared_patients", "num_resamples", "min_count", "threshold")
_MOST = 6  # number of values that a text names; the place has all of them


@dataclass(frozen=True, slots=True)
class StoredPlace:
    """Where a value is stored: a file of the store, and a key of its JSON object or a column of its table."""

    file: str  # path inside the store
    key: str


@dataclass(frozen=True, slots=True)
class Fact:
    """A short text for people, and the places of the stored values that it says."""

    text: str
    places: tuple[StoredPlace, ...]


@dataclass(frozen=True)  # without slots, because `meta` is cached
class Stored:
    """A grid in a store with its report. `folder`: the tables of the report."""

    manifest: Manifest
    folder: ReportFolder

    @classmethod
    def of(cls, manifest: Manifest) -> "Stored":
        """Find the report of a grid. Raises StoreError if the report was not written."""
        name = manifest.name
        folder = ReportFolder.of(manifest.store.root, name)
        if not (folder.path / "meta.json").is_file():
            raise StoreError("the grid has no report", str(folder.path), f"write it with `bench report --grid {name}`")
        return cls(with_chosen_runs(manifest), folder)

    def of_hospitals(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of a table that has one row per cohort, so that no hospital is in two rows.

        The row of a pool is left out if each of its hospitals has a row of its own; otherwise the rows of its hospitals are.
        """
        hospitals = {hospital.name for hospital in self.manifest.pooled}
        if not hospitals:
            return table
        repeated = [self.manifest.source] if hospitals <= set(table["dataset"]) else hospitals
        return table[~table["dataset"].isin(repeated)]

    @property
    def place(self) -> str:
        """Return the path of the report's tables inside the store."""
        return self.folder.path.relative_to(self.manifest.store.root).as_posix()

    @cached_property
    def meta(self) -> Mapping[str, Any]:
        """Return the metadata of the report. Raises StoreError if the file is damaged, changed or without the keys _META."""
        meta = self.folder.json("meta.json")
        if missing := sorted(set(_META) - set(meta)):
            path, name = self.folder.path / "meta.json", self.manifest.name
            fix = f"write it again with `bench report --grid {name}`"
            raise StoreError(f"the metadata of the report have no {missing[0]!r}", str(path), fix)
        return meta

    def table(self, name: str, columns: Sequence[str], **only: Any) -> pd.DataFrame:
        """Return columns of a table of the report, with those rows whose other columns have the given values.

        A table of an extension that is not there is empty. Raises StoreError if the table is missing, damaged or changed.
        """
        if name not in SCHEMAS:
            return pd.DataFrame(columns=list(columns))
        table = self.folder.table(f"{name}.parquet", [*columns, *only])
        for key, value in only.items():
            table = table[table[key] == value]
        return table[list(columns)]

    def in_grid(self, *keys: str) -> tuple[StoredPlace, ...]:
        """Return places in the manifest of the grid."""
        return tuple(StoredPlace(f"grids/{self.manifest.name}.json", key) for key in keys)

    def in_table(self, name: str, *columns: str) -> tuple[StoredPlace, ...]:
        """Return places in a table of the report."""
        return tuple(StoredPlace(f"{self.place}/{name}.parquet", column) for column in columns)

    def in_meta(self, *keys: str) -> tuple[StoredPlace, ...]:
        """Return places in the metadata of the report."""
        return tuple(StoredPlace(f"{self.place}/meta.json", key) for key in keys)

    def settings(self, *keys: str) -> dict[str, list[Any]]:
        """Return {key: its different values} in the configurations of the trained runs; keys with dots."""
        configs = [run.flat_config for run in self.manifest.runs]
        return {key: _different(config[key] for config in configs if key in config) for key in keys}

    def titles(self, key: str) -> list[str]:
        """Return the different titles of a registry entry in the trained runs, such as those of the key "optimizer".

        In a grid without trained runs, these are the titles of the imported models.
        """
        runs = self.manifest.runs or self.manifest.imported
        return _different(str(run.titles[key]) for run in runs if key in run.titles)


def data_sources(stored: Stored) -> Fact | None:
    """Name the hospitals, with their role, their place and the source that describes them."""
    manifest, texts = stored.manifest, []
    trained, left_out = manifest.pooled or manifest.cohorts[:1], manifest.left_out
    for hospital in manifest.hospitals:
        use = "training and internal test" if hospital in trained else "external test"
        if hospital in trained and hospital in left_out:
            use += ", and external test of the runs that leave it out"
        facts = hospital.facts
        known = [str(facts[key]) for key in ("place", "source") if facts.get(key)]
        known = ["synthetic"] if manifest.phantom else known  # a phantom has only the layout of the source
        texts.append(f"{manifest.hospital(hospital).title}: {', '.join([use, *known])}")
    return Fact("; ".join(texts), stored.in_grid("cohorts"))


def licences(stored: Stored) -> Fact | None:
    """Name the licences of the images."""
    manifest = stored.manifest
    texts = [f"{manifest.hospital(h).title}: {manifest.licence(h) or 'not stated'}" for h in manifest.hospitals]
    known = any(manifest.licence(hospital) for hospital in manifest.hospitals)
    return Fact("; ".join(texts), stored.in_table("cohorts", "licence")) if known else None


def eligibility(stored: Stored) -> Fact | None:
    """Count the images that are left out at each hospital, by reason."""
    manifest, texts = stored.manifest, []
    for hospital in manifest.hospitals:
        flow = hospital.flow
        left_out = {key: number for key, number in flow.items() if key not in {"found", "kept"} and number}
        counts = ", ".join(f"{number:,} {key.replace('_', ' ')}" for key, number in left_out.items())
        texts.append(f"{manifest.hospital(hospital).short}: {counts or 'none'}")
    return Fact(f"Images left out. {'; '.join(texts)}", stored.in_grid("cohorts"))


def chosen_images(stored: Stored) -> Fact | None:
    """State the views, the ages and the number of images that the runs use."""
    if not stored.manifest.runs:
        return None
    keys = ("cohort.views", "cohort.per_study", "cohort.min_age", "cohort.max_age", "cohort.limit")
    views, per_study, youngest, oldest, limit = (stored.settings(key)[key] for key in keys)
    ages = [f"from age {age:g}" for age in youngest if age] + [f"to age {age:g}" for age in oldest if age]
    most = [f"At most {number:,} training patients" for number in limit if number]
    text = f"Views: {_named(views)}. Images of one study: {_named(per_study)}. Ages: {_named(ages or ['all'])}"
    return Fact(". ".join([text, *most]), stored.in_grid("runs"))


def preprocessing(stored: Stored) -> Fact | None:
    """Name preprocessing and augmentation, which are the same for all images of a run."""
    steps, augmentation = stored.titles("preprocessing"), stored.titles("augmentation")
    if not steps:
        return None
    text = (
        f"Each run has the same steps for all images: {_named(steps)}. Augmentation in training: {_named(augmentation)}"
    )
    return Fact(text, stored.in_grid("runs"))


def labels(stored: Stored) -> Fact | None:
    """Name the findings, and where the labels of each hospital come from."""
    rows = stored.of_hospitals(stored.table("cohorts", ["dataset", "title", "label_source"]))
    sources = "; ".join(
        f"{title}: {LABEL_SOURCES.get(source, source)}" for _, title, source in rows.itertuples(index=False)
    )
    by_experts = [name for name in stored.table("splits", ["split"])["split"] if name.startswith("expert_")]
    if by_experts and not stored.manifest.phantom:
        sources += f"; internal splits {_named(by_experts)}: {LABEL_SOURCES['radiologist']}"
    findings_ = ", ".join(map(str, stored.meta["findings"]))
    text = f"Findings: {findings_}. Source of the labels: {sources}. Mapping to the findings: {stored.meta['mapping']}"
    return Fact(text, (*stored.in_table("cohorts", "label_source"), *stored.in_meta("findings", "mapping")))


def missing_labels(stored: Stored) -> Fact | None:
    """State how uncertain and missing labels are treated, and how many images are unreadable."""
    policies, blank = stored.titles("uncertainty"), stored.settings("blank")["blank"]
    if not policies:
        return None
    unreadable = int(stored.table("cohorts", ["unreadable"])["unreadable"].sum())
    treated = {"zero": "counts as absent", "ignore": "has no label"}
    in_training = " or ".join(treated.get(str(value), str(value)) for value in blank)
    text = (
        f"Uncertain labels in training: {_named(policies)}. In training, a finding that is not mentioned {in_training}."
        f" In tests, {READING_RULES[stored.meta['reading']]}, and images without a label of the finding in the dataset are"
        f" left out. Unreadable images left out: {unreadable:,}"
    )
    return Fact(text, (*stored.in_grid("runs"), *stored.in_meta("reading"), *stored.in_table("cohorts", "unreadable")))


def partitions(stored: Stored) -> Fact | None:
    """State the shares of the internal splits. External hospitals are for tests only."""
    shares = stored.meta["split"]
    if not shares:
        return None
    text = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
    text = f"Patients of the internal hospital: {text}. External hospitals: test only; no network, calibrator or threshold of a ranking is fitted to them"
    return Fact(text, (*stored.in_meta("split"), *stored.in_table("splits", "split", "images", "patients")))


def disjoint(stored: Stored) -> Fact | None:
    """State the level at which splits and hospitals are disjoint, and what was compared."""
    compared = stored.meta.get("compared") or {}
    shared, titles = stored.meta["shared_patients"], stored.manifest.titles
    same_ids = [titles.get(str(name), str(name)) for name in compared.get("patients", ())]
    text = f"Splits are made by patient; patients in more than one split of the internal hospital: {shared:,}."
    text += f" Patient ids that were compared with the internal hospital: {_named(same_ids)}."
    text += " Internal and external images were compared" if compared.get("images") else " Images were not compared"
    return Fact(text, stored.in_meta("shared_patients", *["compared"] * ("compared" in stored.meta)))


def sizes(stored: Stored) -> Fact | None:
    """Count the images and patients of each split."""
    rows = stored.table("splits", ["dataset", "split", "images", "patients"])
    titles = stored.manifest.titles
    texts = [
        f"{titles.get(str(dataset), dataset)} {split}: {images:,} images of {patients:,} patients"
        for dataset, split, images, patients in rows.itertuples(index=False)
    ]
    return Fact("; ".join(texts), stored.in_table("splits", "images", "patients")) if texts else None


def flow(stored: Stored) -> Fact | None:
    """Count the images found and used, and the patients, at each hospital, and the tested ones if an external hospital has others."""
    columns = ["dataset", "role", "headline_split", "title", "found", "used", "patients"]
    rows = stored.of_hospitals(stored.table("cohorts", columns))
    splits = stored.table("splits", ["dataset", "split", "images", "patients"])
    tested = {(dataset, split): counts for dataset, split, *counts in splits.itertuples(index=False)}
    texts = []
    for dataset, role, split, title, found, used, patients in rows.itertuples(index=False):
        texts.append(f"{title}: {used:,} of {found:,} images used, {patients:,} patients")
        images, of_patients = tested.get((dataset, split), (used, patients))
        if role == "external" and split != "all":
            texts[-1] += f" (tested: {images:,} images of {of_patients:,} patients)"
    places = (
        *stored.in_table("cohorts", "found", "used", "patients"),
        *stored.in_table("splits", "images", "patients"),
    )
    return Fact("; ".join(texts), places) if texts else None


def characteristics(stored: Stored) -> Fact | None:
    """State sex, age and views at each hospital, and which of them are not stated."""
    columns = ["dataset", "title", "used", "unreadable", "female", "male", "age_median", "ap", "pa"]
    rows = stored.of_hospitals(stored.table("cohorts", columns))
    texts, known_at_all = [], False
    for _, title, used, unreadable, female, male, age, ap, pa in rows.itertuples(index=False):
        unknown = used + unreadable - female - male  # sex is also known of images that cannot be read
        sex = f"{female:,} images of women, {male:,} of men" + f", {unknown:,} without sex" * bool(unknown)
        known = {"sex": bool(female + male), "age": bool(pd.notna(age)), "view": bool(ap + pa)}
        known_at_all |= any(known.values())
        words = {"sex": sex, "age": f"median age {age:.0f}", "view": f"{ap:,} AP, {pa:,} PA"}
        texts.append(f"{title}: {', '.join(words[key] if known[key] else f'{key} not stated' for key in words)}")
    places = stored.in_table("cohorts", "used", "unreadable", "female", "male", "age_median", "ap", "pa")
    return Fact("; ".join(texts), places) if known_at_all else None


def findings(stored: Stored) -> Fact | None:
    """Count the images by label of each finding: in each split of the internal hospital, and at the external hospitals."""
    labels_ = ["present", "absent", "not_mentioned", "uncertain"]
    rows = stored.table("prevalence", ["dataset", "split", "finding", *labels_])
    internal = rows["dataset"] == stored.manifest.source
    part = rows["split"].where(internal, "external")
    totals = rows.groupby(["finding", part], sort=False)[labels_].sum()
    texts: dict[str, list[str]] = {}
    for (finding, split), *counts in totals.itertuples():
        texts.setdefault(finding, []).append(f"{split} {'/'.join(f'{count:,}' for count in counts)}")
    text = "; ".join(f"{finding}: {', '.join(counts)}" for finding, counts in texts.items())
    head = f"Images present/absent/not mentioned/uncertain. In tests, {READING_RULES[stored.meta['reading']]}"
    places = (*stored.in_table("prevalence", "split", *labels_), *stored.in_meta("reading"))
    return Fact(f"{head}. {text}", places) if texts else None


def models(stored: Stored) -> Fact | None:
    """Name the architectures, and the range of their sizes."""
    architectures = stored.titles("architecture")
    costs = stored.table("costs", ["params", "macs"]).dropna()
    if not architectures or costs.empty:
        return None
    text = (
        f"{_named(architectures)}; {_range(costs['params'] / 1e6, '.2f')} million parameters,"
        f" {_range(costs['macs'] / 1e9, '.3f')} GMACs for one image"
    )
    return Fact(text, (*stored.in_grid("runs"), *stored.in_table("costs", "params", "macs")))


def initialization(stored: Stored) -> Fact | None:
    """Name the starting weights and the seeds."""
    weights, seeds = stored.titles("weights"), stored.settings("seed")["seed"]
    return (
        Fact(f"Starting weights: {_named(weights)}. Seeds: {_named(seeds)}", stored.in_grid("runs")) if seeds else None
    )


def training(stored: Stored) -> Fact | None:
    """Name optimizers, losses and schedules."""
    names = {"epochs": "epochs", "batch_size": "batch size", "lr": "learning rate", "kind": "schedule"}
    values = {text: stored.settings(f"schedule.{key}")[f"schedule.{key}"] for key, text in names.items()}
    if not stored.manifest.runs:
        return None
    values = {"optimizer": stored.titles("optimizer"), "loss": stored.titles("loss"), **values}
    text = "; ".join(f"{name}: {_named(different)}" for name, different in values.items() if different)
    return Fact(text, stored.in_grid("runs"))


def imbalance(stored: Stored) -> Fact | None:
    """Name losses and sampling, which may act against class imbalance."""
    losses, sampling = stored.titles("loss"), stored.settings("schedule.sampling")["schedule.sampling"]
    if not losses:
        return None
    text = f"loss: {_named(losses)}; sampling of training images: {_named(sampling)}; calibrators: see `scores`"
    return Fact(text, (*stored.in_grid("runs"), *stored.in_table("scores", "calibrator")))


def model_selection(stored: Stored) -> Fact | None:
    """State the rule that chooses the epoch."""
    rules = stored.settings("selection", "schedule.select_on")
    if not rules["selection"]:
        return None
    splits = " or ".join(map(str, rules["schedule.select_on"]))
    words = {"best_val": f"the epoch with the highest AUROC on the split {splits}", "last": "the last epoch"}
    chosen = " or ".join(words.get(str(rule), str(rule)) for rule in rules["selection"])
    text = f"The weights are those of {chosen}. No external image is used"
    return Fact(text, stored.in_grid("runs"))


def ensembles(stored: Stored) -> Fact | None:
    """Count the ensembles, TTAs and panels of the grid."""
    kinds = [run.kind for run in stored.manifest.derived]
    counts = ", ".join(f"{kinds.count(kind)} of the kind {kind}" for kind in _different(kinds))
    return Fact(counts or "The grid has no ensemble, TTA or panel", stored.in_grid("derived"))


def software(stored: Stored) -> Fact | None:
    """Name the different versions of the libraries, and the commits of the program, with which the runs were made."""
    rows = stored.table("runs", ["versions", "commit"])
    versions, commits = (_different(text for text in rows[name].dropna() if text) for name in ("versions", "commit"))
    text = f"{_named(versions, '; ')}. Commit of the program: {_named(commits) if commits else 'unknown'}"
    return (
        Fact(text, (*stored.in_table("runs", "versions", "commit"), *stored.in_meta("software"))) if versions else None
    )


def command(stored: Stored) -> Fact | None:
    """State the shell command that trains the runs again; a store made from bundles has no such command."""
    if stored.manifest.of_bundles or not stored.manifest.runs:
        return None
    text = f"`{stored.manifest.command}` repeats the trained runs; the manifest has all settings"
    return Fact(text, stored.in_grid("command", "runs"))


def metrics(stored: Stored) -> Fact | None:
    """Name the metrics in the tables."""
    names = _different(stored.table("scores", ["metric"])["metric"])
    return Fact(", ".join(names), stored.in_table("scores", "metric", "value")) if names else None


def intervals(stored: Stored) -> Fact | None:
    """State the kind of the intervals, and the smallest number of patients."""
    meta = stored.meta
    text = (
        f"95 % intervals from {meta['num_resamples']:,} resamples of patients; no score with fewer than"
        f" {meta['min_count']} patients with or without a finding"
    )
    return Fact(text, (*stored.in_table("scores", "low", "high"), *stored.in_meta("num_resamples", "min_count")))


def comparisons(stored: Stored) -> Fact | None:
    """Count the paired differences between recipes."""
    pairs = stored.table("pairs", ["first", "second"])
    if pairs.empty:
        return None
    num = len(pairs.drop_duplicates())
    text = f"Differences of {num:,} pair{'s' * (num > 1)} of recipes on the same patients, with Holm's correction"
    return Fact(text, stored.in_table("pairs", "value", "low", "high", "all_low", "all_high"))


def thresholds(stored: Stored) -> Fact | None:
    """State the output of the networks, and the rules of the thresholds: of calls, of stated goals, and of a triage."""
    rules = _different(stored.table("operating_points", ["rule"])["rule"])
    if not rules:
        return None
    text = (
        f"A probability for each finding. Thresholds are chosen on internal validation images; rules: {', '.join(rules)};"
        f" the report uses {stored.meta['threshold']}"
    )
    places = (*stored.in_table("operating_points", "rule", "threshold"), *stored.in_meta("threshold"))
    goals, rates = stored.table("workload", ["goal", "level"]), stored.table("triage", ["level"])["level"]
    if len(goals):
        levels = goals.groupby("goal")["level"].unique()
        text += f"; goals: {'; '.join(f'{goal} {_levels(values)}' for goal, values in levels.items())}"
        places += stored.in_table("workload", "goal", "level", "threshold")
    if len(rates):
        text += f". Triage: stated rates {_levels(rates.unique())}"
        places += stored.in_table("triage", "level", "release_threshold", "flag_threshold")
    return Fact(text, places)


def recalibration(stored: Stored) -> Fact | None:
    """Name the calibrators with scores; none is fitted to an external hospital."""
    names = [name for name in _different(stored.table("scores", ["calibrator"])["calibrator"]) if name != "none"]
    if not names:
        return None
    text = f"{', '.join(names)}, fitted on internal validation images; no ranked model is updated with external images"
    places = stored.in_table("scores", "calibrator", "value")
    numbers = sorted(stored.table("triage_repair", ["n"])["n"].unique())
    if numbers:
        patients = " or ".join(f"{n:,}" for n in numbers)
        text += f". In an experiment, {patients} labeled patients of an external hospital set its triage thresholds"
        places += stored.in_table("triage_repair", "n", "miss_rate", "false_positive_rate")
    return Fact(text, places)


def net_benefit(stored: Stored) -> Fact | None:
    """State whether there is a net benefit at one threshold of each finding."""
    rows = stored.table("net_benefit", ["value"]).dropna()
    text = "Net benefit at one threshold of each finding, and decision curves"
    places = (*stored.in_table("net_benefit", "value"), *stored.in_table("decision_curves", "value"))
    return Fact(text, places) if len(rows) else None


def prediction(stored: Stored) -> Fact | None:
    """State the command that predicts an image with stored weights; the store has a hash of the weights.

    A store made from bundles without weights cannot predict.
    """
    for run in stored.manifest.runs:
        seal = f"{run.id[:2]}/{run.id}/seal.json"
        folder = stored.manifest.store.run_dir(run.id)
        if (folder / WEIGHTS).is_file() and "weights_after" in CheckedFolder(folder).facts().get("seal", {}):
            text = f"`bench predict RUN IMAGE` predicts with stored weights, for example of the run {run.id}, whose SHA-256 is recorded"
            return Fact(text, (StoredPlace(seal, "weights_after"),))
    return None


def internal_results(stored: Stored) -> Fact | None:
    """State the macro AUROC of the recipes on internal test patients."""
    return _aurocs(stored, stored.manifest.source, "internal test patients", "test")


def external_results(stored: Stored) -> Fact | None:
    """State the macro AUROC of the recipes, the mean over external hospitals."""
    return _aurocs(stored, "external", "external hospitals, mean")


def heterogeneity(stored: Stored) -> Fact | None:
    """State the gap between the internal and each external hospital, for the best recipe."""
    ranked = _ranked(stored)
    if not ranked:
        return None
    best = ranked[0]
    rows = stored.table("gaps", ["dataset", "value", "low", "high"], run_id=best, finding="macro").dropna()
    names, titles = _names(stored), stored.manifest.titles
    texts = [
        f"{titles[dataset]} {_interval(*numbers)}"
        for dataset, *numbers in rows.drop_duplicates("dataset").itertuples(index=False)
        if dataset in titles
    ]
    text = (
        f"Gap (internal minus external macro AUROC, with 95 % interval) of {names.get(best, best)}: {'; '.join(texts)}"
    )
    return Fact(text, stored.in_table("gaps", "value", "low", "high")) if texts else None


def next_hospital(stored: Stored) -> Fact | None:
    """State the prediction interval of the best recipe at a new hospital, and the standard deviation between hospitals."""
    numbers = ("value", "new_low", "new_high", "sd", "sd_low", "sd_high")
    rows = stored.table(
        "next_hospital", ["run_id", "num_hospitals", *numbers], metric="auroc", finding="macro", reason=""
    )
    ranked, names = _ranked(stored), _names(stored)
    rows = rows[rows["run_id"].isin(ranked[:1])]
    if not len(rows):
        return None
    run_id, num, *found = next(rows.itertuples(index=False))
    text = (
        f"Random-effects meta-analysis over {num} external hospitals, macro AUROC of {names.get(run_id, run_id)}: at a new hospital "
        f"{_interval(*found[:3])} (95 % prediction interval); standard deviation between hospitals, on the logit scale, {_interval(*found[3:])}"
    )
    return Fact(text, stored.in_table("next_hospital", *numbers))


def groups(stored: Stored) -> Fact | None:
    """Name the groups of patients that have scores."""
    names = [name for name in _different(stored.table("subgroups", ["subgroup"])["subgroup"]) if "=" in name]
    return (
        Fact(f"Scores of groups: {_named(names)}", stored.in_table("subgroups", "subgroup", "value")) if names else None
    )


def diagnostic_performance(stored: Stored) -> Fact | None:
    """Name sensitivity, specificity and predictive values, as far as there are any."""
    wanted = ("sensitivity", "specificity", "precision", "npv")
    present = set(stored.table("scores", ["metric"])["metric"])
    names = [name for name in wanted if name in present]
    if not names:
        return None
    text = (
        f"{', '.join(names)} of each finding and hospital, with intervals, at the thresholds of the internal hospital"
    )
    return Fact(text, stored.in_table("scores", "metric", "operating_point", "value", "low", "high"))


def robustness(stored: Stored) -> Fact | None:
    """Name the finished analyses of shortcuts, other than heat maps."""
    finished = [str(row["name"]) for row in stored.meta.get("analyses", ()) if row["state"] == "done"]
    names = [name for name in _different(finished) if name != "attention"]
    return Fact(f"Finished analyses: {', '.join(names)}", stored.in_meta("analyses")) if names else None


def heat_maps(stored: Stored) -> Fact | None:
    """State whether there are heat maps."""
    rows = stored.table("attention", ["metric"])
    if rows.empty:
        return None
    text = "Heat maps, and how much of them lies on the finding and on markers"
    return Fact(text, stored.in_table("attention", "region", "metric", "value", "low", "high"))


def failures(stored: Stored) -> Fact | None:
    """Name the kinds of errors in the gallery."""
    kinds = _different(stored.table("gallery", ["kind"])["kind"])
    if not kinds:
        return None
    text = f"Gallery with: {', '.join(kinds)}. `bench errors RUN` lists the most confident errors of a run"
    return Fact(text, stored.in_table("gallery", "kind", "probability"))


FACTS: Mapping[str, Callable[[Stored], Fact | None]] = {
    function.__name__: function
    for function in (
        *(data_sources, licences, eligibility, chosen_images, preprocessing, labels, missing_labels, partitions),
        *(disjoint, sizes, flow, characteristics, findings, models, initialization, training, imbalance),
        *(model_selection, ensembles, software, command, metrics, intervals, comparisons, thresholds, recalibration),
        *(net_benefit, prediction, internal_results, external_results, heterogeneity, next_hospital, groups),
        *(diagnostic_performance, robustness, heat_maps, failures),
    )
}


def _aurocs(stored: Stored, dataset: str, where: str, split: str = "") -> Fact | None:
    """Return the macro AUROC of the ranked recipes at a hospital, the first recipes of the ranking first."""
    only = {"split": split} if split else {}
    rows = stored.table(
        "scores",
        ["run_id", "value", "low", "high", "calibrator"],
        dataset=dataset,
        finding="macro",
        metric="auroc",
        **only,
    )
    plain = rows[rows["calibrator"] == "none"].dropna().drop_duplicates("run_id")
    numbers = {run_id: own for run_id, *own in plain[["run_id", "value", "low", "high"]].itertuples(index=False)}
    names = _names(stored)
    texts = [f"{names.get(id_, id_)} {_interval(*numbers[id_])}" for id_ in _ranked(stored) if id_ in numbers]
    text = f"Macro AUROC, {where}: {_named(texts, '; ')}"
    return Fact(text, stored.in_table("scores", "value", "low", "high")) if texts else None


def _ranked(stored: Stored) -> list[str]:
    """Return the ids of the ranked recipes, the highest external macro AUROC first."""
    ranks = stored.table("ranks", ["run_id"], metric="auroc", dataset="external", finding="macro")
    return _different(ranks["run_id"])


def _names(stored: Stored) -> dict[str, str]:
    """Return {id of a run or recipe: its name with the number of seeds, or of runs that leave out different hospitals}."""
    runs = stored.table("runs", ["run_id", "name"])
    name_of = dict(zip(runs["run_id"].astype(str), runs["name"].astype(str), strict=True))
    runs_of: dict[str, list[str]] = {}
    for recipe, run_id in stored.table("recipes", ["recipe_id", "run_id"]).itertuples(index=False):
        runs_of.setdefault(str(recipe), []).append(str(run_id))
    unit = "runs" if stored.manifest.leaves_one_out else "seeds"
    of_recipes = {recipe: f"{name_of[ids[0]]} ({len(ids)} {unit})" for recipe, ids in runs_of.items() if len(ids) > 1}
    return name_of | of_recipes


def _different(values: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(values))


def _named(values: Sequence[Any], separator: str = ", ") -> str:
    """Join values to a text; of more than a few values, state the number of the others."""
    texts = [str(value) for value in values]
    others = [f"and {len(texts) - _MOST} more"] * (len(texts) > _MOST)
    return separator.join([*texts[:_MOST], *others]) or "none"


def _levels(values: Iterable[float]) -> str:
    return ", ".join(formatting.places(value, 2) for value in sorted(values))


def _interval(value: float, low: float, high: float) -> str:
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _range(values: "pd.Series[float]", form: str) -> str:
    low, high = format(values.min(), form), format(values.max(), form)
    return low if low == high else f"{low} to {high}"
