"""A job of a tiny network, for tests of leases and executors that train nothing."""

from pathlib import Path

from bench.config.registry import Registry
from bench.config.run_config import RunConfig
from bench.planning.jobs import Job
from bench.planning.run import RunSpec
from bench.store.store import Store


def tiny_job(root: Path) -> Job:
    """Return the job of one run in the store at `root`. It has no cohorts."""
    config = RunConfig(
        architecture="seresnet_tiny",
        preprocessing="imagenet_64",
        channels=1,
        optimizer="adamw",
        loss="bce",
        uncertainty="u_ignore",
        augmentation="light",
    )
    return Job(RunSpec.of(config, Registry.read(), "internal", None), Store.open(root), ())
