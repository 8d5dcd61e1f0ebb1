"""`bench verify`: whether every number of a bundle is what its logits and labels give, and these are those of the data."""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.config.registry import Registry
from bench.planning.derived_runs import logit_of_mean
from bench.planning.manifest import Manifest
from bench.planning.protocol import CohortRole
from bench.planning.restore_grid import cohorts_of
from bench.results.read_predictions import SCORING_VERSION
from bench.results.same_scores import ROUNDING, SCORED, differs, versions
from bench.results.score_runs import score_all
from bench.sharing.bundle.archive import read_json, refused, unpack
from bench.sharing.bundle.crash_test import look
from bench.sharing.bundle.pseudonyms import Ordinals, columns_of, image_names, patient_names
from bench.sharing.bundle.read_bundle import RECORDS, made_of, read_bundle
from bench.sharing.bundle.tables import facts_in, kinds_of, read_columns
from bench.store.store import Progress, read_table, table_facts
from harmonize.cohorts.cohort import Cohort
from harmonize.errors import ConfigError

COMPARABLE = (11, 12)  # scoring versions whose numbers agree within ROUNDING
_PROSE = ("reason", "advice")  # columns of sentences, which another scoring version may word differently
_BEFORE_2 = {"internal": "home", "external": "away"}  # words of bundles of schema 1


@dataclass(frozen=True, slots=True)
class Opened:
    """A bundle that was read and checked: its manifest lies in a store that is gone when the block ends."""

    path: Path
    id: str
    manifest: Manifest
    about: Mapping[str, Any]
    folder: Path  # of its members


@contextlib.contextmanager
def opened(path: Path, registry: Registry) -> Iterator[Opened]:
    """Unpack and read a bundle, without scoring it; StoreError for whatever is wrong with it."""
    if not path.is_file():
        raise ConfigError("no such bundle", str(path), "name a file that `bench export` has written")
    with tempfile.TemporaryDirectory() as temporary:
        folder, root = Path(temporary) / "members", Path(temporary) / "store"
        folder.mkdir()
        bundle_id = unpack(path, folder)
        about = read_json(folder / "bundle.json", str(path))
        if set(about) != {"schema", "order", "scoring", "versions"} or about["schema"] not in (1, 2):
            raise refused("bundle.json is of another version", str(path), "use the version that wrote it")
        if about["scoring"] not in COMPARABLE:
            versions_read = ", ".join(map(str, COMPARABLE))
            fix = "use the version that wrote it, or ask for the bundle to be exported again"
            what = f"it has scores of scoring version {about['scoring']}; this version verifies {versions_read}"
            raise refused(what, str(path), fix)
        look(folder, str(path))
        manifest = read_bundle(folder, root, str(path), registry)
        _check_members(folder, manifest, str(path))
        yield Opened(path, bundle_id, manifest, about, folder)


def _check_members(folder: Path, manifest: Manifest, where: str) -> None:
    """Raise StoreError for a member that no bundle of these runs has: what is not read here is not carried either."""
    expected = {"bundle.json", "manifest.json", "checksums.json"}
    expected |= {f"cohorts/{cohort['name']}.parquet" for cohort in manifest.cohorts}
    for run in (*manifest.runs, *manifest.derived):
        expected |= {f"runs/{run['id']}/{name}.json" for name in ("run", *RECORDS)}
        expected |= {f"runs/{run['id']}/predictions/{cohort['name']}.parquet" for cohort in manifest.cohorts}
        expected |= {f"scores/{run['id']}/{name}.parquet" for name in SCORED}
        expected |= set() if "kind" in run else {f"runs/{run['id']}/history.parquet"}
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    if odd := sorted(there ^ expected):
        raise refused(f"{odd[0]} is {'no part of a bundle' if odd[0] in there else 'absent'}", where)


def verify(bundle: Opened, threads: int, progress: Progress) -> tuple[int, bool]:
    """Score a bundle again and compare every number; return how many rows there were, and whether bits were compared.

    The logits of an ensemble or a panel, too, must be those of the runs that it is made of; of a TTA the views are not there.

    Bits are, where the packages that numbers depend on are the versions that made the bundle; else differences of ROUNDING pass.
    Raises StoreError for the first number that is another.
    """
    manifest, where = bundle.manifest, str(bundle.path)
    score_all(manifest, progress, threads)
    exact, rows = bundle.about["versions"] == versions() and bundle.about["scoring"] == SCORING_VERSION, 0
    renamed = _BEFORE_2 if bundle.about["schema"] == 1 else {}
    same_words = bundle.about["scoring"] == SCORING_VERSION
    for run in manifest.derived:
        _check_derived(manifest, run, exact, where)
    for run in (*manifest.runs, *manifest.derived):
        for name in SCORED:
            found = read_table(manifest.scores / run["id"] / f"{name}.parquet")
            path = bundle.folder / "scores" / run["id"] / f"{name}.parquet"
            if facts_in(path, where) != {"made_of": made_of(manifest, run["id"])}:
                raise refused(f"{name} of run {run['id']} were computed from other logits or labels", where)
            claimed = _claimed(path, kinds_of(found), renamed, where)
            columns = [name for name in found.columns if same_words or name not in _PROSE]
            if why := differs(claimed, found, columns, 0 if exact else ROUNDING):
                raise refused(f"{name} of run {run['id']}: {why}", where)
            rows += len(found)
    return rows, exact


