"""The command line: exit codes, messages, lists."""

import errno
import json
import os
import re
import subprocess
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
import typer
from huggingface_hub import constants
from typer.testing import CliRunner

from bench.cli import list_tables
from bench.cli.compare import AT_THRESHOLD
from bench.cli.main import app
from bench.cli.options import DataOption, only_valid
from bench.config.registry import SECTIONS, Registry
from bench.config.run_config import RunConfig
from bench.config.settings import CHOICES, UNITS
from bench.models.network import hub_repository
from bench.planning.run import RunSpec
from bench.results import stored_runs
from bench.scoring.metrics_of_split import BUILT_IN
from bench.scoring.scored_split import READINGS
from bench.scoring.thresholds import RULES
from bench.store.checked_folders import CheckedFolder
from bench.store.store import Store
from bench.study import request, starting_weights
from harmonize.cohorts.label_mapping import MAPPINGS
from harmonize.errors import ConfigError, SetupError
from harmonize.phantom.folder import PARTIAL
from tests.light_commands import without_slow_imports
from tests.nonempty import nonempty

OURS = Path(__file__).parents[4] / "registry.yaml"
Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.mark.parametrize(
    ("arguments", "what", "fix"),
    [
        (["run"], "missing option '--grid'", "for example: bench run --grid demo"),
        (["rnu"], "no such command 'rnu'. Did you mean 'run'?", "bench --help"),
        (["run", "--grid"], "option '--grid' requires an argument", "bench run --help"),
        (["run", "--gird", "demo"], "no such option: --gird", "bench run --grid demo"),
        (["--store", "x", "list"], "no such option: --store", "bench --help"),
        (["data", "phantm", "x"], "no such command 'phantm'", "bench data --help"),
        (["run", "--grid", "tiny", "--workers", "many"], "invalid value for '--workers'", "bench run --grid demo"),
    ],
)
def test_a_misspelt_command_is_answered_with_what_where_and_fix(
    arguments: list[str], what: str, fix: str, tmp_path: Path, here: Command
) -> None:
    said = here(*arguments, cwd=tmp_path, code=2).stderr
    assert said.startswith("error: ")
    assert what in said.splitlines()[0]
    assert "where: bench" in said
    assert fix in said.splitlines()[2]
    assert "Input should be" not in said  # the words of pydantic, which some versions of typer pass on
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "what", "fix"),
    [
        (["run", "--grid", "dmo"], "no grid 'dmo'", "did you mean 'demo'"),
        (["run", "--grid", "missing.yaml"], "the grid file does not exist", "check the path"),
        (["list", "architecture"], "unknown section", "did you mean 'architectures'"),
        (["list", "architectures", "resnet181"], "unknown name 'resnet181'", "did you mean 'resnet18'"),
        (["list", "losses", "auk*"], "'auk*' matches no name", "bench list losses"),
        (["score"], "no run store", "--store"),
        (["report", "--store", "nowhere"], "no run store", "--store"),
        (["list", "runs", "--store", "x" * 300], "File name too long", "shorter names"),
        (["run", "--grid", "tiny", "--store", "/".join(["x" * 200] * 25)], "File name too long", "shorter names"),
        (["report", "-o", "."], "this is a folder", "leaderboard.html"),
        (["run", "--grid", "demo", "--data", "nowhere"], "no such file or folder", "--data"),
        (["run", "--grid", "tiny", "--device", "gpu"], "no device 'gpu'", "cuda"),
        (
            ["score", "--predictions", "none.csv", "--labels", "none.csv"],
            "cannot read the table: No such file or directory\nwhere: none.csv",
            "CSV or Parquet",
        ),
        (["data", "phantom", "p", "--shortcut", "2"], "shortcut", "--help"),
        (["data", "phantom", "p", "--shortcut", "1", "--finding", "Edem"], "Edem", "--help"),
        (["predict", "3fa9", "x.png", "--finding", "Edem"], "no finding 'Edem'", "did you mean 'Edema'"),
    ],
)
def test_a_wrong_request_says_what_where_and_how_to_mend_it(
    arguments: list[str], what: str, fix: str, tmp_path: Path, here: Command
) -> None:
    said = here(*arguments, cwd=tmp_path, code=2).stderr
    assert said.startswith("error: ")
    assert what in said
    assert "where: " in said
    assert fix in said


