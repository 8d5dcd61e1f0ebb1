"""What holds for all commands alike: options, examples, errors. Commands are found, not listed: a new one is held to it, too."""

import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import typer.main

from bench.cli.group import GROUPS
from bench.cli.main import app
from bench.store.store import Store
from tests.light_commands import without_slow_imports
from tests.nonempty import nonempty

Command = Callable[..., "subprocess.CompletedProcess[str]"]
ROOT = Path(__file__).parents[2]
MAKES_ITS_STORE = {
    "run",
    "evaluate",
    "data stats",
    "data batch",
    "merge",
    "app",
}  # the page of `app` says what to do where there is none
OWN_MEANING = {  # options that mean another thing under the same name, where no other name would be plainer
    "--at": "a rule of thresholds, or the hospital of an adaptation",
    "--as": "a grid's name: of scores read otherwise, of a merged store",
    "--cohort": "the hospitals of a grid to show",
    "--data": "check makes no synthetic cohorts without it",
    "--device": "of the networks, or the one to test",
    "--dry-run": "each command says what it would do",
    "--finding": "the one that a phantom's shortcut goes with",
    "--grid": "a file or a shipped name to run, a name in the store to read, label spaces for statistics",
    "--labels": "of all images that are scored, or of some images of a hospital",
    "--model": "a model to test, or the folder of a text model",
    "--output": "what is written differs",
    "--registry": "score: without it the metrics that the grid was run with",
    "--run": "one run whose labels are counted, or several to estimate",
    "--seed": "of phantoms, or of a sample",
    "--store": "merge: a new one",
    "--with-images": "small pictures in the gallery, or on the page about data",
}
QUICK = {
    "app",
    "compare",
    "errors",
    "card",
    "prompts",
    "readers",
    "remove",
    "upload",
    "list",
}  # no progress to be quiet about
TEXT_ONLY = {
    "app",
    "card",
    "merge",
    "prompts",
    "readers",
    "remove",
    "data batch",
    "data phantom",
    "data get",
    "data people",
}  # they write files, or a page, and say where


