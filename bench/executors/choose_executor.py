"""Parse the value of --executor: local, or the executor of an extension, then optionally a colon and the resources of a run."""

from bench.config.run_config import from_dict
from bench.executors.execute_job import Executor
from bench.executors.local import Local
from harmonize.errors import ConfigError
from harmonize.yaml_file import parse_yaml
from reports import extensions


def choose_executor(text: str, device: str, workers: int, per_device: int = 0, together: int = 1) -> Executor:
    """Return the executor that `text` names.

    device: auto, cpu, cuda or cuda:N. workers: number of cores. per_device: number of parallel runs per GPU. together:
    number of devices that train one run together. Only the executor local uses these four arguments. Raises ConfigError
    for an unknown name, key or value.
    """
    name, _, resources = text.partition(":")
    where = f"--executor {text}"
    if name == "local" and not resources:
        return Local(device, workers, per_device, together)
    clusters = {key: kind for module in extensions.modules("executors") for key, kind in module.EXECUTORS.items()}
    if name not in clusters:
        if name == "local":
            fix = "use --device, --workers, --together and --per-device"
            raise ConfigError("the executor local takes no resources after a colon", where, fix)
        fix = f"choose from: {', '.join(['local', *clusters])}; others than local take resources after a colon"
        raise ConfigError(f"unknown executor {name!r}", where, fix)
    if per_device:
        fix = f"remove it; to share a GPU on a cluster, write {name}:gpus=0.5"
        raise ConfigError("--per-device is only valid with --executor local", "--per-device", fix)
    if together > 1:
        fix = f"remove it and request GPUs per run: {name}:gpus={together}"
        raise ConfigError("--together is only valid with --executor local", where, fix)
    pairs = [pair.partition("=") for pair in resources.split(",") if pair]
    for key, equals, _ in pairs:
        if not equals:
            raise ConfigError(f"{key!r} has no value", where, f"write {name}:{key}=VALUE")
    kind = clusters[name]
    texts = {key for key, default in kind.__dataclass_fields__.items() if default.type is str}
    chosen: Executor = from_dict(kind, {k: v if k in texts else parse_yaml(v, where) for k, _, v in pairs}, where)
    return chosen
