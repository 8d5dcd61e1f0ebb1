"""registry.yaml: valid content, and code that can be loaded."""

from pathlib import Path

import pytest

from bench.config.registry import Entry, Registry, installed
from bench.planning.run import starting_weights
from bench.study.starting_weights import hub_weights
from harmonize.errors import ConfigError, RegistryError, SetupError

REGISTRY = Registry.read()
CODE = [entry for entry in REGISTRY if entry.use and entry.section != "datasets"]


@pytest.mark.parametrize("entry", CODE, ids=lambda e: f"{e.section}.{e.name}")
def test_the_code_of_every_entry_exists(entry: object) -> None:
    assert callable(entry.load())  # type: ignore[attr-defined]


def test_the_error_for_an_unknown_name_suggests_the_closest() -> None:
    with pytest.raises(ConfigError, match="resnet50") as error:
        REGISTRY.find("architectures", "resnet5", "grid.yaml: base.architecture")
    assert "did you mean" in error.value.fix


def test_any_timm_model_can_be_used_without_an_entry() -> None:
    entry = REGISTRY.find("architectures", "timm:resnet10t.c3_in1k", "here")
    assert entry.options == {"name": "resnet10t.c3_in1k"}


def test_the_licence_of_a_timm_model_without_an_entry_is_the_one_that_timm_states() -> None:
    names = {"timm:convnextv2_tiny.fcmae_ft_in1k": "cc-by-nc-4.0", "timm:no_such_model": "", "seresnet_tiny": ""}
    entries = {name: REGISTRY.find("architectures", name, "here") for name in names}
    assert {name: entry.weights_licence for name, entry in entries.items()} == names
    assert hub_weights(entries.values(), check=False)[0].licence == "cc-by-nc-4.0"


def test_hub_weights_need_a_tag_because_the_default_can_change() -> None:
    pinned, free = (REGISTRY.find("architectures", f"timm:{name}", "here") for name in ("resnet18.a1_in1k", "resnet18"))
    none, imagenet = (REGISTRY.find("weights", name, "here") for name in ("none", "imagenet"))
    assert starting_weights(pinned, imagenet, None, REGISTRY.path) == (None, "hub:resnet18.a1_in1k")
    assert starting_weights(free, none, None, REGISTRY.path) == (None, "none")
    with pytest.raises(SetupError, match="no tag"):
        starting_weights(free, imagenet, None, REGISTRY.path)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("schema: 2\n", "schema 1"),
        ("schema: 1\nlosess: {}\n", "losess"),
        ("schema: 1\nlosses: {bce: {uze: x}}\n", "uze"),
        ("schema: 1\nlosses: {bce: {version: one}}\n", "version"),
        ("schema: 1\nlosses:\n  bce: {use: a}\n  bce: {use: b}\n", "repeated"),
        ("schema: 1\nlosses: {mine: {use: 'a:b', with: gamma}}\n", "(got 'gamma')"),
        ("schema: 1\nlosses: {mine: {use: 'a:b', with: [gamma]}}\n", "(got ['gamma'])"),
        ("schema: 1\nlosses: {mine: {title: Mine}}\n", "names no code"),
        ("schema: 1\noptimizers: {mine: {use: 'a:b', schedule: cosinee}}\n", "'cosinee' of schedule"),
        ("schema: 1\nuncertainty: {mine: {use: 'a:b', states: 2}}\n", "2 of states"),
        ("schema: 1\nuncertainty: {mine: {use: 'a:b', blank: ignored}}\n", "'ignored' of blank"),
        ("schema: 1\npreprocessing: {mine: {size: big}}\n", "size must be a whole number (got 'big')"),
    ],
)
def test_an_invalid_registry_is_refused(tmp_path: Path, text: str, what: str) -> None:
    path = tmp_path / "registry.yaml"
    path.write_text(text)
    with pytest.raises((RegistryError, ConfigError)) as error:
        Registry.read(path)
    assert what in f"{error.value.what} {error.value.where}"


def test_the_error_for_a_failed_import_names_the_entry(tmp_path: Path) -> None:
    path = tmp_path / "registry.yaml"
    path.write_text('schema: 1\nlosses: {mine: {use: "no.such.module:loss"}}\n')
    with pytest.raises(RegistryError) as error:
        Registry.read(path).sections["losses"]["mine"].load()
    assert error.value.where == "losses.mine"


def test_the_version_and_options_of_an_entry_are_part_of_its_identity() -> None:
    focal = REGISTRY.sections["losses"]["focal"]
    assert focal.identity == {"use": "bench.training.losses:focal", "with": {"gamma": 2.0}, "version": 1}
    assert REGISTRY.find("preprocessing", "imagenet_64", "here").identity["size"] == 64


def test_the_number_of_states_is_part_of_the_identity() -> None:
    entries = REGISTRY.sections["uncertainty"]
    assert entries["u_multiclass"].identity["states"] == 3
    assert "states" not in entries["u_ignore"].identity


def test_the_input_is_part_of_the_identity_if_given() -> None:
    entries = REGISTRY.sections["preprocessing"]
    plain = {"use": "", "with": {}, "version": 1, "size": 224, "fit": "squash", "ops": ["imagenet"]}
    assert entries["imagenet"].identity == REGISTRY.find("preprocessing", "imagenet_224", "here").identity == plain
    assert entries["crop_256_224"].identity == plain | {"size": 256, "input": 224, "fit": "smallest_crop"}


def test_a_size_after_the_name_of_a_preprocessing_replaces_its_size() -> None:
    sized = REGISTRY.find("preprocessing", "adaptive_roi_hist_2048", "here")
    assert (sized.name, sized.facts["size"], sized.facts["ops"]) == (
        "adaptive_roi_hist_2048",
        2048,
        ["adaptive_roi", "histstd"],
    )
    assert sized.title == "adaptive region, histogram standardization, 2048 px"


@pytest.mark.parametrize(
    "name", ["imagenet_", "imagenet_large", "imagenet_-8", "imagenet_4", "imagnet_512", "crop_256_224_512"]
)
def test_a_wrong_size_of_a_preprocessing_is_refused_with_the_form(name: str) -> None:
    with pytest.raises(ConfigError, match="unknown name") as caught:
        REGISTRY.find("preprocessing", name, "here")
    assert "imagenet_512" in caught.value.fix


def test_an_option_that_the_code_does_not_accept_is_refused() -> None:
    with pytest.raises(RegistryError, match="no option 'gama'") as caught:
        Entry("losses", "mine", "bench.training.losses:focal", {"gama": 2}).check()
    assert "gamma" in caught.value.fix
    with pytest.raises(RegistryError, match="cannot load"):
        Entry("losses", "mine", "bench.training.losses:focall").check()


def test_the_code_of_every_shipped_entry_accepts_its_options() -> None:
    for entry in Registry.read(installed("registry.yaml")):
        if entry.section != "datasets":
            entry.check()


def test_an_entry_of_any_section_may_state_the_address_of_its_code(tmp_path: Path) -> None:
    file = tmp_path / "registry.yaml"
    file.write_text(
        "schema: 1\ninclude: shipped\nlosses:\n"
        '  mine: {use: "bench.training.losses:bce", paper: "arXiv:1", code: "https://example.org/mine"}\n'
    )
    entry, shipped = (Registry.read(file).find("losses", name, "here") for name in ("mine", "bce"))
    assert entry.facts["code"] == "https://example.org/mine"
    assert "code" not in shipped.facts
    assert set(entry.identity) == set(shipped.identity)
