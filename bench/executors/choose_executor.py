"""Parse the value of --executor: local, ray or slurm, then optionally a colon and the resources of a run."""

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Self

from bench.config.run_config import from_dict
from harmonize.errors import ConfigError
from harmonize.yaml_file import parse_yaml

if TYPE_CHECKING:
    from bench.executors.execute_job import Executor

# name -> `module:class`, which is imported only when it is chosen: this takes a second
EXECUTORS = {
    "local": "bench.executors.local:Local",
    "ray": "bench.executors.ray:Ray",
    "slurm": "bench.executors.slurm:Slurm",
}


@dataclass(frozen=True, slots=True)
class ExecutorChoice:
    """The executor that `text` names, checked before its class is imported.

    per_device: number of parallel runs per GPU. together: number of devices that train one run together. Only the executor local
    uses these two.
    """

    text: str
    per_device: int = 0  # 0 if the option is not given
    together: int = 1

    @classmethod
    def of(cls, text: str, per_device: int = 0, together: int = 1, device: str = "auto") -> Self:
        """Return the choice. Raises ConfigError for an unknown name, and for options or resources that the executor does not have.

        `device`: the option --device, which is only checked here.
        """
        name, _, resources = text.partition(":")
        where = f"--executor {text}"
        ConfigError.check_choices("executor", [name], [*EXECUTORS])
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
        return cls(text, per_device, together)

    def executor(self, device: str, workers: int) -> "Executor":
        """Import the class of the executor, and return the executor. Raises ConfigError for an unknown key or value.

        device: auto, cpu, cuda or cuda:N. workers: number of cores. Only the executor local uses these two.
        """
        name, _, resources = self.text.partition(":")
        where = f"--executor {self.text}"
        module, _, kind_name = EXECUTORS[name].partition(":")
        kind = getattr(import_module(module), kind_name)
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
