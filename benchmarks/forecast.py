"""Measure the time and memory of `bench run --estimate`, and compare its forecast with the time and disk space that the grid then uses.

    OMP_NUM_THREADS=1 python benchmarks/forecast.py                       # three small grids
    OMP_NUM_THREADS=1 python benchmarks/forecast.py sam                   # one of them
    OMP_NUM_THREADS=1 python benchmarks/forecast.py --no-run demo         # only the forecast, of a shipped grid

For each grid, the script runs `bench run --estimate` twice in a new store. The first call also makes the phantom cohorts; the second
call is measured. Then the script runs the same command without `--estimate`. Times are CPU seconds of the command and of all
processes that it starts, because other work on the machine changes CPU time less than wall-clock time. Memory is that of the
largest process. The script needs Linux.
"""

import argparse
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


HEAD = (
    "| grid | forecast, CPU s | rehearsal, CPU s | rehearsal / forecast | rehearsal, GB | used, CPU s | used / forecast | forecast, MB | used, MB |\n"
    "|---|---|---|---|---|---|---|---|---|"
)


def command(grid: str, store: Path, *extra: str) -> tuple[str, float, float]:
    """Run a grid; return the printed text, the CPU seconds of all processes, and the peak memory in GB of the largest process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    arguments = [sys.executable, "-m", "bench.cli", "run", "--grid", grid, "--store", str(store)]
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen([*arguments, "--device", "cpu", "--workers", "1", *extra], stdout=output)
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"bench run --grid {grid} failed")
        # Wait for workers that are still running after the command has ended.
        while True:
            try:
                os.wait()
            except ChildProcessError:
                break
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        output.seek(0)
        text = output.read()
    cpu_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return text, cpu_seconds, usage.ru_maxrss * 1024 / 1e9


def main() -> None:
    """Print a row for each grid as soon as it is finished."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(GRIDS), help=f"{', '.join(GRIDS)}, or shipped grids")
    parser.add_argument("--no-run", action="store_true", help="measure only the forecast")
    options = parser.parse_args()
    # 36 is PR_SET_CHILD_SUBREAPER: orphaned workers become children of this process, so that their CPU time is counted.
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
    print(HEAD, flush=True)
    for name in options.names:
        with tempfile.TemporaryDirectory() as folder:
            grid, title, store = name, f"`{name}`", Path(folder) / "runs"
            if name in GRIDS:
                grid, title = str(Path(folder) / f"{name}.yaml"), GRIDS[name]["title"]
                Path(grid).write_text(yaml.safe_dump({"name": f"forecast-{name}", "split": SPLIT, **GRIDS[name]}))
            command(grid, store, "--estimate")
            output, rehearsal_s, rehearsal_gb = command(grid, store, "--estimate")
            forecast_s = 3600 * float(re.search(r"([\d.e+-]+) core-hours", output).group(1))
            number, unit = re.search(r"disk: ([\d.]+) (.)B at the end", output).groups()
            forecast_mb = float(number) * {"k": 1e-3, "M": 1.0, "G": 1e3}[unit]
            used = "not run | not run", "not run"
            if not options.no_run:
                _, used_s, _ = command(grid, store)
                files = [path for part in PARTS for path in store.glob(f"{part}/**/*") if path.is_file()]
                used = f"{used_s:.0f} | {used_s / forecast_s:.2f}", f"{sum(f.stat().st_size for f in files) / 1e6:.1f}"
            rehearsal = f"{rehearsal_s:.0f} | {rehearsal_s / forecast_s:.2f} | {rehearsal_gb:.2f}"
            cells = f"{forecast_s:.0f} | {rehearsal} | {used[0]} | {forecast_mb:.1f} | {used[1]}"
            print(f"| {title} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
