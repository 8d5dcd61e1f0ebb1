"""Sentences about the cohorts and the runs of a plan, for the terminal."""

import contextlib
import json

from bench.planning.external_overlap import Comparison
from bench.planning.plan import Plan
from bench.store.store import canonical_json
from reports.formatting import plural
from reports.sentences import data as sentences


def plan_remarks(plan: Plan, found: Comparison | None = None) -> list[str]:
    """Return lines about the cohorts, too large batches, and runs that differ from stored ones only by their epochs."""
    return [*cohort_remarks(plan, found), *too_large_batch(plan), *other_epochs(plan)]


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


def other_epochs(plan: Plan) -> list[str]:
    """Return a line if runs are to be trained that equal stored runs except for the number of epochs; else []."""
    ids, stored = plan.store.run_ids(), set()
    for run_id in ids:
        with contextlib.suppress(OSError, ValueError, AttributeError):  # other commands report a damaged run.json
            stored.add(_without_epochs((plan.store.run_dir(run_id) / "run.json").read_bytes()))
    # a run that is in the store is done, or continues after its last epoch
    again = sum(run.id not in ids and _without_epochs(run.document) in stored for run in plan.runs)
    if not again:
        return []
    runs = f"{again} of {plural(len(plan.runs), 'run')} {'differs' if again == 1 else 'differ'}"
    why = "such a run trains from the beginning, because its learning rates differ from the first step on"
    return [f"{runs} from stored runs only in schedule.epochs: {why}"]


def _without_epochs(document: bytes) -> bytes:
    """Return the content of a run.json without its number of epochs."""
    content = json.loads(document)
    schedule = content.get("config", {}).get("schedule", {})
    schedule.pop("epochs", None)
    if not schedule:
        content.get("config", {}).pop("schedule", None)
    return canonical_json(content)


def _shared_images(plan: Plan, found: Comparison) -> list[str]:
    lines = []
    for overlap in found.overlaps:
        if names := found.lists.get(overlap.cohorts):
            text = sentences.overlap(overlap.cohorts, overlap.num_images, overlap.images, overlap.patients)
            paths = " and ".join(str(plan.store.root / "cohorts" / name) for name in names)
            lines.append(f"{text} To remove them from {overlap.cohorts[1]}, name {paths} as its `exclude:`.")
    if found.crowded:
        line = f"{found.crowded:,} images are in large groups of similar images; not all pairs were compared to find copies"
        lines.append(line)
    return lines
