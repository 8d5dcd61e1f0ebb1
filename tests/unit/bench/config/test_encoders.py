"""The section `encoders` of the registry, and `encoder:` in a grid."""

from pathlib import Path

import pytest
import timm
import torch

from bench.config.grid import Grid
from bench.config.preprocessing_ops import input_size
from bench.config.registry import Entry, Registry
from bench.config.seen import OTHERS, SeenData
from bench.models.network import build, check_timm
from bench.planning.run import RunSpec
from harmonize.errors import ConfigError, RegistryError
from reports.schemas.exposure import NO, UNKNOWN

REGISTRY = Registry.read(Path(__file__).parents[4] / "registry.yaml")
ENCODERS = REGISTRY.sections["encoders"]
HOSPITALS = {"chexpert", "mimic", "nih", "padchest", "vindr", "brax", "openi"}
GRID = """
name: mine
evaluate_on: [mimic]
phantom: {{}}
base: {{train_on: chexpert, optimizer: adamw, loss: bce, uncertainty: u_ignore, head: probe, {base}}}
"""


def grid(folder: Path, base: str, sweeps: str = "", registry: Registry = REGISTRY) -> Grid:
    (folder / "mine.yaml").write_text(GRID.format(base=base) + sweeps)
    return Grid.read(str(folder / "mine.yaml"), registry)


@pytest.fixture(params=ENCODERS.values(), ids=ENCODERS)
def encoder(request: pytest.FixtureRequest) -> Entry:
    return request.param


def test_an_encoder_states_its_facts_with_their_source(encoder: Entry) -> None:
    assert encoder.licence
    assert str(encoder.facts["source"]).startswith(("https://", "arXiv:"))
    assert encoder.facts["corpus"]
    assert REGISTRY.find("preprocessing", str(encoder.facts["preprocessing"]), "here")
    seen = SeenData.parse(encoder.facts["seen"], Path(), encoder.name)
    assert set(seen) <= {*HOSPITALS, OTHERS}


@pytest.mark.parametrize(
    "name",
    ["dinov2_s14", "dinov2_b14", "dinov3_s16", "dinov3_b16", "siglip2_b16_384", "siglip2_so400m_14", "eva02_b14", "biomedclip", "medsiglip"],
)  # fmt: skip
def test_an_encoder_of_images_of_the_web_says_of_no_hospital_that_it_is_unseen(name: str) -> None:
    answers = {
        hospital: seen.answer for hospital, seen in SeenData.parse(ENCODERS[name].facts["seen"], Path(), name).items()
    }
    assert NO not in answers.values(), answers


@pytest.mark.parametrize(
    ("name", "hospital"),
    [("rad_dino", "vindr"), ("chexzero", "nih"), ("chexzero", "padchest"), ("chexzero", "vindr")],
)
def test_an_encoder_has_seen_what_its_starting_weights_may_have_seen(name: str, hospital: str) -> None:
    """RAD-DINO started from DINOv2 and CheXzero from CLIP, which learned from images of the web."""
    assert SeenData.parse(ENCODERS[name].facts["seen"], Path(), name)[hospital].answer == UNKNOWN


def test_chexfound_has_seen_the_hospitals_of_its_readme() -> None:
    seen = SeenData.parse(ENCODERS["chexfound"].facts["seen"], Path(), "chexfound")
    assert {hospital for hospital, answer in seen.items() if answer.had_seen} == {
        "mimic",
        "chexpert",
        "padchest",
        "brax",
    }


@pytest.mark.slow
def test_its_network_exists_and_takes_images_of_its_own_preprocessing(encoder: Entry) -> None:
    facts = REGISTRY.find("preprocessing", str(encoder.facts["preprocessing"]), "here").facts
    size = input_size(facts)
    check_timm(encoder.options, 3, size, "here")
    with torch.device("meta"):
        network = timm.create_model(num_classes=9, model_name=encoder.options["name"], **_options(encoder)).eval()
        assert network(torch.zeros(2, 3, size, size)).shape == (2, 9)


def _options(entry: Entry) -> dict[str, object]:
    return {key: value for key, value in entry.options.items() if key != "name"}


def test_an_encoder_stands_for_architecture_weights_and_preprocessing(tmp_path: Path) -> None:
    (config,) = grid(tmp_path, "encoder: rad_dino").configs
    assert (config.architecture, config.weights, config.preprocessing) == ("rad_dino", "rad_dino", "bicubic_crop_518")
    (config,) = grid(tmp_path, "encoder: dinov2_s14").configs
    assert (config.architecture, config.weights, config.preprocessing) == ("dinov2_s14", "imagenet", "bicubic_crop_518")


def test_encoders_can_be_swept_beside_a_fine_tuned_network(tmp_path: Path) -> None:
    sweeps = "sweeps:\n  - {encoder: [dinov2_s14, eva_x_ti]}\n  - {head: own}\n"
    base = "architecture: resnet18, weights: none, preprocessing: imagenet_224"
    configs = grid(tmp_path, base, sweeps).configs
    assert [(c.architecture, c.weights, c.head) for c in configs] == [
        ("dinov2_s14", "imagenet", "probe"),
        ("eva_x_ti", "eva_x_ti", "probe"),
        ("resnet18", "none", "own"),
    ]
    assert {c.preprocessing for c in configs} == {"imagenet_224"}  # a stated preprocessing is a factor


