"""Parse the value of --executor: local, ray or slurm, then optionally a colon and the resources of a run."""

from bench.config.run_config import from_dict
from bench.executors.execute_job import Executor
from bench.executors.local import Local
from bench.executors.ray import Ray
from bench.executors.slurm import Slurm
from harmonize.errors import ConfigError
from harmonize.yaml_file import parse_yaml

_CLUSTERS: dict[str, type[Ray] | type[Slurm]] = {"ray": Ray, "slurm": Slurm}


def choose_executor(text: str, device: str, workers: int, per_device: int = 0, together: int = 1) -> Executor:
    """Return the executor that `text` names.

    device: auto, cpu, cuda or cuda:N. workers: number of cores. per_device: number of parallel runs per GPU. together:
    number of devices that train one run together. Only the executor local uses these four arguments. Raises ConfigError
    for an unknown name, key or value.

    >>> choose_executor("slurm:partition=gpu,hours=12", "auto", 2).hours
    12.0
    """
    name, _, resources = text.partition(":")
    where = f"--executor {text}"
    if name == "local" and not resources:
        return Local(device, workers, per_device, together)
    if name not in _CLUSTERS:
        if name == "local":
            fix = "use --device, --workers, --together and --per-device"
            raise ConfigError("the executor local takes no resources after a colon", where, fix)
        fix = "write local, ray or slurm; ray and slurm take resources after a colon: slurm:partition=gpu,hours=12"
        raise ConfigError(f"unknown executor {name!r}", where, fix)
    if per_device:
        fix = "remove it; to share a GPU on a Ray cluster, write ray:gpus=0.5"
        raise ConfigError("--per-device is only valid with --executor local", "--per-device", fix)
    if together > 1:
        fix = f"remove it and request GPUs per run: {name}:gpus={together}"
        raise ConfigError("--together is only valid with --executor local", where, fix)
    pairs = [pair.partition("=") for pair in resources.split(",") if pair]
    for key, equals, _ in pairs:
        if not equals:
            raise ConfigError(f"{key!r} has no value", where, f"write {name}:{key}=VALUE")
    kind = _CLUSTERS[name]
    texts = {key for key, default in kind.__dataclass_fields__.items() if default.type is str}
    return from_dict(kind, {k: v if k in texts else parse_yaml(v, where) for k, _, v in pairs}, where)