@pytest.mark.parametrize(
    ("number", "fix"),
    [
        (errno.EISDIR, "move the folder away"),
        (errno.ENOTDIR, "move the file away"),
        (errno.EMFILE, "ulimit -n"),
        (errno.EACCES, "make it readable and writable for you"),
        (errno.EIO, "check the disk"),
        (errno.ESTALE, "check the disk"),
    ],
)
def test_an_error_of_the_file_system_says_what_where_and_how_to_mend_it(
    number: int, fix: str, tmp_path: Path, here: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), "runs/store.json")

    monkeypatch.setattr(Store, "open", failing)
    said = here("list", "runs", cwd=tmp_path, code=2).stderr
    assert said.startswith(f"error: cannot use this path: {os.strerror(number)}\nwhere: runs/store.json")
    assert fix in said


def test_a_store_without_a_grid_says_so(tmp_path: Path, here: Command) -> None:
    Store.open(tmp_path / "runs")
    said = here("report", cwd=tmp_path, code=2).stderr
    assert said.startswith("error: the store has no grid\nwhere: runs\n")
    assert "bench run" in said


def test_a_store_json_with_deep_nesting_is_unreadable(tmp_path: Path, here: Command) -> None:
    Store.open(tmp_path / "runs")
    (tmp_path / "runs" / "store.json").write_text('{"schema": ' + "[" * 100_000)
    said = here("list", "runs", cwd=tmp_path, code=2).stderr
    assert "store.json is unreadable: too many nested values" in said


@pytest.mark.grid
def test_a_folder_in_the_place_of_a_scores_file_is_named(store_copy: Path, here: Command) -> None:
    path = next((store_copy / "runs" / "scores").glob("*/scores.parquet"))
    path.unlink()
    path.mkdir()
    said = here("score", cwd=store_copy, code=2).stderr
    assert "Is a directory" in said
    assert str(path.relative_to(store_copy)) in said


def test_the_version_is_said(tmp_path: Path, here: Command) -> None:
    assert here("--version", cwd=tmp_path).stdout == f"unseen-cxr {version('unseen-cxr')}\n"


def test_a_dry_run_refuses_a_model_that_timm_does_not_have(tmp_path: Path, here: Command) -> None:
    grid = Path(__file__).parents[4] / "grids" / "tiny.yaml"
    (tmp_path / "mine.yaml").write_text(f"include: {grid}\nbase: {{architecture: 'timm:resnet999'}}\n")
    said = here("run", "--grid", "mine.yaml", "--dry-run", cwd=tmp_path, code=2).stderr
    assert "no model 'resnet999'" in said


@pytest.mark.parametrize(
    ("words", "said"), [([], "no run yet"), (["--failed"], "no run has failed"), (["zz*"], "no run matches")]
)
def test_an_empty_list_of_runs_is_said_to_be_empty_beside_it(
    words: list[str], said: str, tmp_path: Path, here: Command
) -> None:
    Store.open(tmp_path / "runs")
    found = here("list", "runs", *words, cwd=tmp_path)
    assert (found.stdout, found.stderr) == ("", f"{said}\n")
    assert here("list", "runs", *words, "--json", cwd=tmp_path).stdout == "[]\n"


def test_a_list_can_be_read_by_programs(tmp_path: Path, command: Command) -> None:
    names = json.loads(command("list", "architectures", "resnet*", "--json", cwd=tmp_path).stdout)
    assert names == ["resnet18", "resnet50", "resnet101"]


def said(*arguments: str, code: int = 0) -> str:
    """Return what a quick command prints, in this process."""
    done = CliRunner().invoke(app, [*arguments])
    assert done.exit_code == code, done.output
    return done.stdout


