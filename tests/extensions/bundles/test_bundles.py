"""Bundles: their content, detection of forgeries, merging, and no ids or paths in them."""

import json
import re
import shutil
import stat
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from disturbed import with_cohorts

from bench.config.registry import Registry
from bench.extensions.bundles import export as exporting
from bench.extensions.bundles import hub_results, merge
from bench.extensions.bundles.archive import CHECKSUMS, pack, unpack
from bench.extensions.bundles.pseudonyms import kinds, table_id
from bench.extensions.bundles.read_bundle import read_bundle
from bench.extensions.bundles.records import fits
from bench.extensions.bundles.tables import read_columns
from bench.extensions.bundles.titles import STATED
from bench.extensions.bundles.verify import OpenBundle, opened, verify
from bench.planning.manifest import Manifest, read_manifest
from bench.results.read_predictions import SCORING_VERSION
from bench.results.same_scores import ROUNDING, SCORED, differs
from bench.results.score_runs import score_all
from bench.store.checked_files import read_cohort, read_grid, write_cohort, write_grid
from bench.store.checked_folders import CheckedFolder, ScoresFolder
from bench.store.store import Store, canonical_json, short_hash
from harmonize.errors import CxrError, StoreError
from reports.schemas.select import select
from tests.tiny_grids import tiny_with

pytestmark = pytest.mark.grid
Command = Callable[..., "subprocess.CompletedProcess[str]"]
Forge = Callable[[Path], None]


def quiet(what: str, done: int, total: int) -> None:
    assert done <= total, what


def write(store: Path, path: Path, *runs: str) -> Path:
    manifest = read_manifest(Store.open(store), None)
    ids = list(runs) or [run.id for run in manifest.runs]
    exporting.export(manifest, ids, path, Registry.read(), quiet)
    return path


