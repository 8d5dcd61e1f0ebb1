"""Stable names of registered code. Run ids hash these names, so moving a module does not change run ids.

The stable name of a module is the name that the module had before it was moved. A run id hashes the `use` of its
registry entries. `MOVED` maps the stable name of each moved module to its current name. Registry files and stored runs
may use either name; both give the same run id.

>>> stable_name("bench.training.losses:bce")
'bench.losses:bce'
>>> current_name("bench.losses:bce")
'bench.training.losses:bce'
"""

from collections.abc import Mapping

MOVED: Mapping[str, str] = {
    "bench.models": "bench.models.network",
    "bench.seresnet": "bench.models.se_resnet",
    "bench.optim.lion": "bench.training.optimizers.lion",
    "bench.optim.sam": "bench.training.optimizers.sam",
    "bench.optim.muon": "bench.training.optimizers.muon",
    "bench.losses": "bench.training.losses",
    "bench.auclosses": "bench.training.auc_losses",
    "bench.uncertainty": "bench.training.uncertainty",
    "bench.augment": "bench.inputs.augmentation",
    "bench.scoring.calibration": "bench.scoring.calibration_metrics",
}
_STABLE = {today: stable for stable, today in MOVED.items()}


def stable_name(use: str) -> str:
    """Return the stable name of `use` ("module:attribute"), which run ids hash."""
    return _renamed(use, _STABLE)


def current_name(use: str) -> str:
    """Return the current name of `use` ("module:attribute"), from which the code is imported."""
    return _renamed(use, MOVED)


def _renamed(use: str, names: Mapping[str, str]) -> str:
    module, colon, attribute = use.partition(":")
    return f"{names.get(module, module)}{colon}{attribute}"
