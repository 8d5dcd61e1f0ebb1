"""Values that earlier systems state, by their line in docs/dev/predecessors.md: recipes and published numbers must have exactly these."""

from pathlib import Path
from typing import Any

import pytest

from bench.config.grid import Grid
from bench.config.preprocessing_ops import parse
from bench.config.registry import Registry
from bench.config.run_config import RunConfig
from tests.nonempty import nonempty

ROOT = Path(__file__).parents[4]
REGISTRY = Registry.read(ROOT / "registry.yaml")
SECTIONS = {
    "loss": "losses",
    "optimizer": "optimizers",
    "preprocessing": "preprocessing",
    "augmentation": "augmentation",
}
TORCHVISION = "timm:densenet121.tv_in1k"  # IMAGENET1K_V1
CHEXPERT_5 = ["Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion"]
XAND_9 = [
    "Pneumothorax",
    "Pleural Effusion",
    "Pneumonia",
    "Lung Opacity",
    "Cardiomegaly",
    "Edema",
    "Consolidation",
    "Enlarged Cardiomediastinum",
    "Atelectasis",
]
SHARED_9 = [
    "No Finding",
    "Cardiomegaly",
    "Atelectasis",
    "Consolidation",
    "Pleural Effusion",
    "Pneumothorax",
    "Pneumonia",
    "Edema",
    "Lung Lesion",
]


def grid(name: str) -> Grid:
    return Grid.read(str(ROOT / "grids" / f"{name}.yaml"), REGISTRY)


def value(config: RunConfig, key: str) -> Any:
    """Return a field ("schedule.lr"), an option of its registry entry ("loss:gamma"), or the names of its ops or steps."""
    field, _, option = key.partition(":")
    if not option:
        current: Any = config
        for attribute in field.split("."):
            current = getattr(current, attribute)
        return current
    entry = REGISTRY.find(SECTIONS[field], getattr(config, field), "test")
    if option == "ops":
        return [name for name, _ in parse(entry.facts["ops"])]
    if option == "steps":
        return [step if isinstance(step, str) else next(iter(step)) for step in entry.options["steps"]]
    if option == "warp":
        (warp,) = (step["warp"] for step in entry.options["steps"] if isinstance(step, dict) and "warp" in step)
        return warp["rotate"]
    return entry.facts.get(option, entry.options.get(option))