@pytest.fixture(scope="module")
def bundles(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Bundles of the grid `tiny` with three of its external hospitals, because each test scores a bundle.

    One has the first run, the other has both runs.
    """
    folder, store = tmp_path_factory.mktemp("bundles"), tmp_path_factory.mktemp("owner") / "runs"
    manifest = read_manifest(Store.open(with_cohorts(finished / "runs", store, ["mimic", "nih", "vindr"])), None)
    score_all(manifest, quiet)
    one, two = (run.id for run in manifest.runs)
    made = {"one": [one], "both": [one, two]}
    return {n: write(store, folder / f"{n}.zip", *runs) for n, runs in made.items()} | {"store": store}


def members(bundle: Path, folder: Path) -> Path:
    folder.mkdir()
    unpack(bundle, folder)
    return folder


def verified_rows(bundle: Path) -> int:
    with opened(bundle, Registry.read()) as found:
        return verify(found, quiet)[0]


def test_scores_of_a_bundle_equal_those_of_the_store(bundles: dict[str, Path], tmp_path: Path) -> None:
    """Scores in a bundle; makes the bundles of all tests here."""
    folder, store = members(bundles["both"], tmp_path / "m"), bundles["store"]
    for run in read_manifest(Store.open(store), None).runs:
        for name in SCORED:
            ours = pd.read_parquet(store / "scores" / run.id / f"{name}.parquet")
            theirs = pd.read_parquet(folder / "scores" / run.id / f"{name}.parquet")
            assert differs(ours, theirs, list(ours.columns), ROUNDING) == "", name
    assert verified_rows(bundles["both"]) > 1000


class HubTask(TypedDict):
    """A task of eval.yaml (https://huggingface.co/docs/hub/eval-results)."""

    id: str
    config: NotRequired[str]
    split: NotRequired[str]


class HubBenchmark(TypedDict):
    """The file eval.yaml of a benchmark."""

    name: str
    description: str
    evaluation_framework: str
    tasks: list[HubTask]


def test_the_files_of_a_leaderboard_have_the_published_form(
    bundles: dict[str, Path], tmp_path: Path, here: Command
) -> None:
    hub = pytest.importorskip("huggingface_hub")
    bundle = shutil.copy(bundles["one"], tmp_path / "ours.zip")
    here("verify", str(bundle), "--hub-results", "lab/unseen", "--quiet", cwd=tmp_path)
    benchmark = yaml.safe_load((tmp_path / "ours-hub" / "eval.yaml").read_text())
    assert fits(benchmark, HubBenchmark)
    tasks = [task["id"] for task in benchmark["tasks"]]
    assert tasks == ["external", "chexpert", "mimic", "nih", "vindr"]
    manifest = read_manifest(Store.open(bundles["store"], create=False), None)
    (path,) = (tmp_path / "ours-hub").glob("*/.eval_results/unseen.yaml")
    written = yaml.safe_load(path.read_text())
    entries = hub.parse_eval_result_entries(written)
    frameworks = [{"evaluation_framework": "unseen-cxr"}] * len(written)
    assert [
        entry | other for entry, other in zip(hub.eval_result_entries_to_yaml(entries), frameworks, strict=True)
    ] == written
    scores = select(ScoresFolder(manifest.scores / path.parts[-3]).table("scores"), internal="chexpert")
    known = {row.dataset: row.value for row in scores.itertuples() if not row.split.startswith(("val", "expert"))}
    assert {entry.task_id: entry.value for entry in entries} == pytest.approx(known, abs=5e-5)
    assert {entry.dataset_id for entry in entries} == {"lab/unseen"}
    said = here("verify", str(bundle), "--hub-results", "unseen", cwd=tmp_path, code=2).stderr
    assert "'unseen' is not a repository name" in said


def test_a_leaderboard_has_no_task_for_a_mean_that_no_run_has(
    bundles: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_mean(scores: pd.DataFrame) -> pd.DataFrame:
        return select(scores).assign(value=lambda rows: rows["value"].mask(rows["dataset"] == "external"))

    monkeypatch.setattr(hub_results, "select", without_mean)
    with opened(bundles["one"], Registry.read()) as bundle:
        score_all(bundle.manifest, quiet)
        hub_results.write_hub_results(bundle, "lab/unseen", tmp_path)
    benchmark = yaml.safe_load((tmp_path / "eval.yaml").read_text())
    assert [task["id"] for task in benchmark["tasks"]] == ["chexpert", "mimic", "nih", "vindr"]
    assert "mean" not in benchmark["description"]
    (path,) = tmp_path.glob("*/.eval_results/unseen.yaml")
    tasks = [entry["dataset"]["task_id"] for entry in yaml.safe_load(path.read_text())]
    assert tasks == ["chexpert", "mimic", "nih", "vindr"]


def test_ordinals_are_random_in_each_export_and_unrelated_to_the_ids(bundles: dict[str, Path], tmp_path: Path) -> None:
    manifest = read_manifest(Store.open(bundles["store"]), None)
    again = exporting._write_members(manifest, manifest.runs[:1], tmp_path)
    keys = [key.set_index("image_id") for key in (pd.read_parquet(bundles["one"].with_suffix(".key.parquet")), again)]
    nih = [key[key["cohort"] == "nih"] for key in keys]
    assert not nih[0]["image"].equals(nih[1]["image"].reindex(nih[0].index))
    rank = nih[0].sort_index()["image"].rank()
    assert abs(np.corrcoef(rank, np.arange(len(rank)))[0, 1]) < 0.65, "60 random ranks: five standard deviations"
    assert sorted(nih[0]["image"]) == list(range(len(nih[0])))


def test_only_the_owner_can_read_the_key(bundles: dict[str, Path]) -> None:
    key = bundles["one"].with_suffix(".key.parquet")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert set(pd.read_parquet(key).columns) == {"cohort", "image", "patient", "image_id", "patient_id"}


def ids_of(store: Path) -> set[str]:
    """Return everything that identifies a patient or a file: ids and paths."""
    words: set[str] = set()
    for path in (store / "cohorts").glob("*.parquet"):
        table = pd.read_parquet(path)
        for column in ("image_id", "patient_id", "study_id", "path"):
            words |= set(table[column].astype(str))
    return {word for word in words if len(word) > 4}


def test_no_id_and_no_path_is_in_a_bundle(bundles: dict[str, Path], tmp_path: Path) -> None:
    words = ids_of(bundles["store"])
    assert len(words) > 500
    for name in ("one", "both"):
        content = bundles[name].read_bytes()
        # Longer numbers and hashes contain any five digits by chance. Few words are there at all, so few need the slow search.
        found = [re.escape(word.encode()) for word in words if word.encode() in content]
        assert not [word for word in found if re.search(rb"(?<![0-9a-f.])" + word + rb"(?![0-9a-f])", content)]
        assert str(bundles["store"]).encode() not in content


def test_a_bundle_has_no_column_beyond_those_that_scoring_reads(bundles: dict[str, Path], tmp_path: Path) -> None:
    folder = members(bundles["one"], tmp_path / "m")
    for path in (folder / "cohorts").glob("*.parquet"):
        names = pq.read_schema(path).names
        assert names[:7] == ["image", "patient", "split", "view", "sex", "device", "age"]
        assert not [name for name in names if name.startswith("native:")]
    assert {p.suffix for p in folder.rglob("*") if p.is_file()} == {".json", ".parquet", ".md"}


def on_table(folder: Path, path: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """Change a table and write it in the format of a bundle."""
    facts = {k.decode(): v.decode() for k, v in (pq.read_schema(path).metadata or {}).items() if k != b"ARROW:schema"}
    table = pq.read_table(path)
    frame = change(table.to_pandas())
    arrays = [pa.array(frame[n], table.schema.field(n).type, from_pandas=True) for n in table.schema.names]
    pq.write_table(
        pa.table(dict(zip(table.schema.names, arrays, strict=True)), metadata=facts), path, compression="none"
    )


def on_json(path: Path, change: Callable[[Any], None]) -> None:
    content = json.loads(path.read_bytes())
    change(content)
    path.write_bytes(canonical_json(content))


def run_of(folder: Path) -> Path:
    return next((folder / "runs").iterdir())


def keyed(folder: Path, cohort: str) -> None:
    """Recompute all hashes of a cohort and of the predictions on it, as a careful forger would."""
    path = folder / "cohorts" / f"{cohort}.parquet"
    columns = pq.read_schema(path).names
    made = table_id(read_columns(path, kinds(columns)))
    on_json(folder / "manifest.json", lambda m: [c.update(id=made) for c in m["cohorts"] if c["name"] == cohort])
    for run in (folder / "runs").iterdir():
        table = pq.read_table(run / "predictions" / f"{cohort}.parquet")
        names = {n: "ordinal" if n == "image" else "logit" for n in table.schema.names}
        logits = table_id(read_columns(run / "predictions" / f"{cohort}.parquet", names))
        refact(run / "predictions" / f"{cohort}.parquet", cohort=made, logits=logits)
        order = [c["name"] for c in json.loads((folder / "manifest.json").read_bytes())["cohorts"]]
        facts = [pq.read_schema(run / "predictions" / f"{name}.parquet").metadata for name in order]
        made_of = short_hash(canonical_json([[f[b"cohort"].decode(), f[b"logits"].decode()] for f in facts]))
        for scores in (folder / "scores" / run.name).iterdir():
            refact(scores, made_of=made_of)


def refact(path: Path, **facts: str) -> None:
    table = pq.read_table(path)
    known = {k: v for k, v in (table.schema.metadata or {}).items() if k != b"ARROW:schema"}
    pq.write_table(
        table.replace_schema_metadata(known | {k.encode(): v.encode() for k, v in facts.items()}),
        path,
        compression="none",
    )


def score(folder: Path) -> None:
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        at = frame["value"].first_valid_index()
        frame.loc[at, "value"] = np.nextafter(frame["value"][at], 2)  # the smallest possible change
        return frame

    on_table(folder, next(folder.glob("scores/*/gaps.parquet")), change)


def bound(folder: Path) -> None:
    on_table(folder, next(folder.glob("scores/*/scores.parquet")), lambda f: f.assign(low=f["low"] + 0.001))


def fewer_rows(folder: Path) -> None:
    on_table(folder, next(folder.glob("scores/*/subgroups.parquet")), lambda f: f.iloc[:-1])


def shifted(frame: pd.DataFrame) -> pd.DataFrame:
    frame.loc[frame.index[:40], "Pleural Effusion"] += np.float32(3)
    return frame


def logit(folder: Path) -> None:
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        frame.loc[0, "Pleural Effusion"] += np.float32(1e-3)  # too little to change the order of anything
        return frame

    on_table(folder, run_of(folder) / "predictions" / "nih.parquet", change)


def logits_with_their_ids(folder: Path) -> None:
    on_table(folder, run_of(folder) / "predictions" / "chexpert.parquet", shifted)
    keyed(folder, "chexpert")


def infinite_logit(folder: Path) -> None:
    on_table(folder, run_of(folder) / "predictions" / "nih.parquet", lambda f: f.assign(Edema=np.float32("inf")))


def flipped(frame: pd.DataFrame) -> pd.DataFrame:
    at = frame.index[frame["Pleural Effusion"] == 1][0]
    frame.loc[at, "Pleural Effusion"] = 0
    return frame


def label(folder: Path) -> None:
    on_table(folder, folder / "cohorts" / "nih.parquet", flipped)


def label_with_its_ids(folder: Path) -> None:
    label(folder)
    keyed(folder, "nih")


def label_that_no_score_reads(folder: Path) -> None:
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        at = frame.index[frame["Edema"] == -2][0]
        frame.loc[at, "Edema"] = 0  # both read as absent
        return frame

    on_table(folder, folder / "cohorts" / "mimic.parquet", change)


def patient_with_its_ids(folder: Path) -> None:
    on_table(folder, folder / "cohorts" / "nih.parquet", lambda f: f.assign(patient=f["patient"] // 2))
    keyed(folder, "nih")


def image(folder: Path) -> None:
    on_table(
        folder,
        run_of(folder) / "predictions" / "nih.parquet",
        lambda f: f.assign(image=f["image"].iloc[::-1].to_numpy()),
    )


def image_left_out(folder: Path) -> None:
    on_table(folder, run_of(folder) / "predictions" / "nih.parquet", lambda f: f.iloc[3:])


def image_left_out_with_its_ids(folder: Path) -> None:
    image_left_out(folder)
    keyed(folder, "nih")


def image_twice(folder: Path) -> None:
    on_table(folder, run_of(folder) / "predictions" / "nih.parquet", lambda f: f.assign(image=0))


def configuration(folder: Path) -> None:
    on_json(run_of(folder) / "run.json", lambda c: c["config"].update(seed=7))


def configuration_in_the_manifest(folder: Path) -> None:
    on_json(folder / "manifest.json", lambda m: m["runs"][0]["config"].update(seed=7))


def run_id(folder: Path) -> None:
    run_of(folder).rename(folder / "runs" / "0123456789ab")


def rule(folder: Path) -> None:
    on_json(folder / "manifest.json", lambda m: m["settings"].update(min_count=m["settings"]["min_count"] + 1))


def weights(folder: Path) -> None:
    on_json(run_of(folder) / "seal.json", lambda s: s.update(weights_before="0" * 64, weights_after="0" * 64))


def seal(folder: Path) -> None:
    on_json(run_of(folder) / "seal.json", lambda s: s.update(weights_after="0" * 64))


def internal(folder: Path) -> None:
    on_json(folder / "manifest.json", lambda m: m["cohorts"][0].update(origin="0" * 12))


def not_learned(folder: Path) -> None:
    on_json(run_of(folder) / "trained.json", lambda t: t.update(unlearnt=["Pleural Effusion"]))


def not_learned_and_unknown(folder: Path) -> None:
    on_json(run_of(folder) / "trained.json", lambda t: t.update(unlearnt=["Fever"]))


def smuggled_file(folder: Path) -> None:
    (folder / "notes.json").write_bytes(b'{"patient":"p1"}')


def smuggled_column(folder: Path) -> None:
    path = folder / "cohorts" / "nih.parquet"
    table = pq.read_table(path)
    pq.write_table(table.append_column("mrn", pa.array(range(len(table)), pa.int8())), path, compression="none")


def smuggled_fact(folder: Path) -> None:
    on_json(run_of(folder) / "env.json", lambda e: e.update(hostname="ward-7"))


def smuggled_key_of_a_run(folder: Path) -> None:
    on_json(folder / "manifest.json", lambda m: m["runs"][0].update(note="patient p1"))


def smuggled_key_of_a_cohort(folder: Path) -> None:
    on_json(folder / "manifest.json", lambda m: m["cohorts"][1].update(note="patient p1"))


def smuggled_note(folder: Path) -> None:
    refact(folder / "cohorts" / "nih.parquet", note="patient p1")


def wrong_count(folder: Path) -> None:
    on_json(folder / "manifest.json", lambda m: m["cohorts"][0]["flow"].update(found="<script>"))


def negative_count(folder: Path) -> None:
    on_json(folder / "manifest.json", lambda m: m["cohorts"][1].update(unreadable=-3))


def negative_flow(folder: Path) -> None:
    on_json(folder / "manifest.json", lambda m: m["cohorts"][1]["flow"].update(found=-3))


def hospital_of_children(folder: Path) -> None:
    """Means over external hospitals leave out a hospital of children."""
    on_json(folder / "manifest.json", lambda m: m["cohorts"][1]["facts"].update(ages="children"))


def split_without_images(folder: Path) -> None:
    on_json(folder / "manifest.json", lambda m: m["cohorts"][1].update(headline_split="test"))


def wrong_record(folder: Path) -> None:
    on_json(run_of(folder) / "cost.json", lambda c: c.update(params="many"))


def exact_ages(folder: Path) -> None:
    on_table(folder, folder / "cohorts" / "nih.parquet", lambda f: f.assign(age=f["age"] + 2))
    keyed(folder, "nih")


def cohort_name(folder: Path) -> None:
    on_json(folder / "manifest.json", lambda m: m["cohorts"][1].update(name="../../escaped"))


def grid_name(folder: Path) -> None:
    on_json(folder / "manifest.json", lambda m: m.update(name="../escaped"))


def code(folder: Path) -> None:
    entry = {
        "section": "metrics",
        "name": "loud",
        "use": "os:abort",
        "options": {},
        "facts": {"given": "logit"},
        "title": "loud",
    }
    on_json(folder / "manifest.json", lambda m: m["settings"].update(custom_metrics=[entry]))


def older_manifest(folder: Path) -> None:
    on_json(folder / "manifest.json", lambda m: m.update(schema=1))


def terminal_codes(folder: Path) -> None:
    on_json(folder / "manifest.json", lambda m: m.update(title="\x1b[2J all well"))


def wrong_type(folder: Path) -> None:
    on_json(folder / "manifest.json", lambda m: m.update(cohorts={"a": 1}))


FORGERIES = {
    score: "gaps of run .* value of",
    bound: "scores of run .* low of",
    fewer_rows: "subgroups.parquet has .* rows instead of",
    logit: "a logit or an image was changed",
    logits_with_their_ids: "of run .* is ",
    infinite_logit: "a logit or an image was changed",
    label: "id of nih",
    label_with_its_ids: "of run ",
    label_that_no_score_reads: "id of mimic",
    patient_with_its_ids: "of run ",
    image: "a logit or an image was changed",
    image_left_out: "a logit or an image was changed",
    image_left_out_with_its_ids: "or other images than the cohort",
    image_twice: "a logit or an image was changed",
    configuration: "does not hash to its id",
    configuration_in_the_manifest: "differs from its run.json",
    run_id: "missing",
    rule: "of run ",
    weights: "other weights",
    seal: "seal",
    internal: "trained on another cohort",
    not_learned: "could not learn Pleural Effusion",
    not_learned_and_unknown: "findings that the run does not have",
    negative_count: r"Expected `int` >= 0 - at `\$.planned_cohorts\[1\].unreadable",
    negative_flow: "Expected `int` >= 0",
    hospital_of_children: "whether all patients are children contradicts its layout",
    split_without_images: "no image has the split test",
    smuggled_file: "unexpected",
    smuggled_column: "unknown columns",
    smuggled_fact: "env.json of .* has unknown keys",
    smuggled_key_of_a_run: "unknown keys",
    smuggled_key_of_a_cohort: "unknown keys",
    smuggled_note: "unknown metadata",
    wrong_count: r"Expected `int`, got `str` - at `\$.planned_cohorts\[0\].flow",
    wrong_record: "cost.json of .* has unknown keys or wrong types",
    exact_ages: "finer than decades",
    cohort_name: "not a valid cohort name",
    grid_name: "not a valid folder name",
    code: "this installation does not have",
    older_manifest: r"manifest.json has schema 1, this version reads 2\n.*\n.*run its grids again",
    terminal_codes: "control",
    wrong_type: "content is inconsistent",
}


@pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__)
def test_a_forgery_with_recomputed_checksums_is_detected(
    forge: Forge, bundles: dict[str, Path], tmp_path: Path
) -> None:
    folder = members(bundles["one"], tmp_path / "m")
    (folder / CHECKSUMS).unlink()
    forge(folder)
    pack(folder, tmp_path / "forged.zip")
    with pytest.raises(StoreError, match=f"refused.*{FORGERIES[forge]}"):
        verified_rows(tmp_path / "forged.zip")
    assert not (tmp_path / "escaped").exists()


def test_a_bundle_of_another_scoring_version_is_refused(bundles: dict[str, Path], tmp_path: Path) -> None:
    folder = members(bundles["one"], tmp_path / "m")
    (folder / CHECKSUMS).unlink()
    on_json(folder / "bundle.json", lambda about: about.update(scoring=99))
    pack(folder, tmp_path / "other.zip")
    with pytest.raises(
        StoreError, match=f"its scores have scoring version 99; this version verifies {SCORING_VERSION}"
    ):
        verified_rows(tmp_path / "other.zip")


@pytest.mark.thorough
def test_ensembles_and_tta_are_exported_with_their_source_runs_and_must_match_them(
    store_copy: Path, tmp_path: Path, here: Command
) -> None:
    grid = (Path(__file__).parents[3] / "grids" / "tiny.yaml").read_text()
    (store_copy / "tiny.yaml").write_text(f"{grid}tta: [three_views]\nensembles: [{{name: both}}]\n")
    here("run", "--grid", "tiny.yaml", "--quiet", cwd=store_copy)
    manifest = read_manifest(Store.open(store_copy / "runs"), None)
    both = next(run for run in manifest.derived if run.kind == "ensemble")
    views = next(run for run in manifest.derived if run.kind == "tta")
    path = write(store_copy / "runs", tmp_path / "derived.zip", both.id, views.id)
    with opened(path, Registry.read()) as found:
        assert [run.id for run in found.manifest.runs] == [run.id for run in manifest.runs], (
            "source runs are exported, too"
        )
        assert [run.kind for run in found.manifest.derived] == ["tta", "ensemble"]
    shutil.copy(path, tmp_path / "b.zip")
    assert "4 of 4 runs" in here("merge", "b.zip", "--store", "together", "--quiet", cwd=tmp_path).stdout
    folder = members(path, tmp_path / "m")
    (folder / CHECKSUMS).unlink()
    on_table(folder, folder / "runs" / both.id / "predictions" / "nih.parquet", shifted)
    keyed(folder, "nih")
    pack(folder, tmp_path / "forged.zip")
    with pytest.raises(StoreError, match=f"ensemble {both.id} differs from its source runs on nih"):
        verified_rows(tmp_path / "forged.zip")
    for number, (name, key, value, what) in enumerate(
        [
            (f"runs/{both.id}/trained.json", "unlearnt", ["Edema"], "could not learn Edema"),
            (f"runs/{views.id}/cost.json", "macs", "12", "wrong types"),
        ]
    ):
        folder = members(path, tmp_path / f"m{number}")
        (folder / CHECKSUMS).unlink()
        on_json(folder / name, lambda record, key=key, value=value: record.update({key: value}))
        pack(folder, tmp_path / "forged.zip")
        with pytest.raises(StoreError, match=what):
            verified_rows(tmp_path / "forged.zip")
    folder = members(path, tmp_path / "m-of")
    (folder / CHECKSUMS).unlink()
    on_json(folder / "manifest.json", lambda m: m["derived"][1].update(of=m["derived"][1]["of"][:1]))
    pack(folder, tmp_path / "forged.zip")
    with pytest.raises(StoreError, match="other source runs"):
        verified_rows(tmp_path / "forged.zip")


def test_titles_come_from_the_registry_and_the_rest_is_named_as_stated(
    bundles: dict[str, Path], tmp_path: Path, here: Command
) -> None:
    def flattered(content: dict[str, Any]) -> None:
        content["runs"][0]["titles"]["architecture"] = "ConvNeXt V2 Large"
        content["runs"][0]["family"] = "foundation model"

    run = read_manifest(Store.open(bundles["store"]), None).runs[0]
    folder = members(bundles["one"], tmp_path / "m")
    (folder / CHECKSUMS).unlink()
    on_json(folder / "manifest.json", flattered)
    on_json(folder / "runs" / run.id / "cost.json", lambda c: c.update(images_per_second=1e9))
    pack(folder, tmp_path / "f.zip")
    with opened(tmp_path / "f.zip", Registry.read()) as found:
        assert found.manifest.runs[0].titles == run.titles
        assert found.manifest.runs[0].family == run.family
        assert found.stated == STATED
    shipped = Registry.read()
    without = {name: entry for name, entry in shipped.sections["architectures"].items() if name != "seresnet_tiny"}
    with opened(tmp_path / "f.zip", replace(shipped, sections={**shipped.sections, "architectures": without})) as found:
        assert found.manifest.runs[0].titles["architecture"] == "ConvNeXt V2 Large"
        assert found.stated[len(STATED) :] == (f"titles of {run.id}",)
    here("merge", "f.zip", "--store", "together", "--quiet", cwd=tmp_path)
    said = here("report", "--store", "together", "--quiet", cwd=tmp_path).stdout
    page = (tmp_path / said.strip().partition(": ")[2]).read_text()
    assert "Stated by the submitters, not checked: training time, memory and speed" in page
    assert "Parameters, operations, speed, memory and time are stated by the submitters." in page
    assert "ConvNeXt V2 Large" not in page


def test_a_finding_is_not_learned_only_if_the_labels_agree(finished: Path, tmp_path: Path, here: Command) -> None:
    """A finding that the maker of a bundle says could not be learned."""
    store = with_cohorts(finished / "runs", tmp_path / "runs", ["nih"])
    manifest = read_manifest(Store.open(store), None)
    for run in manifest.runs:
        on_json(store / run.id[:2] / run.id / "trained.json", lambda t: t.update(unlearnt=["Pleural Effusion"]))
        CheckedFolder(store / run.id[:2] / run.id).record_checksums()
    first = manifest.runs[0].id
    refusal = here("export", first, "-o", "b.zip", "--quiet", cwd=tmp_path, code=2).stderr
    assert f"run {first} states that it could not learn Pleural Effusion" in refusal
    assert "bench score --as NAME --findings" in refusal
    assert not (tmp_path / "b.zip").exists()
    others = [finding for finding in manifest.runs[0].config.findings if finding != "Pleural Effusion"]
    here("score", "--as", "eight", "--findings", ",".join(others), "--quiet", cwd=tmp_path)
    here("export", "--grid", "eight", "-o", "eight.zip", "--quiet", cwd=tmp_path)
    assert "all agree" in here("verify", "eight.zip", "--quiet", cwd=tmp_path).stdout


def test_bundles_of_the_same_cohorts_merge_into_one_leaderboard(
    bundles: dict[str, Path], tmp_path: Path, command: Command
) -> None:
    """A merged store: its scores, and its page, which names the bundles."""
    for name in ("one", "both"):
        shutil.copy(bundles[name], tmp_path)
    command("merge", "one.zip", "both.zip", "--store", "together", "--quiet", cwd=tmp_path)
    said = command("report", "--store", "together", "--quiet", cwd=tmp_path)
    page = (tmp_path / said.stdout.strip().partition(": ")[2]).read_text()
    assert "Made from bundles of predictions (one.zip, both.zip)" in page
    assert "that the logits come from the stated network is not verified</dd>" in page
    assert '<a href="https://arxiv.org/abs/' in page, "the registry has the papers of the runs' entries"
    assert (
        "made from bundles" in command("export", "-o", "again.zip", "--store", "together", cwd=tmp_path, code=2).stderr
    )
    ours = read_manifest(Store.open(bundles["store"]), None)
    theirs = read_manifest(Store.open(tmp_path / "together"), None)
    assert [r.id for r in theirs.runs] == [r.id for r in ours.runs]
    recipes = pd.read_parquet(tmp_path / "together" / "report" / "tiny" / "tables" / "recipes.parquet")
    assert set(recipes["run_id"]) == {r.id for r in ours.runs}
    for run in ours.runs:
        a, b = (pd.read_parquet(m.scores / run.id / "scores.parquet") for m in (ours, theirs))
        assert differs(a, b, list(a.columns), ROUNDING) == ""


def test_a_run_that_two_hospitals_tested_becomes_one_row(
    bundles: dict[str, Path], tmp_path: Path, here: Command
) -> None:
    """Bundles of one run from two laboratories."""
    one = read_manifest(Store.open(bundles["store"]), None).runs[0].id
    for name, cohorts in (("a", ["nih"]), ("b", ["mimic", "vindr"])):
        write(
            with_cohorts(bundles["store"], tmp_path / name, cohorts), tmp_path / f"{name}.zip", one
        )  # each in an order of its own
    said = here("merge", "a.zip", "b.zip", "--store", "together", "--quiet", cwd=tmp_path).stdout
    assert "1 of 1 runs tested on chexpert, nih, mimic, vindr, from 2 bundles" in said
    gaps = pd.read_parquet(next((tmp_path / "together" / "scores").glob("*/gaps.parquet")))
    assert set(gaps["dataset"]) == {"nih", "mimic", "vindr", "external"}
    ours = pd.read_parquet(bundles["store"] / "scores" / one / "gaps.parquet").set_index(["dataset", "finding"])[
        "value"
    ]
    theirs = gaps[gaps["dataset"] != "external"].set_index(["dataset", "finding"])["value"]
    np.testing.assert_allclose(theirs, ours.reindex(theirs.index), atol=1e-9)


def unscored(store: Path, folder: Path, *runs: str) -> OpenBundle:
    """Return a bundle of one run as it would be opened, without scores."""
    manifest = read_manifest(Store.open(store), None)
    exporting._write_members(manifest, exporting._with_sources(manifest, runs), folder / "members")
    read = read_bundle(folder / "members", folder / "store", Registry.read())
    return OpenBundle(folder.with_suffix(".zip"), folder.name, read, {}, folder / "members")


def merged(folder: Path, *opened_bundles: OpenBundle, rename: dict[str, str] | None = None) -> Manifest:
    into, first = merge.Merge(Store.open(folder)), opened_bundles[0].manifest
    for number, bundle in enumerate(opened_bundles):
        merge.add(into, bundle, rename if rename and number else {}, first)
    return merge.finish(into, "together", "together", first, [])


def test_scores_of_a_bundle_are_kept_and_other_images_of_a_cohort_are_refused(
    bundles: dict[str, Path], tmp_path: Path
) -> None:
    ids = [run.id for run in read_manifest(Store.open(bundles["store"]), None).runs]
    one, both = (unscored(bundles["store"], tmp_path / name, *of) for name, of in (("one", ids[:1]), ("both", ids)))
    into, first, scores = (
        merge.Merge(Store.open(tmp_path / "s")),
        one.manifest,
        tmp_path / "s" / "scores",
    )
    score_all(one.manifest, quiet)
    merge.add(into, one, {}, first)
    assert (scores / ids[0] / "KEY").read_bytes() == (one.manifest.scores / ids[0] / "KEY").read_bytes()
    [nih] = (tmp_path / "s" / "cohorts").glob("nih-*.parquet")
    whole = read_cohort(nih)
    for other in (whole.iloc[1:], pd.concat([whole, whole.iloc[:1].assign(image_id="another")])):
        write_cohort(nih, other, into.cohorts["nih"].id)  # as if the first bundle had fewer or more images
        with pytest.raises(StoreError, match=r"nih has \d+ images in one bundle and \d+ in the other"):
            merge.add(into, both, {}, first)


def test_bundles_that_cannot_be_merged_are_refused_with_a_fix(bundles: dict[str, Path], tmp_path: Path) -> None:
    store = bundles["store"]
    one, two = (run.id for run in read_manifest(Store.open(store), None).runs)
    a, b, c, d = (
        with_cohorts(store, tmp_path / name, cohorts)
        for name, cohorts in (("a", ["nih"]), ("b", ["mimic"]), ("c", ["nih"]), ("d", ["vindr"]))
    )
    path = c / one[:2] / one / "predictions" / "nih.parquet"  # the same run and cohort, other logits
    table = pq.read_table(path)
    frame = table.to_pandas()
    frame.loc[4, "Edema"] += np.float32(1)
    pq.write_table(
        pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(table.schema.metadata), path
    )
    CheckedFolder(c / one[:2] / one).record_checksums()
    made = {
        (lab.name, run): unscored(lab, tmp_path / f"{lab.name}-{run}", run)
        for lab, run in ((a, one), (b, one), (b, two), (c, one), (d, two))
    } | {("b", "both"): unscored(b, tmp_path / "b-both", one, two)}

    def refused(what: str, *names: tuple[str, str], fix: str = "") -> None:
        with pytest.raises(CxrError, match=what) as refusal:
            merged(tmp_path / what.replace(" ", "-")[:20], *(made[name] for name in names))
        assert fix in str(refusal.value)

    refused("no run is in both bundles", ("a", one), ("b", two), fix="as one bundle")
    refused("has different logits or labels on nih", ("a", one), ("c", one), fix="ask their makers")
    refused("no run was tested on every cohort", ("a", one), ("b", "both"), ("d", two), fix="--cohort")
    both = merged(tmp_path / "both", made["a", one], made["b", one])
    assert [cohort.name for cohort in both.cohorts] == ["chexpert", "nih", "mimic"]
    other = made["b", one]
    settings = replace(other.manifest.settings, min_count=7)
    made["b", one] = replace(other, manifest=replace(other.manifest, settings=settings))
    refused("different settings: min_count", ("a", one), ("b", one), fix="bench score --as")


def test_different_cohorts_with_one_name_are_refused_or_renamed(bundles: dict[str, Path], tmp_path: Path) -> None:
    store = bundles["store"]
    run = read_manifest(Store.open(store), None).runs[0].id
    ours, theirs = (with_cohorts(store, tmp_path / name, ["mimic"]) for name in ("ours", "theirs"))
    (path,) = (theirs / "cohorts").glob("mimic-*.parquet")
    write_cohort(theirs / "cohorts" / f"mimic-{'0' * 12}.parquet", read_cohort(path), "0" * 12)
    grid = read_grid(Store(theirs), "tiny")
    grid["cohorts"][1]["id"] = "0" * 12
    write_grid(Store(theirs), "tiny", grid)
    found = [unscored(lab, tmp_path / f"{lab.name}-read", run) for lab in (ours, theirs)]
    with pytest.raises(StoreError, match="two cohorts have the name 'mimic'") as refusal:
        merged(tmp_path / "refused", *found)
    assert "--rename theirs-read.zip:mimic=NEW_NAME" in str(refusal.value)
    apart = merged(tmp_path / "apart", *found, rename={"mimic": "second"})
    assert [cohort.name for cohort in apart.cohorts] == ["chexpert", "mimic", "second"]


def test_a_signature_is_valid_only_for_its_file_and_its_signer(
    bundles: dict[str, Path], tmp_path: Path, here: Command
) -> None:
    if not shutil.which("ssh-keygen"):
        pytest.skip("no ssh-keygen")
    for name in ("key", "other"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", name], cwd=tmp_path, check=True)
        (tmp_path / f"{name}.signers").write_text(f"lab@example.org {(tmp_path / f'{name}.pub').read_text()}")
    run = read_manifest(Store.open(bundles["store"]), None).runs[0].id
    words = ("export", run, "-o", "s.zip", "--store", str(bundles["store"]), "--sign", "key", "--quiet")
    assert "signature: s.zip.sig" in here(*words, cwd=tmp_path).stdout
    assert (
        "signed by lab@example.org"
        in here("verify", "s.zip", "--signers", "key.signers", "--quiet", cwd=tmp_path).stdout
    )
    here("merge", "s.zip", "--store", "merged", "--signers", "key.signers", "--quiet", cwd=tmp_path)
    merged = read_manifest(Store.open(tmp_path / "merged"), None).bundles or ()
    assert [(bundle.run_ids, bundle.signed_by) for bundle in merged] == [((run,), "lab@example.org")]
    refused = here("merge", "s.zip", "--store", "m2", "--signers", "other.signers", cwd=tmp_path, code=2)
    assert "the signer is not listed" in refused.stderr
    assert not (tmp_path / "m2").exists()
    assert (
        "the signer is not listed" in here("verify", "s.zip", "--signers", "other.signers", cwd=tmp_path, code=2).stderr
    )
    shutil.copy(bundles["one"], tmp_path / "t.zip")
    assert "not signed" in here("verify", "t.zip", "--signers", "key.signers", cwd=tmp_path, code=2).stderr
    shutil.copy(tmp_path / "s.zip.sig", tmp_path / "t.zip.sig")
    assert "belongs to another file" in here("verify", "t.zip", "--signers", "key.signers", cwd=tmp_path, code=2).stderr


def test_invalid_requests_are_refused_with_a_fix(store_copy: Path, here: Command) -> None:
    (store_copy / "c.zip").touch()
    for words, what in (
        (("export", "-o", "b.txt"), "does not end in .zip"),
        (("export", "-o", "nowhere/b.zip"), "the folder does not exist"),
        (("export", "ffffffff", "-o", "b.zip"), "no run 'ffffffff'"),
        (("export", "-o", "b.zip", "--sign", "key"), "no such key file"),
        (("verify", "b.zip"), "no such bundle"),
        (("merge", "b.zip", "--store", "new"), "no such bundle"),
        (("merge", "c.zip", "--store", "new", "--rename", "x:y=../z"), "invalid rename"),
        (("merge", "c.zip", "--store", "runs"), "the folder already exists"),
        (("merge", "c.zip", "--store", "new", "--as", "../../x"), "invalid name"),
        (("merge", "c.zip", "--store", "new", "--as", "a/b"), "invalid name"),
        (
            ("merge", "c.zip", "--store", "new", "--cohort", "nih", "--quiet"),
            "the bundle is refused: it cannot be read",
        ),
    ):
        assert what in here(*words, cwd=store_copy, code=2).stderr
    run = read_manifest(Store.open(store_copy / "runs"), None).runs[0].id
    (store_copy / "runs" / run[:2] / run / "DONE").unlink()
    assert "not finished" in here("export", run, "-o", "b.zip", cwd=store_copy, code=2).stderr
    (path,) = (store_copy / "runs").glob("cohorts/chexpert-*.parquet")
    path.write_bytes(path.read_bytes()[:-1])
    assert path.name in here("export", "-o", "b.zip", cwd=store_copy, code=2).stderr
    assert {p.name for p in store_copy.iterdir()} == {"runs", "c.zip"}, "nothing is left of what failed"
    with pytest.raises(CxrError):
        verified_rows(store_copy / "runs" / "store.json")


def test_seeds_with_validation_patients_of_their_own_are_one_bundle(tmp_path: Path, here: Command) -> None:
    settings = "evaluate_on: [nih]\nbase: {resample: split, schedule: {epochs: 1}}\n"
    path = tiny_with(tmp_path, "drawn", "{seed: [0, 1]}", 2, settings)
    here("run", "--grid", str(path), "--quiet", cwd=tmp_path)
    here("export", "-o", "drawn.zip", "--quiet", cwd=tmp_path)
    assert "all agree exactly" in here("verify", "drawn.zip", "--quiet", cwd=tmp_path).stdout
    manifest, folder = (
        read_manifest(Store.open(tmp_path / "runs"), None),
        members(tmp_path / "drawn.zip", tmp_path / "m"),
    )
    cohort = pd.read_parquet(folder / "cohorts" / "chexpert.parquet").set_index("image")["split"]
    images = [
        set(pd.read_parquet(folder / "runs" / run.id / "predictions" / "chexpert.parquet")["image"])
        for run in manifest.runs
    ]
    assert all({*cohort.index[cohort == "test"]} < predicted < {*cohort.index} for predicted in images)
    assert images[0] != images[1]
    for run in manifest.runs:
        ours = ScoresFolder(manifest.scores / run.id).table("operating_points")
        theirs = pd.read_parquet(folder / "scores" / run.id / "operating_points.parquet")
        assert differs(ours, theirs, list(ours.columns), ROUNDING) == ""


def test_a_store_older_than_a_configuration_key_can_be_exported(finished: Path, tmp_path: Path, here: Command) -> None:
    store = Store.open(with_cohorts(finished / "runs", tmp_path / "runs", ["nih"]))
    content = read_grid(store, "tiny")
    for run in content["runs"]:
        assert run["config"].pop("compile") is False
    write_grid(store, "tiny", content)
    here("export", "-o", "old.zip", "--quiet", cwd=tmp_path)
    assert "all agree exactly" in here("verify", "old.zip", "--quiet", cwd=tmp_path).stdout
