"""Which trained runs are predicted with in one pass over the images that they share."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from bench.images import geometry_of, unpredicted
from bench.intact import whole
from bench.job import TRAINED, PassJob
from bench.plan import Plan
from bench.run import Run
from harmonize.cache import ImageCache

MOST_BYTES = 4 << 30  # of weights that lie side by side in memory
MOST_RUNS = 64  # whose logits do


def passes(plan: Plan, runs: Sequence[Run], caches: Mapping[tuple[str, str], ImageCache], places: int) -> list[PassJob]:
    """Return jobs that predict what trained runs lack, one pass for all that share images, or one for each of `places`.

    Runs share images that have the same geometry; on a CPU, where sums depend on it, the same number of threads, too. A
    run that would have a pass to itself is left to its own job. So is one that is not trained.
    """
    ready = [run for run in runs if trained(plan, run) and unpredicted(plan, run, caches)]
    jobs = []
    for _, group in groupby(sorted(ready, key=_shared), _shared):
        some = list(group)
        each = min(-(-len(some) // max(places, 1)), MOST_RUNS)
        jobs += [PassJob(tuple(part), plan.store, plan.refs) for part in _parts(plan, some, each) if len(part) > 1]
    return jobs


def _shared(run: Run) -> tuple[str, int]:
    return geometry_of(run).key, run.config.threads


def trained(plan: Plan, run: Run) -> bool:
    """Whether the weights of a run are there."""
    folder = plan.store.run_dir(run.id)
    same = (folder / "run.json").is_file() and (folder / "run.json").read_bytes() == run.document
    return same and all(whole(folder / name) for name in TRAINED)


def _parts(plan: Plan, runs: Sequence[Run], most: int) -> Iterator[list[Run]]:
    """Divide runs into parts of `most` and of MOST_BYTES of weights."""
    part: list[Run] = []
    held = 0
    for run in runs:
        size = (plan.store.run_dir(run.id) / "model.safetensors").stat().st_size
        if part and (len(part) == most or held + size > MOST_BYTES):
            yield part
            part, held = [], 0
        part.append(run)
        held += size
    yield part
