"""Grid files: sweeps, includes, skips, and errors with location and fix."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from bench.config.grid import Grid
from bench.config.grid_file import find, shipped_grids
from bench.config.registry import Registry
from bench.config.run_config import HeadWeights, RunConfig, Schedule, differing, from_dict
from bench.config.run_names import RunName
from bench.study.request import check_foreign
from harmonize.errors import ConfigError, RegistryError
from tests.nonempty import nonempty

BASE = """
name: small
evaluate_on: [nih]
base:
  architecture: seresnet_tiny
  optimizer: adamw
  loss: bce
  uncertainty: u_ignore
  preprocessing: imagenet_64
"""


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.read()


def read(tmp_path: Path, text: str, registry: Registry) -> Grid:
    path = tmp_path / "grid.yaml"
    path.write_text(BASE + text)
    return Grid.read(str(path), registry)


def test_images_below_the_minimum_size_of_a_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("schema: 1\ninclude: shipped\npreprocessing: {small: {size: 24, ops: [imagenet]}}\n")
    mine = Registry.read(path)
    assert (
        len(read(tmp_path, "sweeps: [{preprocessing: small, architecture: [resnet18, tresnet_m]}]\n", mine).configs)
        == 2
    )
    with pytest.raises(ConfigError, match="densenet121 cannot take images of 24 pixels") as error:
        read(tmp_path, "sweeps: [{preprocessing: small, architecture: densenet121}]\n", mine)
    assert "32 pixels or more" in error.value.fix


def test_a_pattern_leaves_out_what_cannot_run_and_says_why(tmp_path: Path, registry: Registry) -> None:
    grid = read(tmp_path, 'sweeps: [{optimizer: "*", precision: fp16}]\n', registry)
    assert 1 < len(grid.configs) < len(registry.sections["optimizers"])
    assert "left out, because sam cannot train with fp16: 1 combination(s) of a pattern" in grid.left_out
    with pytest.raises(ConfigError, match="cannot train with fp16") as error:
        read(tmp_path, "sweeps: [{optimizer: [adamw, sam], precision: fp16}]\n", registry)
    assert "`skip:` removes single combinations" in error.value.fix
    with pytest.raises(ConfigError, match="cannot train with fp16"):
        read(tmp_path, 'sweeps: [{optimizer: "*sam", precision: fp16}, {optimizer: adamw}]\n', registry)


@pytest.mark.parametrize("name", shipped_grids())
def test_the_registry_states_licence_and_size_of_every_architecture_of_a_shipped_grid(
    name: str, registry: Registry
) -> None:
    for architecture in nonempty({config.architecture for config in Grid.read(name, registry).configs}):
        entry = registry.sections["architectures"][architecture]
        assert {"params", "gmacs", "family"} <= entry.facts.keys()
        if entry.use.endswith(":timm_model"):  # the project's own networks have no pretrained weights
            assert entry.licence
            assert entry.facts["corpus"]


@pytest.mark.parametrize("name", shipped_grids())
def test_every_shipped_grid_has_the_expected_number_of_runs(name: str, registry: Registry) -> None:
    grid = Grid.read(name, registry)
    assert grid.expect.runs == len(grid.configs)


def test_sweeps_are_a_union_of_products_without_duplicates(tmp_path: Path, registry: Registry) -> None:
    text = "sweeps:\n  - {optimizer: [adamw, sgd], seed: [0, 1]}\n  - {loss: [bce, focal]}\n"
    grid = read(tmp_path, text, registry)
    assert len(grid.configs) == 5
    assert {(c.optimizer, c.seed) for c in grid.configs if c.loss == "bce"} == {
        ("adamw", 0),
        ("adamw", 1),
        ("sgd", 0),
        ("sgd", 1),
    }


def test_globs_match_registry_names_and_dotted_keys_reach_into_blocks(tmp_path: Path, registry: Registry) -> None:
    grid = read(tmp_path, 'sweeps:\n  - {uncertainty: "u_?*s", schedule.lr: [1e-3, 1e-4]}\n', registry)
    assert {c.uncertainty for c in grid.configs} == {"u_ones", "u_zeros", "u_multiclass"}
    assert len(grid.configs) == 6
    assert {c.schedule.lr for c in grid.configs} == {1e-3, 1e-4}


def test_skip_removes_runs_that_meet_all_conditions(tmp_path: Path, registry: Registry) -> None:
    text = 'sweeps:\n  - {architecture: ["resnet*", seresnet_tiny], seed: [0, 1]}\nskip:\n  - {architecture: "resnet*", seed: 1}\n'
    grid = read(tmp_path, text, registry)
    assert {(c.architecture, c.seed) for c in grid.configs if c.seed == 1} == {("seresnet_tiny", 1)}


def test_skip_removes_invalid_combinations_before_they_are_checked(tmp_path: Path, registry: Registry) -> None:
    text = "sweeps:\n  - {uncertainty: [u_ones, u_multiclass], loss: [bce, focal]}\nskip:\n  - {uncertainty: u_multiclass, loss: focal}\n"
    assert len(read(tmp_path, text, registry).configs) == 3


def test_a_grid_of_one_network_per_finding_is_valid(tmp_path: Path, registry: Registry) -> None:
    grid = read(tmp_path, "sweeps:\n  - {task: binary, finding: [Edema, Pneumonia]}\n  - {}\n", registry)
    assert [c.findings for c in grid.configs[:2]] == [("Edema",), ("Pneumonia",)]
    assert len(grid.configs[2].findings) == 9


@pytest.mark.parametrize(
    ("text", "what", "where", "fix"),
    [
        ("sweeps:\n  - {architecture: densnet121}\n", "densnet121", "sweeps[0].architecture", "densenet121"),
        ("sweeps:\n  - {optimiser: adamw}\n", "optimiser", "sweeps[0].optimiser", "optimizer"),
        ("sweps: []\n", "sweps", "sweps", "sweeps"),
        ("sweeps:\n  - {seed: []}\n", "empty list", "sweeps[0].seed", "at least one"),
        ("sweeps:\n  - {seed: [zero]}\n", "zero", "sweeps[0].seed", "a whole number"),
        ("sweeps:\n  - {schedule.epochs: 0}\n", "at least 1 (got 0)", "sweeps[0].schedule.epochs", "a whole number"),
        ("sweeps:\n  - {optimizer: sam, precision: fp16}\n", "fp16", "sweeps[0].precision", "bf16"),
        ("sweeps:\n  - {weights: imagenet}\n", "no ImageNet weights", "sweeps[0].weights", "none"),
        ("sweeps:\n  - {task: binary}\n", "requires `finding: NAME`", "sweeps[0]", ""),
        ("sweeps:\n  - {finding: Edema}\n", "requires `finding: NAME`", "sweeps[0]", ""),
        ("sweeps:\n  - {task: binary, finding: Hernia}\n", "no finding 'Hernia'", "sweeps[0].finding", "Edema"),
        ("sweeps:\n  - {task: binary, finding: Edemma}\n", "'Edemma'", "sweeps[0].finding", "did you mean 'Edema'"),
        ("sweeps:\n  - {space: shared9}\n", "'shared9'", "space", "did you mean 'shared-9'"),
        ("sweeps:\n  - {heads: dual, space: chexpert-5}\n", "normal", "sweeps[0].heads", "No Finding"),
        (
            "sweeps:\n  - {heads: dual, task: binary, finding: Edema}\n",
            "cannot have the additional head",
            "sweeps[0].heads",
            "multilabel",
        ),
        ("sweeps:\n  - {head_weights: {sex: 0.1}}\n", "has no effect", "sweeps[0]", ""),
        ("sweeps:\n  - {heads: dual, head_weights.sex: 0.1}\n", "has no effect", "sweeps[0]", ""),
        (
            "sweeps:\n  - {heads: dual, head_weights.abnormal: -1}\n",
            "of at least 0 (got -1)",
            "sweeps[0].head_weights.abnormal",
            "",
        ),
        ("sweeps:\n  - {uncertainty: explicit_only}\n", "needs `blank: ignore`", "sweeps[0].blank", "blank: ignore"),
        (
            "sweeps:\n  - {uncertainty: u_multiclass, loss: focal}\n",
            "cannot be trained with focal",
            "sweeps[0].loss",
            "bce",
        ),
        ("sweeps:\n  - {algorithm: groupdr0}\n", "groupdr0", "sweeps[0].algorithm", "groupdro"),
        (
            "sweeps:\n  - {algorithm: irm, schedule: {batch_size: 32, micro_batch: 8}}\n",
            "micro-batches",
            "sweeps[0].schedule.micro_batch",
            "batch_size: 8",
        ),
        ("sweeps:\n  - {algorithm: irm, schedule.sampling: balanced}\n", "fill the batches", "sampling", "remove"),
        ("sweeps:\n  - {algorithm: irm, optimizer: [adamw, sam]}\n", "several times", "optimizer", "adamw"),
        ("sweeps:\n  - {algorithm: coral, compile: true}\n", "the features", "sweeps[0].compile", "remove `compile`"),
        ("sweeps:\n  - {algorithm: swa, schedule.ema: 0.9}\n", "both average", "sweeps[0].schedule.ema", "remove"),
        ("sweeps:\n  - {algorithm: swa, optimizer: schedulefree}\n", "both average", "optimizer", "remove"),
        ("sweeps:\n  - {algorithm: swa, schedule.patience: 1}\n", "may stop before", "schedule.patience", "remove"),
        (
            "sweeps:\n  - {algorithm: swa, schedule: {epochs: 1}}\n",
            "none begins there",
            "schedule.epochs",
            "at least 2",
        ),
        ("sweeps:\n  - {algorithm: jtt}\n", "trains twice", "sweeps[0].schedule.pretrain_epochs", "first training"),
        (
            "sweeps:\n  - {algorithm: jtt, schedule.pretrain_epochs: 1, schedule.freeze_epochs: 1}\n",
            "first training only",
            "schedule.freeze_epochs",
            "remove",
        ),
        ("sweeps:\n  - {schedule.pretrain_epochs: 1}\n", "cross-entropy already", "schedule.pretrain_epochs", "remove"),
        ('sweeps:\n  - {algorithm: [irm, coral], groups: ""}\n', "needs groups", "sweeps[0].groups", "name a column"),
        ("evaluate_on: [nih]\n", "repeated", "grid.yaml", ""),
        ("sweeps:\n  - {mapping: [default, strict]}\n", "the same mapping", "mapping", "one grid for each"),
        ("skip:\n  - {architecture: seresnet_tinny}\n", "seresnet_tinny", "skip[0].architecture", "seresnet_tiny"),
        ("skip:\n  - {schedule.epoch: 1}\n", "schedule.epoch", "skip[0]", "docs/grids.md"),
        ("skip:\n  - {seed: 5}\n", "removes no run", "skip[0]", "remove it"),
        (
            "sweeps:\n  - {train_on: [[chexpert, nih]], leave_out: ['', nih]}\n",
            "others leave out none",
            "leave_out",
            "two grids",
        ),
        (
            "sweeps: [{train_on: [[a, b]], leave_out: a, seed: 1}, {train_on: [[a, b]], leave_out: b, schedule.lr: .1}]\n",
            "configurations leave out different hospitals",
            "leave_out",
            "one grid for each",
        ),
        ("sweeps:\n  - {train_on: [chexpert, nih]}\n", "the same train_on", "train_on", "one grid for each"),
        ("expect: {runs: 7}\n", "the grid has 1 runs, but expect.runs is 7", "expect.runs", "correct"),
        ("min_count: 0\n", "min_count must be a whole number of at least 1 (got 0)", "min_count", "whole number"),
        ("useful: 0.4\n", "useful is 0.4", "useful", "between .5 and 1"),
        ("split: {train: 0.9, val: 0.2, test: 0.1}\n", "sum to 1", "split", ""),
    ],
)
def test_an_invalid_grid_is_refused_with_location_and_fix(
    tmp_path: Path, registry: Registry, text: str, what: str, where: str, fix: str
) -> None:
    with pytest.raises(ConfigError) as error:
        read(tmp_path, text, registry)
    assert what in error.value.what
    assert where in error.value.where
    assert fix in error.value.fix


def test_an_algorithm_that_trains_twice_states_its_first_training_as_pretraining(
    tmp_path: Path, registry: Registry
) -> None:
    grid = read(tmp_path, "sweeps:\n  - {algorithm: jtt, schedule.pretrain_epochs: [1, 2]}\n", registry)
    assert [config.schedule.pretrain_epochs for config in grid.configs] == [1, 2]


def test_a_network_without_one_output_layer_has_no_features_for_an_algorithm(
    tmp_path: Path, registry: Registry
) -> None:
    text = "sweeps:\n  - {algorithm: %s, architecture: timm:deit_tiny_distilled_patch16_224, preprocessing: imagenet_224}\n"
    check_foreign(read(tmp_path, text % "irm", registry), registry)
    with pytest.raises(ConfigError, match="`algorithm: coral` is impossible") as error:
        check_foreign(read(tmp_path, text % "coral", registry), registry)
    assert "algorithm: erm" in error.value.fix


def test_groups_count_only_for_algorithms_that_compare_groups(tmp_path: Path, registry: Registry) -> None:
    text = "sweeps:\n  - {groups: [sex, age], algorithm: [erm, groupdro]}\n  - {algorithm: irm, groups: sex, head: probe}\n"
    grid = read(tmp_path, text, registry)
    found = [(config.algorithm, config.groups, config.head) for config in grid.configs]
    assert found == [
        ("erm", "hospital", "own"),
        ("groupdro", "sex", "own"),
        ("groupdro", "age", "own"),
        ("erm", "hospital", "probe"),
    ]
    plain = read(tmp_path, "", registry).configs[0]
    assert grid.configs[0] == plain
    assert (
        str(RunName.among([config.settings for config in grid.configs[:2]])[1])
        == "seresnet_tiny · groupdro · groups sex"
    )


def test_an_older_registry_file_without_algorithms_trains_erm(tmp_path: Path, registry: Registry) -> None:
    older = replace(registry, sections={**registry.sections, "algorithms": {}})
    assert read(tmp_path, "", older).configs == read(tmp_path, "", registry).configs
    with pytest.raises(ConfigError, match="unknown name 'groupdro' in algorithms"):
        read(tmp_path, "sweeps:\n  - {algorithm: groupdro}\n", older)


@pytest.mark.slow
def test_a_sweep_with_too_many_combinations_is_refused_before_it_is_expanded(
    tmp_path: Path, registry: Registry
) -> None:
    text = f"sweeps:\n  - {{seed: {[*range(1000)]}, schedule.epochs: {[*range(1, 999)]}, limit: {[*range(999)]}}}\n"
    with pytest.raises(ConfigError, match="997,002,000 combinations or more, the maximum is 10,000"):
        read(tmp_path, text, registry)
    halves = "".join(f"  - {{seed: {[*range(start, start + 6000)]}}}\n" for start in (0, 6000))
    with pytest.raises(ConfigError, match="12,000 combinations"):
        read(tmp_path, f"sweeps:\n{halves}", registry)


@pytest.mark.parametrize("name", ["x" * 81, "x" * 300, "雪" * 40])
def test_a_grid_name_that_is_too_long_for_files_is_refused(name: str, tmp_path: Path, registry: Registry) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text(BASE.replace("name: small", f"name: {name}"), encoding="utf-8")
    with pytest.raises(ConfigError, match="too long") as error:
        Grid.read(str(path), registry)
    assert "at most 80" in error.value.fix
    path.write_text(BASE.replace("name: small", f"name: {name[:20]}"), encoding="utf-8")
    assert Grid.read(str(path), registry).name == name[:20]


def test_the_training_cohort_cannot_be_an_external_one(tmp_path: Path, registry: Registry) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text(BASE.replace("[nih]", "[nih, chexpert]"))
    with pytest.raises(ConfigError, match="chexpert"):
        Grid.read(str(path), registry)


def test_reserved_names_cannot_name_a_cohort(tmp_path: Path, registry: Registry) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text(BASE.replace("[nih]", "[external]"))
    with pytest.raises(ConfigError, match="external"):
        Grid.read(str(path), registry)


def test_include_inherits_and_overrides_block_by_block(tmp_path: Path, registry: Registry) -> None:
    (tmp_path / "parent.yaml").write_text(BASE + "  schedule: {epochs: 3, batch_size: 8}\n")
    (tmp_path / "child.yaml").write_text("include: parent.yaml\nname: child\nbase: {schedule: {epochs: 7}}\n")
    (config,) = Grid.read(str(tmp_path / "child.yaml"), registry).configs
    assert (config.schedule.epochs, config.schedule.batch_size) == (7, 8)


def test_a_circular_include_is_refused(tmp_path: Path, registry: Registry) -> None:
    (tmp_path / "a.yaml").write_text("include: b.yaml\n")
    (tmp_path / "b.yaml").write_text("include: a.yaml\n")
    with pytest.raises(ConfigError, match="include"):
        Grid.read(str(tmp_path / "a.yaml"), registry)


def test_integers_and_floats_of_equal_value_give_the_same_configuration() -> None:
    assert from_dict(Schedule, {"lr": 1}, "here") == from_dict(Schedule, {"lr": 1.0}, "here")


def test_default_values_are_not_part_of_the_identity() -> None:
    names = {"architecture": "a", "optimizer": "b", "loss": "c", "uncertainty": "d", "preprocessing": "e"}
    assert differing(RunConfig(**names)) == names
    assert differing(RunConfig(**names, seed=1))["seed"] == 1


def test_defaults_of_the_configuration_never_change() -> None:
    """Run ids omit default values, so a changed default would silently change the meaning of old run ids."""
    names = dict.fromkeys(("architecture", "optimizer", "loss", "uncertainty", "preprocessing"), "x")
    config = RunConfig(**names)
    assert (config.train_on, config.space, config.weights, config.channels, config.blank) == (
        "chexpert",
        "shared-9",
        "none",
        3,
        "zero",
    )
    assert (config.augmentation, config.selection, config.seed, config.threads) == ("none", "best_val", 0, 1)
    assert (config.precision, config.mapping, config.heads, config.task) == (
        "mixed",
        "default",
        "multilabel",
        "multilabel",
    )
    assert (config.finding, config.head_weights) == ("", HeadWeights(1.0, 0.5, 0.3, 0.005, 0.01))
    assert config.schedule == Schedule(5, 64, 0, "cosine", 0.05, 0.0, -1.0, 0.0, 0, 0.0, 0)
    assert (config.split.train, config.split.val, config.split.test) == (0.8, 0.1, 0.1)


def test_schedule_free_gets_a_constant_schedule_and_refuses_others(tmp_path: Path, registry: Registry) -> None:
    """A grid that sweeps all optimizers trains this optimizer with the required schedule, although the default is cosine."""
    grid = read(
        tmp_path,
        "sweeps: [{optimizer: [adamw, schedulefree]}, {optimizer: schedulefree, schedule.epochs: 5}]\n",
        registry,
    )
    assert [c.schedule.kind for c in grid.configs] == ["cosine", "constant"]
    for wrong, said in (("kind: cosine", "kind"), ("kind: plateau", "kind"), ("ema: 0.9", "ema")):
        with pytest.raises(ConfigError, match=said):
            read(tmp_path, f"sweeps: [{{optimizer: schedulefree, schedule.{wrong}}}]\n", registry)


def test_balanced_sampling_needs_two_images_per_finding(tmp_path: Path, registry: Registry) -> None:
    line = "sweeps: [{schedule.sampling: balanced, schedule.batch_size: 36, schedule.micro_batch: %d}]\n"
    assert read(tmp_path, line % 18, registry).configs[0].schedule.sampling == "balanced"
    with pytest.raises(ConfigError, match="at least 18"):
        read(tmp_path, line % 12, registry)


@pytest.mark.parametrize("optimizer", ["sam", "asam"])
def test_sharpness_aware_optimizers_refuse_fp16(optimizer: str, tmp_path: Path, registry: Registry) -> None:
    with pytest.raises(ConfigError, match="fp16"):
        read(tmp_path, f"sweeps: [{{optimizer: {optimizer}, precision: fp16}}]\n", registry)


def test_each_optimizer_is_tuned_with_three_learning_rates(tmp_path: Path, registry: Registry) -> None:
    grid = read(tmp_path, "sweeps: [{optimizer: '*', schedule.lr_scale: [0.3333, 1, 3]}]\n", registry)
    assert len(grid.configs) == 3 * len(registry.sections["optimizers"])


def test_an_optimizer_with_a_closure_is_refused_in_fp16(tmp_path: Path) -> None:
    registry = tmp_path / "registry.yaml"
    line = '  mine: {use: "torch.optim:LBFGS", with: {lr: 1.0}, closure: true}'
    registry.write_text(f"schema: 1\ninclude: shipped\noptimizers:\n{line}\n")
    known = Registry.read(registry)
    for precision, refused in (("bf16", False), ("fp16", True)):
        grid = tmp_path / f"{precision}.yaml"
        grid.write_text(
            f"include: {Path('grids/tiny.yaml').resolve()}\nname: g\nexpect: {{runs: 1}}\nsweeps: []\n"
            f"base: {{optimizer: mine, precision: {precision}}}\n"
        )
        if refused:
            with pytest.raises(ConfigError, match="cannot train with fp16"):
                Grid.read(str(grid), known)
        else:
            assert Grid.read(str(grid), known).configs[0].optimizer == "mine"


def test_a_custom_entry_with_a_wrong_option_is_refused_early(tmp_path: Path) -> None:
    registry, grid = tmp_path / "registry.yaml", tmp_path / "g.yaml"
    registry.write_text(
        'schema: 1\ninclude: shipped\nlosses:\n  mine: {use: "bench.training.losses:focal", with: {gama: 2}}\n'
    )
    tiny = Path("grids/tiny.yaml").resolve()
    grid.write_text(f"include: {tiny}\nname: g\nexpect: {{runs: 1}}\nsweeps: []\nbase: {{loss: mine}}\n")
    known = Registry.read(registry)
    with pytest.raises(RegistryError, match="no option 'gama'"):
        check_foreign(Grid.read(str(grid), known), known)
    check_foreign(Grid.read(str(tiny), known), known)


LINES = """\
train_on: chexpert
architecture: resnet18
optimizer: adamw
loss: bce
uncertainty: u_ignore
preprocessing: imagenet_64
schedule: {epochs: 1}
"""


@pytest.mark.parametrize(
    ("old", "new", "sweep", "where"),
    [
        ("optimizer: adamw", "optimiser: adamw", "{seed: [0, 1]}", "mine.yaml:4: base.optimiser"),
        ("optimizer: adamw", "optimizer: adamm", "{seed: [0, 1]}", "mine.yaml:4: base.optimizer"),
        ("epochs: 1", "epohcs: 1", "{schedule.lr: 0.1}", "mine.yaml:8: base.schedule.epohcs"),
        ("epochs: 1", "epochs: 0", "{schedule.lr: 0.1}", "mine.yaml:8: base.schedule.epochs"),
        ("epochs: 1", "epochs: 2", "{schedule.epochs: 0}", "mine.yaml:11: sweeps[1].schedule.epochs"),
        ("architecture: resnet18\n", "", "{architecture: resnet18, loss: [bce, bec]}", "mine.yaml:10: sweeps[1].loss"),
        (
            "architecture: resnet18\noptimizer: adamw",
            "optimizer: adamm",
            "{architecture: resnet18}",
            "3: base.optimizer",
        ),
        ("seed", "seed", "{uncertainty: explicit_only}", "mine.yaml:11: sweeps[1].blank"),
        ("train_on: chexpert", "train_on: chexpert\nsplit: {train: 2}", "{}", "mine.yaml:3: base.split"),
    ],
)
def test_an_error_names_the_line_where_the_value_is_written(
    tmp_path: Path, registry: Registry, old: str, new: str, sweep: str, where: str
) -> None:
    base = "".join(f"  {line}\n" for line in LINES.replace(old, new).splitlines())
    first = "{architecture: resnet50}" if "architecture" in sweep else "{}"
    (tmp_path / "mine.yaml").write_text(f"base:\n{base}sweeps:\n  - {first}\n  - {sweep}\n")
    with pytest.raises(ConfigError) as error:
        Grid.read(str(tmp_path / "mine.yaml"), registry)
    assert error.value.where.endswith(where)


def test_an_error_in_an_included_file_names_that_file_and_its_line(tmp_path: Path, registry: Registry) -> None:
    base = "".join(f"  {line}\n" for line in LINES.replace("bce", "bec").splitlines())
    (tmp_path / "study.yaml").write_text(f"split: {{train: 2}}\nbase:\n{base}")
    (tmp_path / "mine.yaml").write_text("include: study.yaml\nsweeps:\n  - {seed: [0, 1]}\n")
    with pytest.raises(ConfigError) as error:
        Grid.read(str(tmp_path / "mine.yaml"), registry)
    assert error.value.where == f"{tmp_path / 'study.yaml'}:1: split"
    (tmp_path / "study.yaml").write_text(f"base:\n{base}")
    with pytest.raises(ConfigError) as error:
        Grid.read(str(tmp_path / "mine.yaml"), registry)
    assert error.value.where == f"{tmp_path / 'study.yaml'}:5: base.loss"


def test_a_probe_has_one_configuration_whatever_trains_beside_it(tmp_path: Path, registry: Registry) -> None:
    sweep = "sweeps: [{head: [own, probe], optimizer: [adamw, sgd], schedule.epochs: [1, 2], shots: all}]\n"
    configs = read(tmp_path, sweep, registry).configs
    probes = [config for config in configs if config.head == "probe"]
    assert (len(configs), len(probes)) == (5, 1)
    assert probes[0].schedule == Schedule()
    assert {"head": "probe"}.items() <= differing(probes[0]).items()
    assert not {"head", "shots"} & differing(configs[0]).keys()  # so the ids of other runs do not change


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        ("shots: 10", "needs `head: probe`"),
        ("head: probe, shots: -1", "shots must be a whole number of at least 0"),
        ("head: probe, shots: many", "shots must be a whole number"),
        ("head: linear", "head must be one of own, probe"),
        ("head: probe, heads: auxiliary", "has no auxiliary heads"),
        ("head: probe, uncertainty: u_multiclass", "`head: probe` is not possible with u_multiclass"),
    ],
)
def test_a_probe_that_cannot_be_fitted_is_refused(tmp_path: Path, registry: Registry, sweep: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, f"sweeps: [{{{sweep}}}]\n", registry)


def test_a_probe_of_a_network_without_one_linear_output_layer_is_refused(tmp_path: Path, registry: Registry) -> None:
    both = "{head: probe, channels: 3, preprocessing: imagenet_224, architecture: ['timm:deit_tiny_distilled_patch16_224']}"
    grid = read(tmp_path, f"sweeps: [{both}]\n", registry)
    with pytest.raises(ConfigError, match="no single linear output layer") as error:
        check_foreign(grid, registry)
    assert "head: own" in error.value.fix
    check_foreign(read(tmp_path, "sweeps: [{head: probe}]\n", registry), registry)


def test_a_list_under_base_points_to_sweeps(tmp_path: Path, registry: Registry) -> None:
    path = tmp_path / "list.yaml"
    path.write_text(BASE.replace("loss: bce", "loss: [bce, focal]"))
    with pytest.raises(ConfigError, match="loss must be a text") as error:
        Grid.read(str(path), registry)
    assert "write `loss` under `sweeps:`, not under `base:`" in error.value.fix


@pytest.mark.parametrize("name", ["grid.yaml", "folder/grid"])
def test_a_pipe_or_folder_is_no_grid_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    os.mkfifo(name)
    with pytest.raises(ConfigError, match="not a file, but a folder, pipe, socket or device"):
        find(name)
    (tmp_path / "demo").mkdir()  # a folder does not hide a shipped grid
    assert find("demo").name == "demo.yaml"
