"""Measure CPU time and memory of `bench run --dry-run`, `--estimate` and `bench check --data` on cohorts as large as the published datasets.

    python benchmarks/plan.py FOLDER                      # the dry run
    python benchmarks/plan.py FOLDER --estimate           # the forecast
    python benchmarks/plan.py FOLDER --check --quick      # `bench check --data`, which opens no image
    python benchmarks/plan.py FOLDER --only densenet121   # arguments of `bench run`

FOLDER gets small synthetic cohorts and large cohorts. A large cohort repeats the patients of a small cohort under new ids until
it has as many images as the published dataset. All cohorts have the file layout of the published datasets; the images of large
cohorts are hard links to the images of small cohorts. CPU seconds are those of all processes of the command; memory is the peak
memory of the largest process.
"""

import argparse
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

from harmonize.datasets import adapter

# number of images of the published datasets
PUBLISHED = {
    "chexpert": 224_316,
    "mimic": 377_110,
    "nih": 112_120,
    "padchest": 160_868,
    "vindr": 18_000,
    "brax": 40_967,
}
Names = tuple[str, str, str, str]  # image id, patient id, study id, path


def _mimic(patient: int, image: int) -> Names:
    name, of_patient, study = f"{image:08x}" + "-00000000" * 4, f"{10_000_000 + patient}", f"{50_000_000 + image}"
    return name, of_patient, study, f"files/p{of_patient[:2]}/p{of_patient}/s{study}/{name}.jpg"


def _brax(patient: int, image: int) -> Names:
    of_patient = f"{patient:08x}-0000-0000-0000-000000000000"
    name = f"id_{of_patient}/Study_{image}/Series_1/image-1"
    return name, of_patient, str(image), f"images/{name}.png"


# layout -> function that returns the names of an image, from the number of the patient and the number of the image
NAMES: dict[str, Callable[[int, int], Names]] = {
    "chexpert": lambda p, i: (
        f"patient{p:06d}_study{i}_view1_frontal",
        f"patient{p:06d}",
        f"patient{p:06d}/study{i}",
        f"train/patient{p:06d}/study{i}/view1_frontal.jpg",
    ),
    "mimic": _mimic,
    "nih": lambda p, i: (f"{p:08d}_{i}.png", str(p), f"{p}/{i}", f"images_001/images/{p:08d}_{i}.png"),
    "padchest": lambda p, i: (f"{i:030d}.png", f"{p:030d}", f"{i:030d}", f"images/0/{i:030d}.png"),
    "vindr": lambda _, i: (f"{i:032x}", f"{i:032x}", f"{i:032x}", f"train/{i:032x}.dicom"),
    "brax": _brax,
}


def enlarge(small: Path, large: Path, layout: str, images: int) -> None:
    """Write a dataset of `images` images that repeats the patients of a small one under new ids."""
    native = adapter(layout).read(small / layout)
    native = native[native["path"] != ""]
    if layout in ("chexpert", "vindr"):
        native = native[native["split"] == "train"]
    native = native[[column for column in native if not str(column).startswith("expert:")]].reset_index(drop=True)
    order = np.arange(images) % len(native)
    patient, patients = pd.factorize(native["patient_id"])
    of_image = patient[order] + len(patients) * (np.arange(images) // len(native))
    names = [NAMES[layout](int(p), i) for i, p in enumerate(of_image, 1)]
    table = native.iloc[order].reset_index(drop=True)
    table[["image_id", "patient_id", "study_id", "path"]] = pd.DataFrame(names)
    adapter(layout).write(table, large / layout)
    for source, name in zip(native["path"].iloc[order], table["path"], strict=True):
        target = large / layout / name
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(small / layout / source, target)


def main() -> None:
    """Make the cohorts once, run the command, and print its CPU seconds and memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--grid", default="main-study")
    parser.add_argument("--estimate", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--share", type=float, default=1.0, help="share of the published number of images")
    arguments, more = parser.parse_known_args()
    bench = [sys.executable, "-m", "bench.cli"]
    small, large = arguments.folder / "small", arguments.folder / f"large-{arguments.share:g}"
    if not (small / "phantom.json").is_file():
        subprocess.run([*bench, "data", "phantom", str(small), "--source", "400", "--external", "400"], check=True)
    missing = {layout: images for layout, images in PUBLISHED.items() if not (large / layout).is_dir()}
    # enlarge in other processes, because Linux counts the memory of this process as memory of the command that it starts
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        for layout, images in missing.items():
            pool.submit(enlarge, small, large, layout, round(arguments.share * images)).result()
    flag = "--estimate" if arguments.estimate else "--dry-run"
    task = ["check"] if arguments.check else ["run", "--grid", arguments.grid, flag]
    command = [*task, "--data", str(large), "--store", str(arguments.folder / "runs")]
    began = time.perf_counter()
    process = subprocess.Popen([*bench, *command, *more])
    _, status, usage = os.wait4(process.pid, 0)
    seconds = usage.ru_utime + usage.ru_stime
    print(f"{seconds:.0f} CPU s, {time.perf_counter() - began:.0f} s, {usage.ru_maxrss * 1024 / 1e9:.2f} GB")
    sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
