"""B13: reading and harmonizing a label table as large as that of MIMIC-CXR, against torchxrayvision on the same file.

The last row is about the second command of a study: it reads the table that the first command kept in the store.
A gate checks that our result equals that of the peer, the implementation that we compare with.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.planning.parsed_tables import ParsedTable
from benchmarks.harness import Benchmark, Measured, check, compared, interleaved, peer, spread, timed
from harmonize.cohorts.cohort import Cohort, load
from harmonize.cohorts.specs import CohortSpec
from harmonize.datasets.chexpert import LABELS
from harmonize.datasets.image_files import are_files
from harmonize.labels.findings import FINDINGS

ROWS = 377_000
ALONE = """
import sys
from pathlib import Path
from benchmarks.harness import largest_memory
from benchmarks.rows.cohorts import ours
found = ours(Path(sys.argv[1]))
print(len(found.table), len(found.id), largest_memory())
"""


def write(root: Path, rows: int) -> Path:
    """Write a random train.csv of frontal images in CheXpert's format.

    Images per patient, and the shares of blank and uncertain labels, are about those of CheXpert.
    """
    draw = np.random.default_rng(0)
    patient = np.sort(draw.integers(1, max(2, rows // 5), rows))
    raw = pd.DataFrame({"Path": [f"CheXpert-v1.0/train/patient{p:05d}/study1/view{i}_frontal.jpg" for i, p in enumerate(patient)]})  # fmt: skip
    raw["Sex"] = np.where(patient % 2, "Female", "Male")
    raw["Age"] = 18 + patient % 70
    raw["Frontal/Lateral"], raw["AP/PA"] = "Frontal", np.where(draw.random(rows) < 0.8, "AP", "PA")
    for label in LABELS:
        state = draw.choice([np.nan, 1.0, 0.0, -1.0], rows, p=[0.7, 0.18, 0.07, 0.05])
        raw[label] = state
    # as in CheXpert, no image has No Finding together with a finding that is present or uncertain
    findings = [label for label in LABELS if label not in ("No Finding", "Support Devices")]
    raw["No Finding"] = np.where(raw[findings].isin([1, -1]).any(axis=1) | (raw["No Finding"] != 1), np.nan, 1.0)
    root.mkdir(parents=True, exist_ok=True)
    raw.to_csv(root / "train.csv", index=False)
    return root / "train.csv"


def ours(root: Path) -> Cohort:
    """Return the cohort. Neither we nor the peer check that image files exist."""
    return load(CohortSpec("chexpert", "chexpert", root), images=False)


def theirs(path: Path) -> Any:
    """Return torchxrayvision's dataset of all frontal images."""
    xrv = peer("torchxrayvision")
    return xrv.datasets.CheX_Dataset(
        imgpath=str(path.parent), csvpath=str(path), views=["AP", "PA"], unique_patients=False
    )


def gate(path: Path) -> str:
    """Check that our labels equal the peer's, except in images with "No Finding": there the peer sets all to 0."""
    our_table, peer_dataset = ours(path.parent).table, theirs(path)
    written = (our_table["native:No Finding"] == 1).to_numpy()
    differ, num_compared = 0, int((~written).sum()) * len(peer_dataset.pathologies)
    for column, name in enumerate(peer_dataset.pathologies):
        state = our_table["native:" + {"Effusion": "Pleural Effusion"}.get(str(name), str(name))].to_numpy(float)
        expected = np.where(state >= 0, state, np.nan)  # the peer has NaN for uncertain and for not mentioned
        same = np.isclose(peer_dataset.labels[:, column], expected, equal_nan=True)
        differ += int((~same & ~written).sum())
    return check(
        differ == 0 and len(our_table) == len(peer_dataset.labels),
        f"{differ} of {num_compared:,} labels differ from the peer's; images with No Finding are not compared",
    )


def against(quick: bool) -> Measured:
    """Return the peer's time divided by ours."""
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), ROWS // 20 if quick else ROWS)
        gate_text = gate(path)
        implementations = {"ours": partial(ours, path.parent), "peer": partial(theirs, path)}
        spent = interleaved(implementations, 1 if quick else 5)
    seconds = {name: float(np.median(times)) for name, times in spent.items()}
    note = (
        f"peer {seconds['peer']:.2f} s, ours {seconds['ours']:.2f} s; "
        "only our time includes the conversion to findings, the splits and checks of every row"
    )
    return compared(spent["peer"], spent["ours"], gate_text, note)


def memory(quick: bool) -> Measured:
    """Return the peak memory in GB of a process that only reads and harmonizes the table."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), ROWS // 20 if quick else ROWS)
        process = subprocess.run([sys.executable, "-c", ALONE, folder], capture_output=True, text=True, check=True)
    rows, _, kilobytes = (int(number) for number in process.stdout.split())
    return spread([kilobytes / 1e6], f"none; {rows:,} rows were read", "memory of a process that does nothing else")


def kept(quick: bool) -> Measured:
    """Return the CPU seconds in which a kept table is read, without the search for image files.

    The search asks the file system for each listed image, or lists its folder. Its time depends on the disk, not on the table.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "dataset"
        write(root, ROWS // 20 if quick else ROWS)
        spec = CohortSpec("chexpert", "chexpert", root)
        parsed = ParsedTable(Path(folder) / "kept", spec, "default", FINDINGS, tables_alone=True)
        read, first_s = parsed.cohort(), timed(partial(load, spec, "default", FINDINGS, tables_alone=True))
        again = parsed.cohort()
        same = again.id == read.id and again.table.equals(read.table)
        gate_text = check(same, f"the kept cohort of {len(again.table):,} images equals the cohort that was read")
        implementations: dict[str, Callable[[], object]] = {
            "kept": parsed.cohort,
            "search": partial(are_files, root, read.table["path"]),
        }
        spent = interleaved(implementations, 1 if quick else 5)
    search_s = float(np.median(spent["search"]))
    note = f"CPU time without the search for image files ({search_s:.2f} s if there are none); first read, with the search: {first_s:.2f} s"
    return spread([all_s - search_s for all_s in spent["kept"]], gate_text, note)


BENCHMARKS = (
    Benchmark("B13", "read and harmonize a label table of 377,000 rows", "torchxrayvision", ">= 5", against),
    Benchmark("B13", "peak memory while a label table of 377,000 rows is read", "-", "<= 1.5", memory, "GB"),
    Benchmark("B13", "read a kept label table of 377,000 rows", "-", "<= 0.4", kept, "units"),
)
