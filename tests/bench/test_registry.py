"""registry.yaml: what may be written, and that all it names can be loaded."""

from pathlib import Path

import pytest

from bench.registry import Registry
from harmonize.errors import ConfigError, RegistryError

REGISTRY = Registry.read()
CODE = [entry for entry in REGISTRY if entry.use and entry.section != "datasets"]


@pytest.mark.parametrize("entry", CODE, ids=lambda e: f"{e.section}.{e.name}")
def test_every_entry_points_at_code_that_exists(entry: object) -> None:
    assert callable(entry.load())  # type: ignore[attr-defined]


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="resnet50") as error:
        REGISTRY.find("architectures", "resnet5", "grid.yaml: base.architecture")
    assert "did you mean" in error.value.fix


def test_any_timm_model_can_be_named_without_an_entry() -> None:
    entry = REGISTRY.find("architectures", "timm:resnet10t.c3_in1k", "here")
    assert entry.options == {"name": "resnet10t.c3_in1k"}


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("schema: 2\n", "schema 1"),
        ("schema: 1\nlosess: {}\n", "losess"),
        ("schema: 1\nlosses: {bce: {uze: x}}\n", "uze"),
        ("schema: 1\nlosses: {bce: {version: one}}\n", "version"),
        ("schema: 1\nlosses:\n  bce: {use: a}\n  bce: {use: b}\n", "repeated"),
    ],
)
def test_a_wrong_registry_is_refused(tmp_path: Path, text: str, what: str) -> None:
    path = tmp_path / "registry.yaml"
    path.write_text(text)
    with pytest.raises((RegistryError, ConfigError)) as error:
        Registry.read(path)
    assert what in f"{error.value.what} {error.value.where}"


def test_a_target_that_cannot_be_imported_names_the_entry(tmp_path: Path) -> None:
    path = tmp_path / "registry.yaml"
    path.write_text('schema: 1\nlosses: {mine: {use: "no.such.module:loss"}}\n')
    with pytest.raises(RegistryError) as error:
        Registry.read(path).sections["losses"]["mine"].load()
    assert error.value.where == "losses.mine"


def test_the_version_and_options_of_an_entry_are_part_of_its_identity() -> None:
    focal = REGISTRY.sections["losses"]["focal"]
    assert focal.identity == {"use": "bench.losses:focal", "with": {"gamma": 2.0}, "version": 1}
    assert REGISTRY.sections["preprocessing"]["imagenet_64"].identity["size"] == 64


def test_the_input_is_part_of_an_identity_only_where_it_is_given() -> None:
    entries = REGISTRY.sections["preprocessing"]
    plain = {"use": "", "with": {}, "version": 1, "size": 224, "fit": "squash", "ops": ["imagenet"]}
    assert entries["imagenet_224"].identity == plain
    assert entries["crop_256_224"].identity == plain | {"size": 256, "input": 224, "fit": "smallest_crop"}
