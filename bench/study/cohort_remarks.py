"""Sentences about the cohorts of a plan, for the terminal."""

from bench.planning.external_overlap import Comparison
from bench.planning.plan import Plan
from reports.sentences import data as sentences


def cohort_remarks(plan: Plan, found: Comparison | None = None) -> list[str]:
    """Return lines about cohorts that are left out of the plan, remarks of cohorts, and images that cohorts share.

    Each cohort that is left out, each remark, and each pair of cohorts with shared images has one line. found: comparison of the
    images, None if there was none.
    """
    lines = [
        f"{sentences.left_out(overlap.cohorts, overlap.num_images, overlap.images, overlap.patients)} "
        f"To score {overlap.cohorts[1]}, name it without {overlap.cohorts[0]} in another grid."
        for overlap in plan.left_out
    ]
    for name, cohort in plan.cohorts.items():
        lines += [f"{name}: {remark.what}: {remark.found}; {remark.fix}" for remark in cohort.remarks]
    return lines + (_shared_images(plan, found) if found else [])


def too_large_batch(plan: Plan) -> list[str]:
    """Return a line if the largest batch of the grid has more images than the training set; else []."""
    config = max((run.config for run in plan.runs), key=lambda config: config.schedule.batch_size)
    ref = plan.refs[0]
    num_images = int((ref.split_of(plan.cohorts[ref.name].table, config) == "train").sum())
    batch_size = config.schedule.batch_size
    if batch_size <= num_images:
        return []
    return [
        f"schedule.batch_size is {batch_size:,}, but the training set has {num_images:,} images: each epoch is one step"
    ]


def _shared_images(plan: Plan, found: Comparison) -> list[str]:
    lines = []
    for overlap in found.overlaps:
        if names := found.lists.get(overlap.cohorts):
            text = sentences.overlap(overlap.cohorts, overlap.num_images, overlap.images, overlap.patients)
            paths = " and ".join(str(plan.store.root / "cohorts" / name) for name in names)
            lines.append(f"{text} To remove them from {overlap.cohorts[1]}, name {paths} as its `exclude:`.")
    if found.crowded:
        lines.append(
            f"{found.crowded:,} images are in large groups of similar images; not all pairs were compared to find copies"
        )
    return lines