@pytest.mark.slow
def test_a_list_says_what_each_entry_is_where_it_comes_from_and_what_it_costs() -> None:
    header, line = said("list", "architectures", "xception", "--registry", str(OURS)).splitlines()
    for word in ("title", "million params", "GMACs at 224", "licence", "source", "about"):
        assert word in header
    for word in ("Xception", "legacy_xception.tf_in1k", "20.825", "4.574", "apache-2.0", "arXiv:1610.02357", "2017"):
        assert word in line
    for section, entries in Registry.read(OURS).sections.items():
        lines = said("list", section, "--registry", str(OURS)).splitlines()
        assert [line.split()[0] for line in lines[1:]] == list(entries)


@pytest.mark.parametrize("section", SECTIONS)
def test_every_entry_says_what_it_is_where_it_comes_from_and_under_which_licence(section: str) -> None:
    entries = list(Registry.read(OURS).sections[section].values())
    header, *rows = list_tables.described(section, entries)
    for entry, row in nonempty(zip(entries, rows, strict=True)):
        shown = dict(zip(header, row, strict=True))
        assert shown["title"] or shown.get("about"), entry.name
        assert shown["source"], entry.name
        assert shown["licence"] or entry.name == "none", entry.name
        if section == "architectures":
            assert float(shown["million params"]) > 0 < float(shown["GMACs at 224"]), entry.name


def test_check_looks_at_environment_and_registry(tmp_path: Path, here: Command) -> None:
    said = here("check", cwd=tmp_path).stdout
    assert "ok   registry" in said
    assert "every shipped grid expands" in said


def test_check_names_a_dataset_that_cannot_be_read(tmp_path: Path, here: Command) -> None:
    (tmp_path / "data" / "nih").mkdir(parents=True)
    said = here("check", "--data", "data", cwd=tmp_path, code=1).stdout
    assert "BAD  nih" in said
    assert "Data_Entry" in said


def test_phantoms_are_not_written_over_other_files(tmp_path: Path, here: Command) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    assert "other files" in here("data", "phantom", "mine", cwd=tmp_path, code=2).stderr


@pytest.mark.slow
def test_phantoms_are_written_again_after_a_kill(tmp_path: Path, here: Command) -> None:
    (tmp_path / "p" / PARTIAL / "chexpert").mkdir(parents=True)
    (tmp_path / "p" / "nih").mkdir()
    here("data", "phantom", "p", "--source", "8", "--external", "4", "--size", "64", "--quiet", cwd=tmp_path)
    assert (tmp_path / "p" / "phantom.json").is_file()
    assert not (tmp_path / "p" / PARTIAL).exists()


@pytest.mark.slow
def test_phantoms_of_a_command_are_data_of_another(tmp_path: Path, here: Command) -> None:
    small = ["--source", "30", "--external", "6", "--size", "64", "--quiet"]
    here("data", "phantom", "p", *small, cwd=tmp_path)
    assert "BAD" not in here("check", "--data", "p", cwd=tmp_path).stdout


@pytest.mark.grid
def test_listed_runs_say_what_they_are(store_copy: Path, here: Command) -> None:
    header, *lines = here("list", "runs", cwd=store_copy).stdout.splitlines()
    assert header.split() == ["run", "state", "architecture", "seed", "external", "AUROC", "grid"]
    assert sorted(line.split()[3] for line in lines) == ["0", "1"]
    for line in lines:
        _, state, architecture, _, auroc, grid = line.split()
        assert (state, architecture, grid) == ("done", "seresnet_tiny", "tiny")
        assert 0.4 < float(auroc) < 1
    damaged = next((store_copy / "runs").glob("*/*/run.json"))
    damaged.write_text("{")
    assert f"{damaged.parent.name}  done" in here("list", "runs", cwd=store_copy).stdout


