"""Which executor does the runs, from one word: local, ray or slurm, with what a run asks for behind a colon."""

import yaml

from bench.config.run_config import from_dict
from bench.executors.execute_job import Executor
from bench.executors.local import Local
from bench.executors.ray import Ray
from bench.executors.slurm import Slurm
from harmonize.errors import ConfigError

_CLUSTERS: dict[str, type[Ray] | type[Slurm]] = {"ray": Ray, "slurm": Slurm}


def choose_executor(text: str, device: str, workers: int, per_device: int = 0, together: int = 1) -> Executor:
    """Return the executor that `text` names; what else is said is about this machine, as the fields of `Local`.

    Raises ConfigError for an unknown name, key or value.

    >>> choose_executor("slurm:partition=gpu,hours=12", "auto", 2).hours
    12.0
    """
    name, _, given = text.partition(":")
    where = f"--executor {text}"
    if name == "local" and not given:
        return Local(device, workers, per_device, together)
    if name not in _CLUSTERS:
        fix = "give local, ray or slurm; what a run asks for behind a colon: slurm:partition=gpu,hours=12"
        what = (
            "local takes its options from --device, --workers and --together"
            if name == "local"
            else f"no executor {name!r}"
        )
        raise ConfigError(what, where, fix)
    if per_device:
        fix = "leave it out; ask the cluster for parts of a GPU, e.g. ray:gpus=0.5"
        raise ConfigError("how many runs share a GPU is said to the executor local", "--per-device", fix)
    if together > 1:
        raise ConfigError("--together is for this machine", where, f"ask for GPUs of a run: {name}:gpus={together}")
    pairs = [part.partition("=") for part in given.split(",") if part]
    for key, equals, _ in pairs:
        if not equals:
            raise ConfigError(f"{key!r} has no value", where, f"write {name}:{key}=VALUE")
    kind = _CLUSTERS[name]
    texts = {key for key, default in kind.__dataclass_fields__.items() if default.type is str}
    return from_dict(kind, {k: v if k in texts else yaml.safe_load(v) for k, _, v in pairs}, where)