@pytest.mark.parametrize(
    ("base", "sweeps", "starts"),
    [
        ("encoder: rad_dino, weights: none", "", [("rad_dino", "none")]),
        (
            "seed: 0",
            "sweeps:\n  - {encoder: rad_dino, weights: [none, rad_dino]}\n",
            [("rad_dino", "none"), ("rad_dino", "rad_dino")],
        ),
        (
            "encoder: rad_dino",
            "sweeps:\n  - {weights: [none, rad_dino]}\n",
            [("rad_dino", "none"), ("rad_dino", "rad_dino")],
        ),
        (
            "encoder: rad_dino, preprocessing: imagenet_224",
            "sweeps:\n  - {architecture: [dinov2_tiny, resnet18], weights: none}\n  - {seed: 1}\n",
            [("dinov2_tiny", "none"), ("resnet18", "none"), ("rad_dino", "rad_dino")],
        ),
    ],
)
def test_architecture_and_weights_of_a_sweep_are_kept_beside_an_encoder(
    tmp_path: Path, base: str, sweeps: str, starts: list[tuple[str, str]]
) -> None:
    assert [(c.architecture, c.weights) for c in grid(tmp_path, base, sweeps).configs] == starts


@pytest.mark.parametrize(
    ("base", "sweeps", "where"),
    [
        ("encoder: rad_dino, architecture: resnet18", "", "base.encoder"),
        ("seed: 0", "sweeps:\n  - {encoder: rad_dino, architecture: resnet18}\n", "sweeps[0].encoder"),
    ],
)
def test_an_encoder_beside_an_architecture_is_refused(tmp_path: Path, base: str, sweeps: str, where: str) -> None:
    with pytest.raises(ConfigError, match="`encoder` and `architecture` both name the network") as error:
        grid(tmp_path, base, sweeps)
    assert error.value.where.endswith(where)
    assert error.value.fix


def test_a_skip_can_name_encoders(tmp_path: Path) -> None:
    sweeps = "sweeps:\n  - {encoder: [rad_dino, 'eva_x_*'], weights: none}\nskip: [{encoder: %s}]\n"
    kept = {c.architecture for c in grid(tmp_path, "seed: 0", sweeps % "rad_dino").configs}
    assert len(kept) > 1
    assert all(name.startswith("eva_x_") for name in kept)
    assert [c.architecture for c in grid(tmp_path, "seed: 0", sweeps % "'eva_x_*'").configs] == ["rad_dino"]
    with pytest.raises(ConfigError, match="unknown name 'rad_dine' in encoders"):
        grid(tmp_path, "seed: 0", sweeps % "rad_dine")


def test_an_encoder_is_no_match_of_a_wildcard(tmp_path: Path) -> None:
    assert not set(REGISTRY.match("architectures", "*", "here")) & set(ENCODERS)


def test_unknown_encoders_and_weights_of_timm_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown name 'rad_dine' in encoders"):
        grid(tmp_path, "encoder: rad_dine")
    with pytest.raises(ConfigError, match="the weights of dinov2_s14 are those of timm"):
        grid(tmp_path, "architecture: resnet18, preprocessing: imagenet_224, weights: dinov2_s14")


def test_a_network_that_was_never_pretrained_is_refused_with_imagenet_weights(tmp_path: Path) -> None:
    for name in ("dinov2_tiny", "siglip_tiny", "swinv2_tiny", "seresnet_tiny"):
        with pytest.raises(ConfigError, match=f"{name} has no ImageNet weights"):
            grid(tmp_path, f"architecture: {name}, weights: imagenet, preprocessing: imagenet_64")


def test_an_invalid_encoder_of_a_user_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "registry.yaml"
    path.write_text("schema: 1\ninclude: shipped\nencoders:\n  mine: {timm: resnet18, file: mine.pt, corpus: x}\n")
    with pytest.raises(RegistryError, match=r"must be a \.safetensors file"):
        Registry.read(path)


def test_the_run_of_an_encoder_loads_its_file(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    network = timm.create_model(
        "vit_small_patch14_dinov2", img_size=56, depth=1, embed_dim=48, num_heads=3, num_classes=0
    )
    save_file({**network.state_dict(), "mask_token": torch.zeros(1, 48)}, tmp_path / "small.safetensors")
    (tmp_path / "registry.yaml").write_text("""
schema: 1
include: shipped
encoders:
  small: {timm: vit_small_patch14_dinov2, with: {img_size: 56, depth: 1, embed_dim: 48, num_heads: 3}, file: small.safetensors,
          keys: {mask_token: null}, corpus: radiographs, seen: {mimic: images}, preprocessing: bicubic_64, mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25]}
preprocessing:
  bicubic_56: {size: 56, interpolation: bicubic, ops: [imagenet]}
""".replace("bicubic_64", "bicubic_56"))  # fmt: skip
    registry = Registry.read(tmp_path / "registry.yaml")
    (config,) = grid(tmp_path, "encoder: small", registry=registry).configs
    run = RunSpec.of(config, registry, "0" * 12, None)
    assert run.weights_file == tmp_path / "small.safetensors"
    start = run.entries["weights"]
    built = build(
        run.entries["architecture"].use,
        run.entries["architecture"].options,
        9,
        3,
        run.weights_file,
        keys=start.facts["keys"],
    )
    assert torch.equal(built.backbone.state_dict()["pos_embed"], network.state_dict()["pos_embed"])
    assert "mean" not in run.entries["architecture"].identity
    assert start.identity["mean"] == [0.5, 0.5, 0.5]
