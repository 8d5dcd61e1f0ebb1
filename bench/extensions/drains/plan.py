"""What the chest drains of PadChest add to the plan of a grid."""

from bench.extensions.drains.annotations import KEY, LAYOUT, read_drains, write_drains
from bench.planning.plan import Plan


def remarks(_plan: Plan) -> list[str]:
    """Return no line: the page states the numbers."""
    return []


def facts(plan: Plan) -> dict[str, dict[str, str]]:
    """Write the drains of each cohort of PadChest into the store; return the hash of each file, {} without annotations."""
    hashes = {}
    for ref in plan.refs:
        ids = plan.cohorts[ref.name].table["image_id"].astype(str)
        drains: dict[str, bool] = {}
        for place in ref.places:
            if place.layout == LAYOUT:
                of_place = ids[ids.str.startswith(place.prefix)].str.removeprefix(place.prefix)
                drains |= {place.prefix + image: drain for image, drain in read_drains(place.root, of_place).items()}
        if drains:
            hashes[ref.name] = write_drains(plan.store, drains)
    return {KEY: hashes} if hashes else {}
