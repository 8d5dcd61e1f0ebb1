"""A job: what travels to a worker process. No torch, so that the process that hands out jobs needs none."""

from dataclasses import dataclass

from bench.derive import Derived
from bench.plan import CohortRef
from bench.run import Run
from bench.store import Store


@dataclass(frozen=True, slots=True)
class Job:
    """All that a worker needs to do one run."""

    run: Run
    store: Store
    refs: tuple[CohortRef, ...]  # home first
    device: str


@dataclass(frozen=True, slots=True)
class DerivedJob:
    """All that a worker needs to make one derived run of finished ones."""

    run: Derived
    store: Store
    refs: tuple[CohortRef, ...]  # home first
    device: str
