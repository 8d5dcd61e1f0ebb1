"""Compare the forecast of `bench run --estimate` with the time and disk space that the grid then uses, for three small grids.

    OMP_NUM_THREADS=1 python benchmarks/forecast.py [analyses] [sam] [ensembles]

For each grid, the script runs `bench run --estimate` in a new store, which also makes the phantom cohorts. Then it runs the same
command without `--estimate`. Times are CPU seconds of the command and of all processes that it starts, because other work on the
machine changes CPU time less than wall-clock time. The script needs Linux.
"""

import ctypes
import os
import re
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

BASE = {
    "train_on": "chexpert", "weights": "none", "channels": 1, "loss": "bce", "uncertainty": "u_ignore", "preprocessing": "imagenet_64",
}  # fmt: skip
SPLIT = {"train": 0.7, "val": 0.15, "test": 0.15}
ALL = ["mimic", "nih", "padchest", "vindr", "brax"]
GRIDS = {
    "analyses": {
        "title": "two architectures, every analysis",
        "evaluate_on": ALL,
        "phantom": {"source": 1200, "external": 200, "size": 128},
        "base": {**BASE, "architecture": "seresnet_tiny", "optimizer": "adamw", "schedule": {"epochs": 4, "batch_size": 48}},
        "sweeps": [{"architecture": ["seresnet_tiny", "regnety_002"]}],
    },
    "sam": {
        "title": "SAM and AdamW in large augmented batches, no analyses",
        "evaluate_on": ["mimic", "nih", "vindr"],
        "analyses": False,
        "phantom": {"source": 1600, "external": 160, "size": 128},
        "base": {
            **BASE, "architecture": "regnety_002", "optimizer": "adamw", "augmentation": "light",
            "schedule": {"epochs": 4, "batch_size": 192},
        },
        "sweeps": [{"optimizer": ["sam", "adamw"]}],
    },
    "ensembles": {
        "title": "three seeds of Lion, TTA and an ensemble, no analyses",
        "evaluate_on": ALL,
        "analyses": False,
        "min_count": 5,
        "phantom": {"source": 500, "external": 100, "size": 96},
        "tta": ["three_views"],
        "ensembles": [{"name": "all seeds", "of": {"architecture": "seresnet_tiny"}}],
        "base": {**BASE, "architecture": "seresnet_tiny", "optimizer": "lion", "schedule": {"epochs": 2, "batch_size": 32}},
        "sweeps": [{"seed": [0, 1, 2]}],
    },
}  # fmt: skip
PARTS = ("cache", "scores", "analyses", "[0-9a-f][0-9a-f]")  # folders of the store whose size the forecast predicts


def command(grid: Path, store: Path, *extra: str) -> tuple[str, float]:
    """Run a grid; return the printed text and the CPU seconds of all its processes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    arguments = [
        sys.executable,
        "-m",
        "bench.cli",
        "run",
        "--grid",
        str(grid),
        "--store",
        str(store),
        "--device",
        "cpu",
        "--workers",
        "1",
    ]
    output = subprocess.run([*arguments, *extra], check=True, capture_output=True, text=True).stdout
    # Wait for workers that are still running after the command has ended.
    while True:
        try:
            os.wait()
        except ChildProcessError:
            break
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return output, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(names: list[str]) -> None:
    """Print a row for each grid as soon as it is finished."""
    # 36 is PR_SET_CHILD_SUBREAPER: orphaned workers become children of this process, so that their CPU time is counted.
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
    print(
        "| grid | forecast, CPU s | used, CPU s | ratio | forecast, MB | used, MB |\n|---|---|---|---|---|---|",
        flush=True,
    )
    for name in names or GRIDS:
        with tempfile.TemporaryDirectory() as folder:
            grid, store = Path(folder) / f"{name}.yaml", Path(folder) / "runs"
            grid.write_text(yaml.safe_dump({"name": f"forecast-{name}", "split": SPLIT, **GRIDS[name]}))
            output, _ = command(grid, store, "--estimate")
            hours = float(re.search(r"([\d.e+-]+) core-hours", output).group(1))
            number, unit = re.search(r"disk: ([\d.]+) (.)B at the end", output).groups()
            forecast_mb = float(number) * {"k": 1e-3, "M": 1.0, "G": 1e3}[unit]
            _, cpu_seconds = command(grid, store)
            stored_mb = (
                sum(p.stat().st_size for folder_name in PARTS for p in store.glob(f"{folder_name}/**/*") if p.is_file())
                / 1e6
            )
            cells = f"{3600 * hours:.0f} | {cpu_seconds:.0f} | {cpu_seconds / (3600 * hours):.2f} | {forecast_mb:.1f} | {stored_mb:.1f}"
            print(f"| {GRIDS[name]['title']} | {cells} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
