"""`bench verify`: check that a bundle's scores follow from its logits and labels, and compare its labels with the data."""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.config.registry import Registry
from bench.extensions.bundles.archive import README, README_FILE, check_is_file, read_json, reading, refused, unpack
from bench.extensions.bundles.read_bundle import BUNDLE_SCHEMA, made_of, read_bundle
from bench.extensions.bundles.records import RECORDS, About, fits
from bench.extensions.bundles.tables import facts_in, kinds_of, read_columns
from bench.extensions.bundles.titles import stated_facts
from bench.extensions.bundles.unlearned import check_unlearned
from bench.planning.derived_runs import logit_of_mean
from bench.planning.manifest import Manifest
from bench.planning.planned_grid import PlannedRun
from bench.results.read_predictions import SCORING_VERSION
from bench.results.same_scores import ROUNDING, SCORED, differs, versions
from bench.results.score_runs import score_all
from bench.store.checked_folders import CheckedFolder, ScoresFolder
from harmonize.progress import Progress


@dataclass(frozen=True, slots=True)
class OpenBundle:
    """A bundle that was read and checked. Its manifest belongs to a temporary store, which the function `opened` deletes."""

    path: Path
    id: str
    manifest: Manifest
    about: Mapping[str, Any]  # content of bundle.json
    folder: Path  # folder of the unpacked members
    stated: tuple[str, ...] = ()  # facts that the submitter states and this installation cannot check


@contextlib.contextmanager
def opened(path: Path, registry: Registry, older: bool = False) -> Iterator[OpenBundle]:
    """Unpack, check and read a bundle without scoring it; delete the unpacked files at the end of the block.

    `older`: also open bundles of older scoring versions. `verify` computes their scores again, but cannot compare them.
    Titles are from `registry`, for entries that it has. Raises ConfigError if the file is missing, and StoreError for
    anything that is wrong with the bundle.
    """
    check_is_file(path)
    with reading(path), tempfile.TemporaryDirectory() as temporary:
        folder, root = Path(temporary) / "members", Path(temporary) / "store"
        folder.mkdir()
        bundle_id = unpack(path, folder)
        about = read_json(folder / "bundle.json")
        if not fits(about, About) or about["schema"] != BUNDLE_SCHEMA:
            raise refused("bundle.json has another version", "use the version that wrote the bundle")
        scoring = about["scoring"]
        if scoring != SCORING_VERSION and not (older and scoring < SCORING_VERSION):
            fix = "use the version that wrote the bundle, or ask its maker to export it again"
            raise refused(f"its scores have scoring version {scoring}; this version verifies {SCORING_VERSION}", fix)
        manifest = read_bundle(folder, root, registry)
        _check_members(folder, manifest, about)
        yield OpenBundle(path, bundle_id, manifest, about, folder, stated_facts(manifest, registry))


def _check_members(folder: Path, manifest: Manifest, about: Mapping[str, Any]) -> None:
    """Raise StoreError for missing members, and for members that a bundle of these runs does not have.

    Unexpected members are refused, because nothing else would check them before the bundle is passed on.
    """
    expected = {"bundle.json", "manifest.json", "checksums.json"}
    expected |= {f"cohorts/{cohort.name}.parquet" for cohort in manifest.cohorts}
    for run in manifest.run_of.values():
        expected |= {f"runs/{run.id}/{name}.json" for name in ("run", *RECORDS)}
        expected |= {f"runs/{run.id}/predictions/{cohort.name}.parquet" for cohort in manifest.cohorts}
        expected |= {f"scores/{run.id}/{name}.parquet" for name in SCORED}
        expected |= set() if run.kind else {f"runs/{run.id}/history.parquet"}
    members = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    different = sorted((members - {README_FILE}) ^ expected)
    if about["scoring"] != SCORING_VERSION:  # an older version had fewer tables of scores; all are computed again
        different = [name for name in different if name in members or not name.startswith("scores/")]
    if different:
        raise refused(f"{different[0]} is {'unexpected' if different[0] in members else 'missing'}")
    if README_FILE in members and (folder / README_FILE).read_bytes() != README.encode():
        raise refused(f"{README_FILE} is not the text that `bench export` writes")


def verify(bundle: OpenBundle, progress: Progress) -> tuple[int, bool]:
    """Score a bundle again and compare every number. Return the number of rows, and whether they were compared exactly.

    The numbers of an older scoring version are not compared (0 rows); all other checks are the same. The comparison is exact if
    the package versions are those of the bundle. Otherwise differences up to ROUNDING are accepted. The logits of ensembles and
    panels are also computed again from their source runs; the logits of a TTA are not, because a bundle has no logits of single
    views. Findings that a run could not learn have no scores, so `check_unlearned` checks them. Raises StoreError for the first
    difference.
    """
    manifest = bundle.manifest
    check_unlearned(manifest)
    exact, rows = bundle.about["versions"] == versions(), 0
    for run in manifest.derived:
        _check_derived(manifest, run, exact)
    score_all(manifest, progress)
    comparable = bundle.about["scoring"] == SCORING_VERSION
    for run in (*manifest.runs, *manifest.derived) if comparable else ():
        for name in SCORED:
            computed = ScoresFolder(manifest.scores / run.id).table(name)
            path = bundle.folder / "scores" / run.id / f"{name}.parquet"
            if facts_in(path) != {"made_of": made_of(manifest, run.id)}:
                raise refused(f"{name} of run {run.id} were computed from other logits or labels")
            stated = read_columns(path, kinds_of(computed), rows=len(computed))
            if why := differs(stated, computed, list(computed.columns), 0 if exact else ROUNDING):
                raise refused(f"{name} of run {run.id}: {why}")
            rows += len(computed)
    return rows, exact


def _check_derived(manifest: Manifest, run: PlannedRun, exact: bool) -> None:
    """Raise StoreError if the logits of an ensemble or a panel do not follow from the logits of its source runs.

    `exact`: whether the logits must be equal, or only agree within ROUNDING.
    """
    store = manifest.store
    finding_of = {run.id: run.config.finding for run in manifest.runs}
    for cohort in manifest.cohorts if run.kind in ("ensemble", "panel") else ():
        chosen = CheckedFolder(store.run_dir(run.id)).facts()["trained"].get("chosen", {})
        sources = list(chosen.values()) or run.sources
        ids = [run.id, *sources]
        name = f"predictions/{cohort.name}.parquet"
        combined, *others = (CheckedFolder(store.run_dir(i)).table(name).set_index("image_id") for i in ids)
        others = [frame.reindex(combined.index) for frame in others]
        if run.kind == "ensemble":
            mean_NK = logit_of_mean(np.stack([frame[list(combined.columns)].to_numpy(np.float32) for frame in others]))
        else:
            frames = {finding_of[i]: frame for i, frame in zip(sources, others, strict=True)}
            columns = [frames[f][f].to_numpy() if f in frames else np.zeros(len(combined)) for f in combined.columns]
            mean_NK = np.stack(columns, 1).astype(np.float32)
        own_NK = combined.to_numpy(np.float32)
        same = np.array_equal(own_NK, mean_NK) if exact else np.allclose(own_NK, mean_NK, rtol=0, atol=ROUNDING)
        if not same:
            raise refused(f"{run.kind} {run.id} differs from its source runs on {cohort.name}")