@pytest.mark.grid
def test_a_listed_run_without_an_external_mean_says_why(
    store_copy: Path, here: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"dataset": "external", "split": "mixed", "num_findings": 0, "auroc": None, "low": None, "high": None}
    monkeypatch.setattr(stored_runs, "_scores", lambda _folder: [row])
    said = " ".join(here("list", "runs", cwd=store_copy).stdout.split())
    assert "no external mean: the hospitals score too few findings in common, or too few AUROCs" in said
    monkeypatch.setattr(stored_runs, "_scores", lambda _folder: [])
    assert "no external mean" not in " ".join(here("list", "runs", cwd=store_copy).stdout.split())


@pytest.mark.grid
def test_listed_runs_have_scores_for_programs(store_copy: Path, here: Command) -> None:
    listed = json.loads(here("list", "runs", "--json", cwd=store_copy).stdout)
    assert sorted((run["seed"], run["grids"]) for run in listed) == [(0, ["tiny"]), (1, ["tiny"])]
    for run in listed:
        by_dataset = {row["dataset"]: row["auroc"] for row in run["scores"]}
        assert by_dataset["external"] == run["external_auroc"]
        assert {"mimic", "nih", "padchest", "vindr", "brax"} < set(by_dataset)
    (store_copy / "runs" / "scores" / listed[0]["run"] / "scores.parquet").write_bytes(b"damaged")
    again = json.loads(here("list", "runs", "--json", cwd=store_copy).stdout)
    assert (again[0]["scores"], again[0]["external_auroc"]) == ([], None)
    assert again[1] == listed[1]


@pytest.fixture
def requested(tmp_path: Path) -> Path:
    """A folder with a store that has one finished run without predictions: refused requests read no further."""
    config = RunConfig("seresnet_tiny", "adamw", "bce", "u_ignore", "imagenet_64", channels=1)
    run = RunSpec.of(config, Registry.read(), "internal", None)
    store = Store.open(tmp_path / "runs")
    CheckedFolder(store.begin(run.id, run.document)).mark_done()
    (store.root / "grids").mkdir()
    (store.root / "grids" / "mine.json").write_text('{"settings": {"custom_metrics": []}, "cohorts": []}')
    return tmp_path


