"""What all tests share, and fixtures for the examples in the docstrings of bench.api: small phantom cohorts and one trained run, made once."""

import re
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = re.compile(r"bench\.(api|extensions\.\w+\.library)\.")  # names of the examples that use a trained run
CONFIG = {
    "train_on": "chexpert",
    "architecture": "seresnet_tiny",
    "channels": 1,
    "optimizer": "adamw",
    "loss": "bce",
    "uncertainty": "u_ignore",
    "preprocessing": "imagenet_64",
    "schedule": {"epochs": 1, "batch_size": 32, "lr": 3e-3},
    "split": {"train": 0.5, "val": 0.25, "test": 0.25},
}


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out modules without examples: for `--doctest-modules`, each process of the session would import all of them."""
    module = config.option.doctestmodules and collection_path.suffix == ".py" and collection_path.name[:5] != "test_"
    return True if module and b">>>" not in collection_path.read_bytes() else None


@pytest.fixture(scope="session")
def documented(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the variables of the examples."""
    from bench import api

    work: Path = tmp_path_factory.mktemp("documented")
    data = api.make_phantom(work / "cohorts", {"chexpert": 120, "nih": 40})
    store = work / "runs"
    grid = api.run(CONFIG, ["nih"], data=data, store=store, name="documented", min_count=2)
    (run_id,) = api.finished(grid)
    nih, stored = api.load_cohort("nih", data), api.load_run(store, run_id)
    variables = {
        "work": work,
        "data": data,
        "config": CONFIG,
        "store": store,
        "grid": grid,
        "run_id": run_id,
        "nih": nih,
    }
    variables |= {"stored": stored, "logits": api.load_logits(grid, run_id)}
    if hasattr(api, "explain"):  # a function of an extension
        variables["explanation"] = api.explain(stored, data / "nih" / nih.table["path"][0], ["Edema"])
    return variables


@pytest.fixture(autouse=True)
def _examples(request: pytest.FixtureRequest, doctest_namespace: dict[str, Any]) -> None:
    """Give the examples of the library their variables. For other tests nothing is trained."""
    if isinstance(request.node, pytest.DoctestItem) and EXAMPLES.match(request.node.name):
        doctest_namespace.update(request.getfixturevalue("documented"))
