"""The block `search` of a grid: draws, the runs of all trials, and what is refused."""

import math
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.config.grid import Grid
from bench.config.registry import Registry
from bench.config.search import Space
from harmonize.errors import ConfigError

BASE = """
name: searched
evaluate_on: [nih]
base:
  architecture: seresnet_tiny
  optimizer: adamw
  loss: bce
  uncertainty: u_ignore
  preprocessing: imagenet_64
"""
REGISTRY = Registry.read()
NUMBERS = st.floats(1e-6, 1e3)


def read(tmp_path: Path, text: str) -> Grid:
    path = tmp_path / "grid.yaml"
    path.write_text(BASE + text)
    return Grid.read(str(path), REGISTRY)


@given(low=NUMBERS, high=NUMBERS, kind=st.sampled_from(["log", "linear"]), seed=st.integers(0), trial=st.integers(1))
def test_a_drawn_number_lies_in_its_bounds_and_has_four_digits(
    low: float, high: float, kind: str, seed: int, trial: int
) -> None:
    low, high = sorted((low, high))
    number = Space("schedule.lr", kind, (low, high)).draw(seed, trial)
    assert low <= number <= high
    assert number in (low, high, float(f"{number:.4g}"))


@given(low=st.integers(1, 50), width=st.integers(1, 50), kind=st.sampled_from(["log", "linear"]))
def test_a_whole_number_is_drawn_from_all_numbers_of_its_range(low: int, width: int, kind: str) -> None:
    space = Space("schedule.batch_size", kind, (low, low + width), is_whole=True)
    drawn = {space.draw(0, trial) for trial in range(3000)}
    assert drawn == set(range(low, low + width + 1))
    assert {type(number) for number in drawn} == {int}


def test_numbers_are_uniform_on_their_scale_and_keys_are_independent() -> None:
    def shares(key: str, kind: str) -> list[float]:
        drawn = [Space(key, kind, (1e-5, 1e-1)).draw(3, trial) for trial in range(1, 2001)]
        scale = [math.log10(x) / 4 + 1.25 for x in drawn] if kind == "log" else [x / 1e-1 for x in drawn]
        return sorted(scale) if key == "schedule.lr" else scale

    for kind in ("log", "linear"):
        gaps = [abs(share - i / 2000) for i, share in enumerate(shares("schedule.lr", kind))]
        assert max(gaps) < 1.63 / math.sqrt(2000)  # Kolmogorov-Smirnov, level 1 %
    one, other = shares("schedule.ema", "log"), shares("schedule.clip", "log")
    products = [(a - 0.5) * (b - 0.5) for a, b in zip(one, other, strict=True)]
    assert abs(sum(products) / len(products)) * 12 < 3 / math.sqrt(2000)


def test_every_value_of_a_choice_is_drawn_about_as_often() -> None:
    space = Space("schedule.batch_size", "choice", (8, 16, 32))
    drawn = [space.draw(1, trial) for trial in range(3000)]
    assert all(abs(drawn.count(value) - 1000) < 4 * math.sqrt(3000 * 2 / 9) for value in (8, 16, 32))


OVER = "over: {schedule.lr: [log, 0.0001, 0.01], schedule.batch_size: [choice, 8, 16]}"


def test_another_algorithm_key_or_trial_changes_no_other_draw(tmp_path: Path) -> None:
    few = read(tmp_path, f"search: {{trials: 4, {OVER}}}\n")
    more = read(
        tmp_path,
        "sweeps: [{loss: [focal, bce]}]\nsearch: {trials: 9, over: {schedule.warmup: [linear, 0, 0.2],"
        f"{OVER.removeprefix('over: {')}}}\n",
    )
    assert few.search
    assert more.search
    (own,) = few.search.configs
    same = next(row for row in more.search.configs if row[0] == own[0])
    for mine, others in zip(own, same[:4], strict=True):
        assert (mine.schedule.lr, mine.schedule.batch_size) == (others.schedule.lr, others.schedule.batch_size)


def test_every_setting_of_a_grid_gets_the_same_trials(tmp_path: Path) -> None:
    text = "sweeps: [{loss: [bce, focal], seed: [0, 1]}]\n"
    plain, grid = read(tmp_path, text), read(tmp_path, f"{text}search: {{trials: 3, seed: 5, {OVER}}}\n")
    assert grid.search
    assert tuple(row[0] for row in grid.search.configs) == plain.configs == grid.configs[:4]
    assert len(grid.configs) == 12
    assert len({tuple(config.schedule for config in row) for row in grid.search.configs}) == 1
    for row in grid.search.configs:
        assert {(config.loss, config.seed) for config in row} == {(row[0].loss, row[0].seed)}
        for trial, config in enumerate(row[1:], 1):
            drawn = grid.search.drawn(trial)
            assert (config.schedule.lr, config.schedule.batch_size) == (*drawn.values(),)


def test_equal_settings_of_two_trials_are_one_run(tmp_path: Path) -> None:
    grid = read(tmp_path, "search: {trials: 20, over: {schedule.batch_size: [choice, 8, 16, 64]}}\n")
    assert sorted(config.schedule.batch_size for config in grid.configs) == [8, 16, 64]
    assert grid.search
    assert [len(row) for row in grid.search.configs] == [20]


