"""What a registration adds to the plan of a grid."""

from bench.extensions.registration.registrations import registered
from bench.planning.plan import Plan


def remarks(plan: Plan) -> list[str]:
    """Return lines for the user who runs a registered grid (see `grid_registrations.remarks`); [] for another grid."""
    if not registered(plan.store, plan.grid.name):
        return []
    from bench.extensions.registration import grid_registrations  # slow imports
    from bench.planning.manifest import planned_manifest

    return grid_registrations.remarks(planned_manifest(plan, {}, 0))


def facts(plan: Plan) -> dict[str, str]:
    """Return the hash of the grid's last registration, so that a deleted registration is noticed; {} without one."""
    found = registered(plan.store, plan.grid.name)
    return {"registration": found[-1].sha256} if found else {}
