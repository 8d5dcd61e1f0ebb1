"""The function of `bench.api` that registers a grid."""

from bench.api import AnyPath
from bench.config.arguments import path_of, path_or_none, text_of

__all__ = ["register"]


def register(
    grid: AnyPath,
    *,
    data: AnyPath | None = None,
    hypotheses: AnyPath | None = None,
    store: AnyPath = "runs",
    registry: AnyPath | None = None,
    weights: AnyPath | None = None,
    amend: bool = False,
) -> str:
    """Register the plan of a grid before its first external test; return the SHA-256 of the registration.

    grid: path of a grid file, or name of a shipped grid. hypotheses: a YAML file (docs/extensions/reporting.md). amend: register a
    changed plan, which names the hash of the registration before. The other arguments are those of `bench run`. Publish the
    hash at once: the store does not prove when it was made. Raises StoreError if a run of the grid was already tested at an
    external hospital, and if the grid is registered already. Raises the errors of `bench run` for an invalid request, and
    ConfigError for invalid hypotheses.

    >>> len(register(store / "grids" / "documented.yaml", data=data, store=work / "registered"))
    64
    """
    from bench.extensions.registration.register import register as write
    from bench.planning.plan import make_plan
    from bench.store.store import Store
    from bench.study.request import Request

    images, starting_weights = path_or_none(data, "data"), path_or_none(weights, "weights")
    entries, stated = path_or_none(registry, "registry"), path_or_none(hypotheses, "hypotheses")
    request = Request.read(text_of(grid, "grid"), entries, images, starting_weights)
    opened, num_workers = Store.open(path_of(store, "store")), 1
    plan = make_plan(
        request.grid,
        request.registry,
        opened,
        images,
        starting_weights,
        num_workers,
        request.command,
        lambda *_: None,
    )
    return write(plan, stated, amend=amend).registration.sha256