def test_trials_of_a_leave_one_out_grid_leave_out_the_same_hospital(tmp_path: Path) -> None:
    text = "leave_one_out: true\nbase: {train_on: [chexpert, mimic]}\n"
    path = tmp_path / "grid.yaml"
    (tmp_path / "parent.yaml").write_text(BASE)
    path.write_text(f"include: parent.yaml\n{text}search: {{trials: 3, over: {{schedule.lr: [log, 0.0001, 0.01]}}}}\n")
    grid = Grid.read(str(path), REGISTRY)
    assert grid.search
    assert [[config.leave_out for config in row] for row in grid.search.configs] == [["chexpert"] * 3, ["mimic"] * 3]
    for earlier, later in pairwise(grid.search.configs):
        assert [config.schedule for config in earlier] == [config.schedule for config in later]


LR = "over: {schedule.lr: [log, 0.0001, 0.01]}"


@pytest.mark.parametrize(
    ("text", "what", "where"),
    [
        (f"tta: [three_views]\nsearch: {{trials: 3, {LR}}}", "cannot have `tta`", "tta"),
        (f"ensembles: [{{name: all}}]\nsearch: {{trials: 3, {LR}}}", "cannot have `ensembles`", "ensembles"),
        (
            f"sweeps: [{{task: binary, finding: [Edema, Effusion]}}]\nsearch: {{trials: 3, {LR}}}".replace(
                "Effusion", "Pleural Effusion"
            ),
            "`task: binary`",
            "search",
        ),
        (
            f"sweeps: [{{schedule.lr: [0.1, 0.2]}}]\nsearch: {{trials: 3, {LR}}}",
            "names it, too",
            "sweeps[0].schedule.lr",
        ),
        (f"sweeps: [{{schedule: [{{lr: 0.1}}]}}]\nsearch: {{trials: 3, {LR}}}", "names it, too", "sweeps[0].schedule"),
        (f"skip: [{{schedule.lr: 0.1}}]\nsearch: {{trials: 3, {LR}}}", "names it, too", "skip[0].schedule.lr"),
        (f"search: {{trials: 1, {LR}}}", "trials must be a whole number of at least 2", "search.trials"),
        (f"search: {{{LR}}}", "trials is missing", "search"),
        (f"search: {{trials: 3, seed: -1, {LR}}}", "seed must be", "search.seed"),
        (f"search: {{trials: 3, sed: 1, {LR}}}", "unknown key 'sed'", "search.sed"),
        ("search: {trials: 3}", "over is missing", "search"),
        ("search: {trials: 3, over: {1: [choice, 2, 3]}}", "a key of over is not a text", "search.over"),
        ("search: [3]", "expected a block of keys", "search"),
        ("search: {trials: 3, over: {schedule.rate: [log, 1, 2]}}", "cannot be searched", "search.over.schedule.rate"),
        ("search: {trials: 3, over: {seed: [choice, 1, 2]}}", "cannot be searched", "search.over.seed"),
        ("search: {trials: 3, over: {schedule.lr: 0.1}}", "a list with a kind", "search.over.schedule.lr"),
        ("search: {trials: 3, over: {schedule.lr: [normal, 0, 1]}}", "a list with a kind", "search.over.schedule.lr"),
        ("search: {trials: 3, over: {schedule.lr: [log, 0, 1]}}", "above 0", "search.over.schedule.lr"),
        ("search: {trials: 3, over: {schedule.lr: [linear, 1, 1]}}", "must rise", "search.over.schedule.lr"),
        ("search: {trials: 3, over: {schedule.lr: [linear, 0, 1, 2]}}", "two numbers", "search.over.schedule.lr"),
        (
            "search: {trials: 3, over: {schedule.epochs: [linear, 1.5, 2]}}",
            "whole numbers",
            "search.over.schedule.epochs",
        ),
        ("search: {trials: 3, over: {schedule.kind: [linear, 1, 2]}}", "is no number", "search.over.schedule.kind"),
        ("search: {trials: 3, over: {schedule.lr: [choice, 1, 1]}}", "twice", "search.over.schedule.lr"),
        # valid spaces whose values do not fit the other settings
        ("search: {trials: 9, over: {schedule.lr: [choice, 0.1, fast]}}", "trial", "search.over.schedule.lr"),
        ("search: {trials: 9, over: {lora.rank: [linear, 2, 9]}}", "only valid with `head: lora`", "search.over"),
        (
            "search: {trials: 9, over: {schedule.warmup: [linear, 1, 2]}}",
            "warmup must be",
            "search.over.schedule.warmup",
        ),
        (
            f"sweeps: [{{seed: [{', '.join(map(str, range(11)))}]}}]\nsearch: {{trials: 1000, {LR}}}",
            "more than 10,000 runs",
            "search.trials",
        ),
    ],
)
def test_a_search_that_cannot_be_run_is_refused_with_its_place(
    tmp_path: Path, text: str, what: str, where: str
) -> None:
    with pytest.raises(ConfigError) as error:
        read(tmp_path, f"{text}\n")
    assert what in error.value.what
    assert error.value.where.endswith(f": {where}")
    assert error.value.fix