STATED: dict[str, tuple[str, dict[str, Any]]] = {  # line -> recipe, values of all its runs
    "X1": ("xand-ray", {"task": "binary", "finding": XAND_9}),
    "X5": ("xand-ray", {"architecture": TORCHVISION, "weights": "imagenet"}),
    "X8": ("xand-ray", {"schedule.audit": True}),
    "X21": ("xand-ray", {"label_source": ["chexbert", "visualchexbert"]}),
    "X23": ("xand-ray", {"uncertainty": "explicit_only", "blank": "ignore"}),
    "X26": ("xand-ray", {"loss": "focal", "loss:gamma": 2.0, "loss:alpha": None}),
    "X27": ("xand-ray", {"optimizer": "adamw", "schedule.kind": "cosine"}),
    "X28": ("xand-ray", {"preprocessing:size": 512, "preprocessing:fit": "smallest_crop", "preprocessing:input": None}),
    "X29": ("xand-ray", {"augmentation:steps": ["warp"], "augmentation:warp": 10.0}),
    "X30": ("xand-ray", {"preprocessing:ops": ["clahe", "imagenet"]}),
    "X31": (
        "xand-ray",
        {"heads": "auxiliary", "head_weights.device": 0.3, "head_weights.projection": 0.005, "head_weights.sex": 0.01},
    ),
    "X32": ("xand-ray", {"schedule.patience": 3, "schedule.stop_on": "val", "schedule.select_on": "expert_valid"}),
    "V1": ("chexvision", {"train_on": "nih"}),
    "V2": ("chexvision", {"heads": "dual", "space": "nih-14-abnormal"}),
    "V4": ("chexvision", {"architecture": ["seresnet_scratch", TORCHVISION], "weights": ["none", "imagenet"]}),
    "V6": ("chexvision", {"schedule.freeze_epochs": [0, 5]}),
    "V7": ("chexvision", {"head_weights.findings": 1.0, "head_weights.abnormal": 0.5}),
    "V9": ("chexvision", {"schedule.clip": 1.0, "schedule.micro_batch": 24, "schedule.batch_size": 4 * 24}),
    "V10": (
        "chexvision",
        {"optimizer": "adamw", "schedule.kind": "cosine", "schedule.patience": 15, "schedule.warmup": [0.0, 0.05]},
    ),
    "V11": ("chexvision", {"precision": "fp16"}),
    "V12": (
        "chexvision",
        {
            "preprocessing:ops": ["clahe", "imagenet"],
            "augmentation:steps": ["hflip", "warp", "jitter", "erase"],
            "augmentation:warp": 15.0,
        },
    ),
    "V13": ("chexvision", {"loss": "bce_weighted_smooth", "loss:ls_pos": 0.9, "loss:ls_neg": 0.05}),
    "V14": ("chexvision", {"preprocessing:size": 320, "channels": 3}),
    "P1": ("chexpert-poc", {"space": "chexpert-5"}),
    "P2": ("chexpert-poc", {"cohort.views": "frontal"}),
    "P3": ("chexpert-poc", {"uncertainty": ["u_ignore", "u_ones", "u_zeros"]}),
    "P8": (
        "chexpert-poc",
        {
            "architecture": TORCHVISION,
            "weights": "imagenet",
            "preprocessing:size": 320,
            "schedule.batch_size": 32,
            "schedule.epochs": 10,
            "optimizer": "adam",
            "schedule.lr": 1e-4,
            "loss": "bce_weighted",
        },
    ),
    "M1": ("main-study", {"train_on": "chexpert"}),
    "M6": ("main-study", {"architecture": {"densenet121", "densenet161", "resnet18", "resnet50", "resnet101"}}),
    "M7": ("main-study", {"architecture": {"convnext_s", "convnextv2_t", "efficientnetv2_s"}}),
    "M8": ("main-study", {"architecture": {"efficientnet_b0", "efficientnet_b4"}}),
    "M9": ("main-study", {"architecture": {"tresnet_m", "seresnet50", "resnext101"}}),
    "M10": ("main-study", {"architecture": {"mobilenetv3_l", "repvgg_b0"}}),
    "M11": ("main-study", {"architecture": {"regnety_040", "xception", "dpn68b"}}),
    "M12": ("main-study-preprocessing", {"preprocessing:size": {224, 384, 512, 1024, 2048}}),
    "M13": ("main-study-preprocessing", {"preprocessing": {"imagenet_224", "minmax_224", "zscore_224", "histstd_224"}}),
    "M14": ("main-study-preprocessing", {"preprocessing": {"roi_224", "adaptive_roi_hist_224"}}),
    "M15": ("main-study-preprocessing", {"preprocessing": {"clahe_224", "imagenet_224"}}),
    "M20": (
        "main-study-optimizers",
        {
            "architecture": ["densenet121", "convnext_s"],
            "optimizer": {"adamw", "muon", "schedulefree", "lion", "soap", "adan", "mars", "sam", "asam", "rmsprop"},
        },
    ),
    "M21": ("main-study-losses", {"loss": {"bce", "focal", "auc_hinge", "auc_logistic"}}),
    "M22": (
        "main-study-uncertainty",
        {"uncertainty": {"u_ones", "u_zeros", "u_ignore", "u_ones_smooth", "u_zeros_smooth"}},
    ),
    "M27": ("main-study", {"task": "multilabel", "heads": "multilabel"}),
    "T2": ("chexnet", {"architecture": TORCHVISION, "weights": "imagenet", "loss": "bce", "space": "nih-14"}),
    "T4": (
        "chexnet",
        {
            "preprocessing:size": 256,
            "preprocessing:input": 224,
            "preprocessing:fit": "smallest_crop",
            "preprocessing:ops": ["imagenet"],
        },
    ),
    "T8": (
        "chexnet",
        {
            "optimizer": "adam",
            "schedule.lr": 1e-4,
            "schedule.plateau_factor": 0.1,
            "schedule.plateau_patience": 2,
            "schedule.epochs": 10,
            "schedule.batch_size": 16,
            "schedule.kind": ["plateau", "cosine"],
        },
    ),
    "T19": ("chexnet", {"augmentation": ["chexnet", "full"], "precision": ["fp32", "mixed"]}),
}


