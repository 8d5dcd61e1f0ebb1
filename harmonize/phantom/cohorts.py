"""Write all phantom cohorts: six datasets in their published layouts, and their ground truth.

root/<hospital>/...                   images and label files, in the layouts that `harmonize.datasets` reads
root/truth/<hospital>.parquet         one row per image: patient and study number, true labels, severities,
                                      and whether the image has the tag (a white tag with text; `token` in names),
                                      which networks may use as a shortcut
root/truth/<hospital>-boxes.parquet   boxes of findings and tag, in pixels of the stored image; x_max and
                                      y_max are the first pixels outside the box
root/phantom.json                     the settings; written last, so its presence means that all files exist
"""

from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import cv2
import pandas as pd

from harmonize.child_processes import ProcessPool
from harmonize.datasets import adapter
from harmonize.datasets.nih import BOX_FRAME_PX
from harmonize.disk_space import writing
from harmonize.errors import SetupError
from harmonize.file_lock import file_lock
from harmonize.phantom.folder import is_complete, publish, workspace
from harmonize.phantom.plan import Visit, patient_groups, visits
from harmonize.phantom.records import Records, write_visit
from harmonize.phantom.settings import MIN_CANVAS, PhantomSettings
from harmonize.progress import Progress

VISITS_PER_TASK = 32
# starting a process takes as long as drawing this many pixels: 200 images of the smallest canvas
PIXELS_PER_WORKER = 200 * MIN_CANVAS**2
NIH_BOXES = ("Atelectasis", "Cardiomegaly", "Lung Lesion", "Pleural Effusion", "Pneumonia", "Pneumothorax")
VINDR_BOXES = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Lung Lesion",
    "Pleural Effusion",
    "Pneumothorax",
)


@dataclass(frozen=True, slots=True)
class _Task:
    """A few patients whose images one worker process writes."""

    root: Path
    settings: PhantomSettings
    visits: tuple[Visit, ...]


def write_cohorts(root: Path, settings: PhantomSettings, workers: int = 1, progress: Progress | None = None) -> None:
    """Write the cohorts of `settings` below root, unless they already exist.

    The files depend on the settings only, not on the number of worker processes. There are at most `workers` processes, and
    fewer if there are few images. Files of an interrupted call are written again. Raises ConfigError if root contains
    other data, and SetupError if a worker process is killed.
    """
    root.mkdir(parents=True, exist_ok=True)
    with file_lock(root), writing(root):
        if is_complete(root, settings):
            return
        partial = workspace(root)
        planned = {
            site: [visit for group in patient_groups(settings, site) for visit in visits(settings, group)]
            for site in settings.images
        }
        tasks = [
            _Task(partial, settings, tuple(site_visits[start : start + VISITS_PER_TASK]))
            for site_visits in planned.values()
            for start in range(0, len(site_visits), VISITS_PER_TASK)
        ]
        totals = {site: sum(visit.studies for visit in site_visits) for site, site_visits in planned.items()}
        workers = min(workers, sum(totals.values()) * settings.canvas**2 // PIXELS_PER_WORKER)
        collected = {site: Records() for site in planned}
        done = dict.fromkeys(planned, 0)
        for task, records in zip(tasks, _run(tasks, workers), strict=True):
            site = task.visits[0].group.site
            collected[site].add(records)
            done[site] += sum(visit.studies for visit in task.visits)
            if progress is not None:
                progress(site, done[site], totals[site])
        for site, records in collected.items():
            _write_tables(partial, settings, site, records)
        publish(root, settings)


def _run(tasks: list[_Task], workers: int) -> Iterator[Records]:
    """Yield the result of each task, in order."""
    if workers <= 1:
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)  # images are small, so OpenCV threads cost more time than they save
        try:
            yield from map(_run_task, tasks)
        finally:
            cv2.setNumThreads(threads)
        return
    try:
        with ProcessPool(min(workers, len(tasks)), cv2.setNumThreads, 1) as pool:
            yield from pool.map(_run_task, tasks)
    except BrokenProcessPool as error:
        what = "a drawing process died: it was killed, or memory ran out"
        raise SetupError(what, str(tasks[0].root.parent), "draw again with --workers 1") from error


def _run_task(task: _Task) -> Records:
    records = Records()
    for visit in task.visits:
        records.add(write_visit(task.root, task.settings, visit))
    return records


def _write_tables(root: Path, settings: PhantomSettings, site: str, records: Records) -> None:
    native = _native_table(records)
    adapter(site).write(native, root / site)
    truth = pd.DataFrame(records.truth)
    label_columns = [name for name in map(str, truth) if name.startswith("true:")]
    (root / "truth").mkdir(exist_ok=True)
    truth.astype(dict.fromkeys(label_columns, "int8")).to_parquet(root / "truth" / f"{site}.parquet", index=False)
    boxes = pd.DataFrame(records.boxes, columns=["image_id", "finding", "x_min", "y_min", "x_max", "y_max"])
    boxes.to_parquet(root / "truth" / f"{site}-boxes.parquet", index=False)
    if site == "nih":
        published_boxes = boxes[boxes["finding"].isin(NIH_BOXES)].reset_index(drop=True)
        corners = ["x_min", "y_min", "x_max", "y_max"]
        # the published boxes are in pixels of the 1024 x 1024 original
        published_boxes[corners] *= BOX_FRAME_PX / settings.size
        adapter(site).write_boxes(published_boxes, root / site)
    if site == "vindr":
        published_boxes = boxes[boxes["finding"].isin(VINDR_BOXES)].reset_index(drop=True)
        adapter(site).write_boxes(
            published_boxes, root / site, published_boxes["image_id"].map(native.set_index("image_id")["split"])
        )


def _native_table(records: Records) -> pd.DataFrame:
    table = pd.DataFrame(records.native)
    for name in [str(column) for column in table]:
        if name.startswith(("native:", "expert:")) and name != "native:labels":
            table[name] = table[name].astype("Int8")
        if name.startswith("expert:") and table[name].isna().all():
            table = table.drop(columns=name)
    return table