def _claimed(path: Path, kinds: Mapping[str, str], renamed: Mapping[str, str], where: str) -> pd.DataFrame:
    """Return a table of a bundle in today's words; `renamed`: today's word -> the word that the bundle has."""
    before = {}
    for name, kind in kinds.items():
        for word, old in renamed.items():
            name = name.replace(word, old)
        before[name] = kind
    claimed = read_columns(path, before, where)
    claimed.columns = pd.Index(kinds)
    if "dataset" in claimed:
        claimed["dataset"] = claimed["dataset"].replace({old: word for word, old in renamed.items()})
    return claimed


def _check_derived(manifest: Manifest, run: Mapping[str, Any], exact: bool, where: str) -> None:
    """Raise StoreError when an ensemble or a panel does not say what its runs say."""
    store = manifest.store
    learns = {each["id"]: manifest.config(each).finding for each in manifest.runs}
    for cohort in manifest.cohorts if run["kind"] in ("ensemble", "panel") else ():
        ids = [run["id"], *run["sources"]]
        paths = [store.run_dir(i) / "predictions" / f"{cohort['name']}.parquet" for i in ids]
        own, *others = (read_table(path).set_index("image_id") for path in paths)
        others = [frame.reindex(own.index) for frame in others]
        if run["kind"] == "ensemble":
            mean_NK = logit_of_mean(np.stack([frame[list(own.columns)].to_numpy(np.float32) for frame in others]))
        else:
            by = {learns[i]: frame for i, frame in zip(run["sources"], others, strict=True)}
            mean_NK = np.stack([by[f][f].to_numpy() if f in by else np.zeros(len(own)) for f in own.columns], 1).astype(
                np.float32
            )
        said_NK = own.to_numpy(np.float32)
        same = np.array_equal(said_NK, mean_NK) if exact else np.allclose(said_NK, mean_NK, rtol=0, atol=ROUNDING)
        if not same:
            raise refused(f"{run['kind']} {run['id']} does not say what its runs say on {cohort['name']}", where)


def check_data(bundle: Opened, data: Path, key: Path) -> list[str]:
    """Hold a bundle against the owner's data through the key of its ordinals; return one line per cohort.

    Split, view, sex, age, device and every label state of every image must be those of the data, and no image that would be scored may
    be left out but for as many as could not be read. Raises StoreError, naming ordinals and never ids.
    """
    where, manifest = str(bundle.path), bundle.manifest
    if not key.is_file() or table_facts(key).get("bundle") != bundle.id:
        fix = "name it with --key: `bench export` wrote it beside the bundle"
        raise ConfigError("no key of this bundle", str(key), fix)
    keys = read_table(key)
    said = []
    for cohort, theirs in zip(manifest.cohorts, cohorts_of(manifest, data), strict=True):
        own = keys[keys["cohort"] == cohort["name"]]
        _check_cohort(manifest, cohort, theirs, own, where)
        same = (
            "the same table"
            if theirs.id == cohort["origin"]
            else "another version of the table, equal where it is scored"
        )
        said.append(f"{cohort['name']}: {len(own):,} images as in the data ({same})")
    return said


def _check_cohort(manifest: Manifest, cohort: Mapping[str, Any], theirs: Cohort, key: pd.DataFrame, where: str) -> None:
    config, name = manifest.shared, cohort["name"]
    table = theirs.table
    role = CohortRole.of(cohort)
    split = role.split_of(table, config)
    scored = role.scored_rows(split)
    ids = table["image_id"].astype(str)
    said = split if role.role == "internal" or role.headline_split != "all" else pd.Series("", index=split.index)
    wanted = dict(zip(ids[scored], said[scored], strict=True))
    listed = set(key["image_id"])
    if not key["image_id"].is_unique or not listed <= set(wanted):
        raise refused(
            f"the key names {len(listed - set(wanted))} images of {name} that are not scored in the data", where
        )
    if len(wanted) - len(listed) > int(cohort["unreadable"]):
        what = f"{len(wanted) - len(listed)} images of {name} are left out, and only {cohort['unreadable']} could not be read"
        raise refused(what, where)
    patients = dict(zip(key["image_id"], key["patient_id"], strict=True))
    of_data = dict(zip(ids, table["patient_id"].astype(str), strict=True))
    if any(of_data[image] != patient for image, patient in patients.items()):
        raise refused(f"images of {name} are of other patients than in the data", where)
    ordinals = Ordinals(
        cohort["tag"],
        dict(zip(key["image_id"], key["image"], strict=True)),
        dict(zip(key["patient_id"], key["patient"], strict=True)),
    )
    stored = manifest.table(cohort)
    findings = list(
        dict.fromkeys(f for run in manifest.runs or manifest.imported for f in manifest.config(run).findings)
    )
    chosen = {image: part for image, part in wanted.items() if image in listed}
    frame = columns_of(table, chosen, ordinals, str(cohort["layout"]), config.mapping, findings)
    image, patient = (frame.pop(c).to_numpy(np.int32) for c in ("image", "patient"))
    frame.insert(0, "patient_id", patient_names(cohort["tag"], patient))
    frame.insert(0, "image_id", image_names(cohort["tag"], image))
    if why := differs(stored, frame, list(stored.columns), 0):
        raise refused(f"{name} is not as in the data: {why}", where)