@pytest.mark.parametrize("line", STATED)
def test_a_recipe_has_every_stated_value(line: str) -> None:
    """A list has the values of all runs in order; a set must be a subset of the runs' values."""
    name, stated = STATED[line]
    for key, expected in nonempty(stated.items()):
        found = [value(config, key) for config in grid(name).configs]
        if isinstance(expected, set):
            assert expected <= set(found), key
        elif isinstance(expected, list) and not isinstance(found[0], list):
            assert list(dict.fromkeys(found)) == expected, key
        else:
            assert all(each == expected for each in found), key


@pytest.mark.parametrize(
    ("line", "name", "findings"),
    [("X4", "xand-ray", XAND_9), ("M3", "main-study", SHARED_9), ("P1", "chexpert-poc", CHEXPERT_5)],
    ids=["X4", "M3", "P1"],
)
def test_a_recipe_learns_the_stated_findings(line: str, name: str, findings: list[str]) -> None:
    assert {f for config in grid(name).configs for f in config.findings} == set(findings), line


@pytest.mark.parametrize(
    ("line", "name", "external"),
    [("X6", "xand-ray", ("padchest",)), ("M2", "main-study", ("mimic", "nih", "padchest", "vindr", "brax"))],
    ids=["X6", "M2"],
)
def test_a_recipe_is_tested_at_the_stated_hospitals(line: str, name: str, external: tuple[str, ...]) -> None:
    assert grid(name).evaluate_on == external, line


def test_the_study_has_fifteen_architectures_and_more_under_one_protocol() -> None:
    """M5: the runs differ only in network and seed."""
    configs = grid("main-study").configs
    assert len({config.architecture for config in configs} - {"timm:resnet50.tv_in1k"}) == 18
    same = (
        "optimizer",
        "loss",
        "uncertainty",
        "preprocessing",
        "augmentation",
        "schedule",
        "weights",
        "channels",
        "split",
    )
    assert all(len({getattr(config, name) for config in configs}) == 1 for name in same)


