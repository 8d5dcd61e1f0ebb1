"""A contract test that asks for `architecture`, `optimizer`, ... runs once for every entry of that section."""

from pathlib import Path

import pytest

from bench.config.registry import Registry

REGISTRY = Registry.read(Path(__file__).parents[2] / "registry.yaml")
SECTION = {
    "architecture": "architectures",
    "optimizer": "optimizers",
    "loss": "losses",
    "algorithm": "algorithms",
    "policy": "uncertainty",
    "preprocessing": "preprocessing",
    "augmentation": "augmentation",
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for fixture, section in SECTION.items():
        if fixture in metafunc.fixturenames:
            entries = REGISTRY.sections[section]
            # all tests of an entry run one after the other, so that they can share what is made of it
            metafunc.parametrize(fixture, entries.values(), ids=entries, scope="module")