def leaves(command: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if hasattr(command, "commands"):
        for word, each in command.commands.items():
            yield from leaves(each, f"{name} {word}".strip())
    else:
        yield name, command


def groups_of_commands(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if hasattr(command, "commands"):
        yield words
        for word, each in command.commands.items():
            yield from groups_of_commands(each, (*words, word))


COMMANDS = dict(leaves(typer.main.get_command(app)))


def options(command: Any) -> dict[str, Any]:
    return {parameter.opts[0]: parameter for parameter in command.params if parameter.param_type_name == "option"}


def test_an_option_has_one_help_and_one_default_wherever_it_stands() -> None:
    seen: dict[str, set[tuple[str, str, tuple[str, ...]]]] = {}
    for command in COMMANDS.values():
        for name, parameter in options(command).items():
            spelt = tuple(parameter.opts + parameter.secondary_opts)
            seen.setdefault(name, set()).add((parameter.help, str(parameter.default), spelt))
    differs = {name for name, kinds in seen.items() if len(kinds) > 1}
    assert differs <= set(OWN_MEANING), differs - set(OWN_MEANING)
    assert all(parameter.help for command in COMMANDS.values() for parameter in options(command).values())


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_every_command_ends_with_examples_that_it_understands(name: str) -> None:
    mark, heading, *examples = (COMMANDS[name].epilog or "").splitlines()
    assert mark == "\b", "each example keeps its line"
    assert heading.startswith("Example")
    assert all(len(example) <= 78 for example in examples), "a terminal of 80 columns shows it"
    assert any(f"bench {name} " in f"{example} " for example in examples)
    for example in examples:
        words = example.split()
        if words[:1] == ["bench"] and f"bench {name} " in f"{example} ":
            known = {o for p in COMMANDS[name].params for o in (*p.opts, *p.secondary_opts)}
            assert {word for word in words if word.startswith("-") and word != "-"} <= known


@pytest.mark.parametrize("words", list(groups_of_commands(typer.main.get_command(app))))
def test_the_list_of_commands_begins_with_the_first_one_needed_and_cuts_no_sentence_off(
    words: tuple[str, ...], tmp_path: Path, here: Command
) -> None:
    said = here(*words, "--help", cwd=tmp_path).stdout
    assert "..." not in said.replace("COMMAND [ARGS]...", "")
    if not words:
        groups = {g: said.partition(f"\n{g}:\n")[2].partition("\n\n")[0].splitlines() for g in GROUPS}
        listed = [line.split()[0] for lines in groups.values() for line in lines]
        assert listed[0] == "run"
        assert sorted(listed) == sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
        assert all(len(line) <= 80 for line in said.splitlines())
        assert len(said.splitlines()) <= 56


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_are_quiet_and_speak_json_where_a_script_wants_it(name: str) -> None:
    assert ("--quiet" in options(COMMANDS[name])) or name in QUICK
    assert ("--json" in options(COMMANDS[name])) or name in TEXT_ONLY


def minimal(name: str, folder: Path, run: str) -> list[str]:
    """Return the fewest words that a command takes, with this beginning of a run's id."""
    words = name.split()
    for parameter in COMMANDS[name].params:
        if parameter.param_type_name == "argument":
            if parameter.name in ("run", "first", "second", "runs"):
                words.append(run)
            elif name == "list":
                words += ["runs"] if parameter.name == "section" else []
            elif parameter.required:
                path = folder / "x.zip"
                path.write_bytes(b"")
                words.append(str(path))
        elif parameter.required:
            values = {"--repo": "lab/net", "--output": str(folder / "x.zip"), "--grid": "tiny", "--store": "new", "--model": model_yaml(folder), "--table": "nih=x.csv", "--at": "nih"}  # fmt: skip
            words += [parameter.opts[0], values[parameter.opts[0]]]
    return words + {"remove": ["--yes"], "upload": ["--repo", "lab/net"]}.get(name, [])


def model_yaml(folder: Path) -> str:
    """Return a model.yaml that can be read, of predictions on one cohort."""
    (folder / "nih.csv").write_text("image_id,Edema\n1,0.5\n")
    words = (
        "name: A model\nmodel: {predictions: {nih: nih.csv}}\noutputs: {kind: probability}\ntrained_on: {cohorts: []}\n"
    )
    (folder / "model.yaml").write_text(words)
    return str(folder / "model.yaml")


def is_refused(done: "subprocess.CompletedProcess[str]", *said: str) -> None:
    lines = done.stderr.strip().splitlines()
    at = next(k for k, line in enumerate(lines) if line.startswith("error: "))
    assert "Traceback" not in done.stderr
    assert lines[at + 1].startswith("where: ")
    assert lines[at + 2].strip().startswith("fix: ")
    for word in said:
        assert word in "\n".join(lines[at:])


def are_refused_at_once(commands: dict[str, list[str]], folder: Path, *said: str) -> None:
    """Run commands that have to refuse their words, and hold them to do so before they import a library that takes long."""
    for done in nonempty(without_slow_imports([(words, folder, {}) for words in commands.values()])):
        assert (done.returncode, done.stdout) == (2, ""), done
        is_refused(done, *said)


def folder_of(name: str, folder: Path) -> Path:
    """Return a new folder for the files of a command."""
    (folder / name).mkdir()
    return folder / name


READS_A_STORE = [name for name, command in COMMANDS.items() if "--store" in options(command) and name not in MAKES_ITS_STORE]  # fmt: skip


def test_a_missing_store_is_said_by_every_command(tmp_path: Path) -> None:
    asked = {name: [*minimal(name, folder_of(name, tmp_path), "3fa9"), "--store", "nowhere"] for name in READS_A_STORE}
    are_refused_at_once(asked, tmp_path, "no run store", "nowhere", "--store")
    assert not (tmp_path / "nowhere").exists()


def about_runs() -> Sequence[str]:
    named = {"run", "first", "runs"}
    return [name for name, c in COMMANDS.items() if any(p.param_type_name == "argument" and p.name in named for p in c.params)]  # fmt: skip


@pytest.mark.grid
def test_an_unknown_run_is_said_by_every_command(finished: Path, tmp_path: Path) -> None:
    known = Store.open(finished / "runs", create=False).run_ids()
    unknown = next(digit for digit in "0123456789abcdef" if not any(i.startswith(digit) for i in known)) + "999"
    asked = {
        name: [*minimal(name, folder_of(name, tmp_path), unknown), "--store", str(finished / "runs")]
        for name in about_runs()
    }
    are_refused_at_once(asked, tmp_path, f"no run '{unknown}'", "bench list runs")


@pytest.mark.grid
def test_a_wrong_grid_is_said_by_every_command(finished: Path, tmp_path: Path) -> None:
    run, asked = Store.open(finished / "runs", create=False).run_ids()[0], {}
    for name in (name for name, command in COMMANDS.items() if "--grid" in options(command)):
        words = minimal(name, folder_of(name, tmp_path), run)
        if "--grid" in words:
            words = words[: words.index("--grid")] + words[words.index("--grid") + 2 :]
        asked[name] = [*words, "--grid", "tyni", "--store", str(finished / "runs")]
    are_refused_at_once(asked, tmp_path, "no grid 'tyni'", "tiny")


@pytest.mark.grid
def test_scores_and_pages_speak_json(store_copy: Path, here: Command) -> None:
    runs = Store.open(store_copy / "runs", create=False).run_ids()
    assert sorted(json.loads(here("score", "--quiet", "--json", cwd=store_copy).stdout)["scored"]) == runs
    pytest.importorskip("bench.extensions.bundles")
    said = json.loads(here("export", "-o", "x.zip", "--quiet", "--json", cwd=store_copy).stdout)
    assert sorted(said["runs"]) == runs
    assert (store_copy / said["bundle"]).is_file()
