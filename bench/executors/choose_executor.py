"""Parse the value of --executor: local, or the executor of an extension, then optionally a colon and the resources of a run."""

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Self

from bench.config.run_config import from_dict
from harmonize.errors import ConfigError, RegistryError
from harmonize.yaml_file import parse_yaml
from reports import extensions

if TYPE_CHECKING:
    from bench.executors.execute_job import Executor


@dataclass(frozen=True, slots=True)
class ExecutorChoice:
    """The executor that `text` names, checked before its class is imported, which takes a second.

    kind: its class, as `module:class`. per_device: number of parallel runs per GPU. together: number of devices that train one
    run together. Only the executor local uses these two.
    """

    text: str
    kind: str
    per_device: int = 0
    together: int = 1

    @classmethod
    def of(cls, text: str, per_device: int = 0, together: int = 1, device: str = "auto") -> Self:
        """Raise ConfigError for an unknown name, and for options or resources that the executor does not have."""
        (name, _, resources), where = text.partition(":"), f"--executor {text}"
        clusters = {key: kind for module in extensions.modules("executors") for key, kind in module.EXECUTORS.items()}
        ConfigError.check_choices("executor", [name], ["local", *clusters])
        if name == "local" and resources:
            fix = "use --device, --workers, --together and --per-device"
            raise ConfigError("the executor local takes no resources after a colon", where, fix)
        for is_given, option, fix in (
            (per_device != 0, "--per-device", f"remove it; to share a GPU on a cluster, write {name}:gpus=0.5"),
            (device != "auto", "--device", f"remove it; to train on the CPU, write {name}:gpus=0"),
            (together > 1, "--together", f"remove it and request GPUs per run: {name}:gpus={together}"),
        ):
            if name != "local" and is_given:
                raise ConfigError(f"{option} is only valid with --executor local", where, fix)
        return cls(text, clusters.get(name, "bench.executors.local:Local"), per_device, together)

    def executor(self, device: str, workers: int) -> "Executor":
        """Import the class of the executor, and return the executor. Raises ConfigError for an unknown key or value, RegistryError for no class.

        device: auto, cpu, cuda or cuda:N. workers: number of cores. Only the executor local uses these two.
        """
        where, (name, _, resources) = f"--executor {self.text}", self.text.partition(":")
        try:
            module, _, kind_name = self.kind.partition(":")
            kind = getattr(import_module(module), kind_name)
        except (ImportError, AttributeError, ValueError) as error:
            fix = "write `module:class` in EXECUTORS of its extension, or install the package it needs"
            raise RegistryError(f"cannot load {self.kind!r}: {error}", where, fix) from error
        if name == "local":
            local: Executor = kind(device, workers, self.per_device, self.together)
            return local
        pairs = [pair.partition("=") for pair in resources.split(",") if pair]
        for key, equals, _ in pairs:
            if not equals:
                raise ConfigError(f"{key!r} has no value", where, f"write {name}:{key}=VALUE")
        texts = {key for key, default in kind.__dataclass_fields__.items() if default.type is str}
        chosen: Executor = from_dict(kind, {k: v if k in texts else parse_yaml(v, where) for k, _, v in pairs}, where)
        return chosen
