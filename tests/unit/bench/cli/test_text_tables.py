"""Tables on a terminal: they fit its width, and numbers stay whole."""

import sys

import pytest

from bench.cli import list_tables
from bench.cli.progress_bars import LineDisplay, TimeLeft, choose_display
from bench.cli.text_tables import table_lines, wrapped
from bench.config.grid_file import describe_grids
from bench.config.registry import SECTIONS, Registry
from bench.results.stored_runs import RunSummary
from bench.study.job_progress import Overall

SHOWN = [["finding", "first", "95 % interval", "about"], ["Edema", "0.812", "[0.799, 0.824]", "a " * 60]]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 80 columns."""
    monkeypatch.setenv("TERM", "dumb")  # without bold letters
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.usefixtures("terminal")
def test_text_is_wrapped_and_numbers_stay_whole() -> None:
    lines = table_lines(SHOWN)
    assert max(map(len, lines)) <= 80
    assert any("0.812" in line and "[0.799, 0.824]" in line for line in lines)


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize("cell", ["0.025 to 0.066", "- to 0.900", "[-0.020, +0.030]"])
def test_a_range_is_never_broken(cell: str) -> None:
    lines = table_lines([["finding", "10-90 %", "about", "p"], ["Edema", cell, "word " * 40, "<.001"]])
    assert max(map(len, lines)) <= 80
    assert any(cell in line for line in lines)


@pytest.mark.usefixtures("terminal")
def test_a_long_file_name_leaves_space_for_other_columns() -> None:
    row = ["patient/" + "7" * 100, "padchest", "Pleural Effusion", "fp", "0.981"]
    lines = table_lines([["image_id", "dataset", "finding", "kind", "calibrated"], row])
    assert max(map(len, lines)) <= 80
    assert any("0.981" in line for line in lines)


@pytest.mark.usefixtures("terminal")
def test_columns_without_space_are_named_below_the_table() -> None:
    number = "123,456,789.123456"
    lines = table_lines([list("abcde"), [number] * 5])
    assert lines[-1].startswith("not shown: d, e")
    assert sum(line.count(number) for line in lines) == 3


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize("section", [*SECTIONS, "grids"])
def test_every_list_fits_80_columns(section: str) -> None:
    entries = [] if section == "grids" else list(Registry.read(None).sections[section].values())
    rows = list_tables.described(section, entries) if entries else [["a", "b", "c"], *map(list, describe_grids())]
    lines = table_lines(rows)
    assert max(map(len, lines)) <= 80
    for row in rows[1:]:
        assert any(line.startswith(f"{row[0]} ") for line in lines), row[0]


@pytest.mark.usefixtures("terminal")
def test_the_list_of_runs_fits_100_columns_with_a_column_for_each_grid_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = ", ".join(f"schedule.lr {i}" for i in range(40))
    grids = [f"grid-{i}" for i in range(5)]
    runs = [
        RunSummary(i, "done", "run", "", "seresnet_tiny", settings, {}, s, 0.592, [], grids, "2026-11-29", "")
        for s, i in enumerate(("65b03389f203", "bbd89d8a03d7"))
    ]
    lines = table_lines(list_tables.run_table(runs, {}))
    assert max(map(len, lines)) <= 80
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False)
    lines = table_lines(list_tables.run_table(runs, {}))
    assert max(map(len, lines)) <= 100
    assert "5 grids" in lines[1]
    of_grids = {"grid-0": {"65b03389f203": 0.592}, "grid-1": {"65b03389f203": 0.611, "bbd89d8a03d7": 0.7}}
    head, first, second = table_lines(list_tables.run_table(runs, of_grids))
    assert max(map(len, (head, first, second))) <= 100
    assert head.endswith("grid-0 AUROC  grid-1 AUROC")
    assert first.split()[-2:] == ["0.592", "0.611"]
    assert second.split()[-2:] == ["–", "0.700"]


@pytest.mark.usefixtures("terminal")
def test_notes_are_wrapped_and_numbered_causes_have_their_own_lines() -> None:
    lines = wrapped(["warn run 3fa9: " + "word " * 40 + "\n       1. first cause\n       2. second " + "cause " * 20])
    assert max(map(len, lines)) <= 80
    assert [line.strip()[:2] for line in lines if line.strip()[1:2] == "."] == ["1.", "2."]


def test_errors_are_wrapped_if_standard_error_is_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    error = f"error: no grid 'x'\nwhere: --grid\n  fix: choose {'from ' * 30}"
    assert max(map(len, wrapped([error], stderr=True))) <= 80
    assert wrapped([error]) == [error], "standard output is no terminal"


@pytest.mark.usefixtures("terminal")
def test_the_bold_header_of_a_table_is_not_wrapped() -> None:
    header = "  ".join(
        f"\x1b[1m{name}\x1b[0m" for name in ("finding", "probability", "calibrated", "call (f1_max)", "p")
    )
    assert wrapped([header]) == [header]


def test_in_a_pipe_each_row_is_one_line() -> None:
    assert len(table_lines(SHOWN)) == 2


@pytest.mark.parametrize(
    ("quiet", "said"), [(True, "a hospital is left out\n"), (False, "a run is done\na hospital is left out\n")]
)
def test_warnings_are_shown_also_without_progress(quiet: bool, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with choose_display(quiet) as display:
        display.say("a run is done")
        display.warn("a hospital is left out")
    assert capsys.readouterr() == ("", said)


class Recorder(LineDisplay):
    """A display that keeps what it is told."""

    def __init__(self) -> None:
        super().__init__(every_s=0)
        self.overall: list[tuple[int, float, int]] = []

    def overall_progress(self, what: str, finished: int, done: float, total: int) -> None:
        self.overall.append((finished, round(done, 3), total))

    def say(self, text: str) -> None:
        """Print nothing."""


def test_unfinished_trainings_count_in_part_among_all_runs() -> None:
    display = Recorder()
    overall = Overall(display, "runs", 1, 4)
    overall.on_event("one", "epoch 5/10, loss 0.4, val AUROC 0.8", 50, 100)
    overall.on_event("one", "predict nih", 1, 100)
    overall.finish("one")
    assert display.overall == [(1, 1.475, 4), (2, 2.0, 4)]


def test_the_time_left_starts_anew_with_a_new_task() -> None:
    left = TimeLeft()
    assert left.seconds(0, 10) is None
    assert left.seconds(5, 10) is not None
    assert left.seconds(1, 10) is None
    assert left.seconds(2, 20) is None