WRONG_REQUESTS = [  # words, and what is said: what is wrong, where, and how to mend it
    ("run --grid main-study", "the grid main-study needs data", "--data", "`bench run --grid main-study-smoke`"),
    ("run --grid main-study --dry-run", "needs data", "--data", "chexpert, mimic, nih, padchest, vindr, brax"),
    ("run --grid main-study-losses", "the grid main-study-losses needs data", "--data", "main-study-smoke"),
    ("run --grid real-mini", "the grid real-mini needs data", "--data", "nih-mini, covid-real"),
    ("run --grid own.yaml", "the grid own needs data", "--data", "or add `phantom: {}` to the grid"),
    (
        "run --grid misspelled.yaml",
        "needs data",
        "--data",
        "hospitals chexprt (did you mean chexpert?), mimic (docs",
    ),
    ("run --grid inside.yaml", "'chexprt' has no synthetic images", "inside.yaml:3: base.train_on", "'chexpert'"),
    (
        "run --grid drawn.yaml",
        "'openi' has no synthetic images",
        "drawn.yaml:2: evaluate_on[0]",
        "choose from: chexpert, mimic",
    ),
    ("run --grid outside.yaml", "'mimc' has no synthetic images", "outside.yaml:2: evaluate_on[1]", "'mimic'"),
    ("run --grid own.yaml --data data", "'nih' has no entry", "own.yaml:1: base.train_on", "chexpert"),
    (
        "run --grid weights.yaml --data both --weights both",
        "1 of 1 files of starting weights are missing: resnet18",
        "both",
        "put them into this folder",
    ),
    ("predict 3fa9 nofile.png", "no such file or folder", "nofile.png", "give image files"),
    ("explain 3fa9 nofile.png", "no such file", "nofile.png", "PNG"),
    ("evaluate --model none.yaml --grid tiny", "no such file", "none.yaml", "the file's name"),
    ("evaluate --model model.yaml --grid tiniest", "no grid 'tiniest'", "--grid", "tiny"),
    (
        "evaluate --model model.yaml --grid main-study",
        "the grid main-study needs data",
        "--data",
        "main-study-smoke",
    ),
    ("compare 3fa9 3fa9 --metric accuracy", "unknown value of --metric: 'accuracy'", "--metric", "auroc, auprc, f1"),
    ("compare 3fa9 3fa9 --cohort nowhere", "unknown value of --cohort: 'nowhere'", "--cohort", ""),
    ("score --as a/b", "invalid name 'a/b'", "--as", ""),
    (
        "score --as x --mapping stric",
        "unknown value of --mapping: 'stric'",
        "--mapping",
        "did you mean 'strict'? choose from: default, strict",
    ),
    ("run --grid tiny --only resnet*", "no run matches 'resnet*'", "--only", "seresnet_tiny"),
    ("errors 3fa9 --kind tp", "unknown value of --kind: 'tp'", "--kind", "fp, fn"),
    ("run --grid tiny --executor lcal", "unknown value of --executor: 'lcal'", "--executor", "local, ray, slurm"),
    ("run --grid tiny --executor local:gpus=1", "takes no resources", "local:gpus=1", "use --device"),
    (
        "run --grid tiny --executor ray --per-device 2",
        "only valid with --executor local",
        "--executor ray",
        "ray:gpus=0.5",
    ),
    ("estimate --labels none.csv", "file 'none.csv' does not exist", "", ""),
    ("estimate --logits data --estimator atcc", "unknown estimator 'atcc'", "--estimator", "choose from: mean_gap"),
    ("reproduce 3fa9 --into runs", "cannot be reproduced in its own store", "runs", "--into"),
    ("data phantom p --size 9", "invalid value for '--size'", "", ""),
    ("upload 3fa9 --repo lab", "'lab' is not a repository name", "--repo", "OWNER/NAME"),
    ("merge p.csv --store new --rename x", "invalid rename 'x'", "--rename", "BUNDLE:OLD=NEW"),
    ("merge p.csv --store new --signers none", "the file of signers does not exist", "none", ""),
    ("reproduce ffff", "no run 'ffff' in the store", "runs", "bench list runs"),
    ("verify none.zip", "no such bundle", "none.zip", "bench export"),
    ("verify p.csv --registry none.yaml", "no such file", "none.yaml", ""),
    ("merge none.zip --store new", "no such bundle", "none.zip", "bench export"),
    ("check 3fa9 --data data", "--data is only valid without RUN", "check", "remove --data"),
    ("check 3fa9 --registry none.yaml", "--registry is only valid without RUN", "check", "remove --registry"),
    ("list runs --registry none.yaml", "--registry is only valid with a section", "list", "remove --registry"),
    ("list grids --registry none.yaml", "--registry is only valid with a section", "list", "remove --registry"),
    ("list losses --store runs", "--store is only valid with runs", "list", "remove --store"),
    ("list losses --failed", "--failed is only valid with runs", "list", "remove --failed"),
    ("compare 3fa9 3fa9 --csv --json", "--json and --csv exclude each other", "compare", "give only one"),
    ("report --site s --output p.html", "--output is only valid without --site", "report", "remove --output"),
    ("run --grid tiny --weights none", "no such folder of weights", "none", "safetensors"),
    (
        "run --grid tiny --executor ray --device cpu",
        "--device is only valid with --executor local",
        "ray",
        "ray:gpus=0",
    ),
    ("score --labels p.csv --grid tiny", "--predictions is missing", "score", "--predictions FILE and --labels FILE"),
    ("estimate --estimator cbpe", "--estimator is only valid with IMAGE", "estimate", "remove --estimator"),
    ("upload 3fa9 --folder f --public", "--public is only valid with --repo", "upload", "remove --public"),
    *(
        (words, f"{option} is only valid {when}", words.split()[0], f"remove {option}")
        for words, option, when in (
            ("run --grid tiny --together 2 --per-device 2", "--per-device", "without --together"),
            ("check --store none", "--store", "for a folder that exists"),
            ("check --workers 2", "--workers", "with --data and without --quick"),
            ("check --data data --quick --workers 2", "--workers", "with --data and without --quick"),
            ("check 3fa9 --quick", "--quick", "without RUN"),
            ("check 3fa9 --workers 2", "--workers", "without RUN"),
            ("compare 3fa9 3fa9 --at youden", "--at", "with --metric f1, precision, sensitivity, specificity or npv"),
            ("compare 3fa9 3fa9 --csv --all", "--all", "without --json and --csv"),
            ("predict 3fa9 p.csv --at youden --json", "--at", "without --json and --csv"),
            ("predict 3fa9 p.csv --trust", "--trust", "for a folder or a hub repository"),
            ("predict lab/model p.csv --store runs", "--store", "for a run of the store"),
            ("explain lab/model p.csv --store runs", "--store", "for a run of the store"),
            ("explain 3fa9 p.csv --trust", "--trust", "for a folder or a hub repository"),
            ("score --predictions p.csv --labels p.csv --store runs", "--store", "for a grid of the store"),
            ("score --labels-read standard --outputs auto", "--outputs", "with --predictions"),
            ("data stats --no-images --sample 3", "--sample", "without --no-images"),
            ("data stats --no-images --seed 3", "--seed", "without --no-images"),
            ("data stats --data data --workers 2", "--workers", "without --data and BENCH_DATA"),
            (
                "data stats --data data --store runs",
                "--store",
                "without --data and BENCH_DATA",
            ),
            ("estimate --logits data --device cpu", "--device", "with IMAGE"),
            ("estimate --device cpu", "--device", "with IMAGE"),
            ("evaluate --model model.yaml --grid tiny --device cpu", "--device", "for a network"),
        )
    ),
    ("data stats --grid tyni", "no grid 'tyni'", "--grid", "tiny"),
]