def test_an_ablation_changes_one_factor_and_each_optimizer_gets_the_same_rates() -> None:
    """M20: learning rates times 1/3, 1 and 3; SAM and ASAM also with half the epochs, for equal gradient evaluations."""
    base = grid("main-study").configs[0]
    for config in grid("main-study-optimizers").configs:
        assert (config.loss, config.uncertainty, config.preprocessing) == (
            base.loss,
            base.uncertainty,
            base.preprocessing,
        )
    trials = [
        (c.architecture, c.optimizer, c.schedule.epochs, round(c.schedule.lr_scale, 3))
        for c in grid("main-study-optimizers").configs
    ]
    budgets = {(a, o, e) for a, o, e, _ in trials}
    assert all({lr for a, o, e, lr in trials if (a, o, e) == budget} == {0.333, 1.0, 3.0} for budget in budgets)
    halved = {o for _, o, e in budgets if 2 * e == base.schedule.epochs}
    assert halved == {"sam", "asam"}
    assert {e for _, o, e in budgets if o in halved} == {base.schedule.epochs, base.schedule.epochs // 2}


def test_every_training_algorithm_and_every_augmentation_against_shortcuts_has_its_control() -> None:
    """Each differs from a run with ERM, or from one without augmentation, in nothing else."""
    configs = grid("robust-study").configs
    settings = {(c.architecture, c.algorithm, c.augmentation, c.preprocessing, c.seed) for c in configs}
    assert len(settings) == len(configs)
    assert {c.algorithm for c in configs} == {entry.name for entry in REGISTRY if entry.section == "algorithms"}
    assert {c.groups for c in configs} == {"hospital"}
    for architecture, algorithm, augmentation, preprocessing, seed in settings:
        if algorithm == "erm" and augmentation != "light":
            assert (architecture, "erm", "none", preprocessing, seed) in settings
        else:
            assert (architecture, "erm", "light", "imagenet_224", seed) in settings
        changed = [algorithm != "erm", augmentation != "light", preprocessing != "imagenet_224"]
        assert sum(changed) <= 1


def test_tta_and_ensemble_rows_are_named() -> None:
    """V19, V20."""
    recipe = grid("chexvision")
    assert recipe.tta == ("four_views",)
    assert [each.tta for each in recipe.ensembles] == ["four_views"]


def test_the_label_source_of_each_finding_is_chosen_on_the_official_validation_set() -> None:
    """X22: both sources are trained for each of the nine findings."""
    recipe = grid("xand-ray")
    assert (recipe.choose, len(recipe.configs)) == ("label_source", 18)
    assert {config.schedule.select_on for config in recipe.configs} == {"expert_valid"}


PUBLISHED: dict[str, tuple[str, str, dict[str, float]]] = {  # line -> recipe, row, dataset/split:finding -> value
    **{
        line: (
            "xand-ray",
            "XAND-Ray",
            {
                place + finding: number
                for place, number in zip(
                    ("chexpert/val:", "chexpert/expert_valid:", "chexpert/expert_test:", "padchest/:"),
                    numbers,
                    strict=False,
                )
            },
        )
        for line, finding, numbers in (
            ("X11", "Pneumothorax", (0.8791, 0.9553, 0.9814, 0.8688)),
            ("X12", "Pleural Effusion", (0.9423, 0.9424, 0.9468, 0.9587)),
            ("X13", "Pneumonia", (0.8740, 0.9304, 0.8982, 0.7729)),
            ("X14", "Lung Opacity", (0.9345, 0.9252, 0.9294)),
            ("X15", "Cardiomegaly", (0.9240, 0.8651, 0.9218, 0.9239)),
            ("X16", "Edema", (0.8451, 0.9540, 0.9165, 0.9484)),
            ("X17", "Consolidation", (0.9355, 0.9316, 0.8770, 0.8565)),
            ("X18", "Enlarged Cardiomediastinum", (0.8612, 0.8855, 0.8781)),
            ("X19", "Atelectasis", (0.9009, 0.8995, 0.8691, 0.7213)),
        )
    },
    "X20": (
        "xand-ray",
        "XAND-Ray, peak test",
        {
            f"chexpert/expert_test:{finding}": number
            for finding, number in (
                ("Pneumothorax", 0.9814),
                ("Pleural Effusion", 0.9504),
                ("Pneumonia", 0.9498),
                ("Lung Opacity", 0.9390),
                ("Cardiomegaly", 0.9227),
                ("Edema", 0.9221),
                ("Consolidation", 0.8958),
                ("Enlarged Cardiomediastinum", 0.8853),
                ("Atelectasis", 0.8715),
            )
        },
    ),
    "P4": ("chexpert-poc", "CheXpert PoC, U-Ignore", {"chexpert/val:macro": 0.8817, "chexpert/test:macro": 0.8927}),
    "P5": ("chexpert-poc", "CheXpert PoC, U-Ones", {"chexpert/val:macro": 0.8778, "chexpert/test:macro": 0.8715}),
    "P6": ("chexpert-poc", "CheXpert PoC, U-Zeros", {"chexpert/val:macro": 0.8837, "chexpert/test:macro": 0.8903}),
    "T13": ("chexnet", "CheXNet", {"nih/test:macro": 0.8414, "nih/test:Hernia": 0.9164, "nih/test:Pneumonia": 0.7680}),
}
PRECISIONS = {"P4": (0.7387, 0.6494), "P5": (0.7216, 0.6116), "P6": (0.7302, 0.6597)}


@pytest.mark.parametrize("line", PUBLISHED)
def test_the_published_numbers_are_in_the_recipe(line: str) -> None:
    name, title, numbers = PUBLISHED[line]
    rows = {row.metric: row for row in grid(name).references if row.name == title}
    stands = {f"{dataset}/{split}:{finding}": number for dataset, split, finding, number in rows["auroc"].numbers}
    assert numbers.items() <= stands.items()
    if len(numbers) == 3 and line.startswith("X"):  # no counterpart in PadChest, so no number
        assert f"padchest/:{next(iter(numbers)).partition(':')[2]}" not in stands
    if line in PRECISIONS:
        assert tuple(number for *_, number in rows["auprc"].numbers) == PRECISIONS[line]