@pytest.mark.slow
def test_a_wrong_request_is_refused_before_torch_is_imported_or_an_image_is_drawn(requested: Path) -> None:
    """Wrong words of many commands, and that these import neither torch nor pandas."""
    run_id = Store.open(requested / "runs").run_ids()[0]
    own = "base: {train_on: nih, architecture: resnet18, optimizer: adamw, loss: bce, uncertainty: u_ignore, preprocessing: imagenet_64}\n"
    (requested / "own.yaml").write_text(own)
    (requested / "misspelled.yaml").write_text(
        "evaluate_on: [mimic]\n" + own.replace("train_on: nih", "train_on: chexprt")
    )
    tiny = Path(__file__).parents[4] / "grids" / "tiny.yaml"
    (requested / "inside.yaml").write_text(f"include: {tiny}\nbase:\n  train_on: chexprt\n")
    (requested / "outside.yaml").write_text(f"include: {tiny}\nevaluate_on: [nih, mimc]\n")
    (requested / "drawn.yaml").write_text(f"include: {tiny}\nevaluate_on: [openi]\n")
    (requested / "model.yaml").write_text(
        "name: ours\nmodel: {predictions: {chexpert: p.csv}}\noutputs: {kind: logit}\ntrained_on: {cohorts: []}\n"
    )
    (requested / "p.csv").touch()
    (requested / "data" / "chexpert").mkdir(parents=True)
    (requested / "both" / "nih").mkdir(parents=True)
    (requested / "weights.yaml").write_text(own.replace("_64}", "_64, weights: imagenet}"))
    calls = [
        (words.replace("3fa9", run_id[:4]).split(), requested, {"HF_HUB_OFFLINE": "1"}) for words, *_ in WRONG_REQUESTS
    ]
    for done, (words, *expected) in zip(
        without_slow_imports(calls, ("torch", "pandas", "scipy")), WRONG_REQUESTS, strict=True
    ):
        assert done.returncode == 2, words
        said = done.stderr.splitlines()[-3:]
        assert [part in line for part, line in zip(expected, said, strict=True)] == [True] * 3, (words, said)


def test_an_option_without_effect_is_refused_but_not_a_variable_of_the_environment() -> None:
    small = typer.Typer()

    @small.command()
    def look(context: typer.Context, data: DataOption = None, valid: bool = False) -> None:
        only_valid(context, valid, "with --valid", "--data")
        typer.echo(str(data))

    assert CliRunner().invoke(small, [], env={"BENCH_DATA": "d"}).stdout == "d\n"
    assert CliRunner().invoke(small, ["--data", "d", "--valid"]).stdout == "d\n"
    with pytest.raises(ConfigError, match="--data is only valid with --valid"):
        CliRunner().invoke(small, ["--data", "d"], catch_exceptions=False)


def test_the_metrics_for_which_compare_takes_a_threshold_are_those_that_need_one() -> None:
    assert [name for name, needs in BUILT_IN.items() if needs.operating_point] == list(AT_THRESHOLD)


def test_the_settings_of_bench_score_are_those_that_scores_have() -> None:
    sources = {"mapping": MAPPINGS, "labels-read": tuple(READINGS), "threshold": tuple(RULES), "unit": UNITS}
    assert sources == {choice.option: choice.values for choice in CHOICES.values()}


def test_starting_weights_without_a_network_are_refused_once_with_all_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(starting_weights, "cached_path", lambda *_: None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(request, "is_reachable", lambda: False)
    entries = Registry.read(OURS).sections["architectures"]
    with pytest.raises(SetupError, match="3 of 3 models have no starting weights") as error:
        request.checked_hub_weights([entries[name] for name in ("resnet18", "densenet121", "xception")])
    url, *others = error.value.where.split(", ")
    assert others == ["timm/densenet121.ra_in1k", "timm/resnet18.a1_in1k"]
    assert url.startswith("https://github.com/")  # the weights of Xception are not on the hub
    assert str(tmp_path) in error.value.fix
    monkeypatch.setattr(request, "is_reachable", lambda: True)
    request.checked_hub_weights([entries["resnet18"]])


def test_timm_has_the_shipped_starting_weights_where_the_check_looks_for_them() -> None:
    tags = [str(entry.options.get("name", "")) for entry in Registry.read(OURS).sections["architectures"].values()]
    elsewhere = {tag for tag in tags if "." in tag and hub_repository(tag) != f"timm/{tag}"}
    assert elsewhere == set(starting_weights.RELEASES)


@pytest.mark.slow
def test_a_dry_run_lists_the_runs_and_draws_nothing(tmp_path: Path, here: Command) -> None:
    text = here("run", "--grid", "tiny", "--dry-run", cwd=tmp_path).stdout
    assert text.count("seresnet_tiny") == 2
    assert text.endswith("nothing was run (--dry-run)\n")
    rows = json.loads(here("run", "--grid", "tiny", "--dry-run", "--json", cwd=tmp_path).stdout)
    assert [(row["id"], row["state"], row["seed"]) for row in rows] == [(None, "absent", 0), (None, "absent", 1)]
    assert not (tmp_path / "runs" / "phantom").exists()
    said = here("run", "--grid", "tiny", "--dry-run", "--only", "resnet*", cwd=tmp_path, code=2).stderr
    assert "no run matches 'resnet*'" in said


def test_the_help_of_bench_fits_on_a_screen_of_50_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert len(said("--help").splitlines()) < 50
    assert "bench run --grid demo" in said("--help")


@pytest.mark.parametrize(
    "words", ["--help", "run --help", "check --help", "data phantom --help", "compare --help", "predict --help"]
)
def test_help_fits_80_columns_and_names_values_by_words(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = said(*words.split())
    assert max(map(len, text.splitlines())) <= 80
    assert not re.search(r"<\w+[\[>\]]| \| ", text)
