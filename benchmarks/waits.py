"""Measure the CPU seconds of what people wait for: the demo, and commands on its store. Linux only.

    python -m benchmarks.waits demo                          # with an empty store, beside a plain script: minutes
    python -m benchmarks.waits commands STORE                # commands on a copy of the demo's store: first and second call
    python -m benchmarks.waits commands STORE compare check  # only these commands
    python -m benchmarks.waits bench run --grid open-mini --data data.yaml --weights DIR --store EMPTY     # any command

CPU seconds are those of all processes. The shell's `time` leaves out the workers of `bench run`: their parent is a fork server,
which the command does not wait for. Here, such processes are children of this program once their parent has ended.
The unit (benchmarks/unit.py) is measured just before, and goals are in units. The first call of a command is cold: the store was
just copied, and the caches of all libraries are empty. Nothing is written.
"""

import argparse
import contextlib
import ctypes
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.planning.manifest import read_manifest
from bench.store.store import Store
from benchmarks import results, unit

BENCH = (sys.executable, "-m", "bench.cli")
RANKING = '<section id="ranking"'
SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of Linux
DEMO_GOAL, RANKING_GOAL = 1.5, 0.4  # CPU time of the plain script; share of the demo's time
COLD = 1.25  # the first call of a command may take this many times as long as the second
GOALS = {  # units of the second call
    "predict": 4.0,
    "predict-timm": 4.0,
    "compare": 2.5,
    "compare-unknown-metric": 0.9,
    "report": 2.0,
    "export": 4.0,
    "verify": 4.0,
    "check": 4.0,
    "labels-needed": 4.0,
    "estimate": 4.0,
}


def spent(words: Sequence[str], folder: Path, watch: Callable[[], None] | None = None, code: int = 0) -> float:
    """Run a command to its end and return the CPU seconds of all its processes; `watch` is called twice a second."""
    ctypes.CDLL(None).prctl(SUBREAPER, 1)
    before = _reaped()
    with subprocess.Popen(words, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        while watch and process.poll() is None:
            watch()
            time.sleep(0.5)
        error = process.communicate()[1].decode()
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()
    if process.returncode != code:
        raise SystemExit(f"{' '.join(words)}: exit {process.returncode}\n{error}")
    return _reaped() - before


def _reaped() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def demo(unit_s: float) -> None:
    """Run the grid `demo` in an empty folder and print its CPU seconds, and the share when the page first had a ranking.

    Then `benchmarks.plain` trains, predicts and scores the same runs on the demo's images.
    """
    with tempfile.TemporaryDirectory() as name:
        folder, begun = Path(name), time.monotonic()
        page, first = folder / "runs" / "report" / "demo" / "leaderboard.html", list[float]()

        def watch() -> None:
            if not first and page.exists() and RANKING in page.read_text(encoding="utf-8"):
                first.append(time.monotonic() - begun)

        total = spent([*BENCH, "run", "--grid", "demo", "--quiet"], folder, watch)
        wall = time.monotonic() - begun
        plain = spent([sys.executable, "-m", "benchmarks.plain", str(folder / "runs")], folder)
    print(f"demo: {_figure(total, unit_s)}, {wall:.0f} s; plain script: {_figure(plain, unit_s)}")
    print(f"ratio: {total / plain:.2f}; goal {DEMO_GOAL:g}: {_met(total / plain, DEMO_GOAL)}")
    share = first[0] / wall if first else 1.0
    print(f"first ranking: after {share:.0%} of the time; goal {RANKING_GOAL:.0%}: {_met(share, RANKING_GOAL)}")


def commands(source: Path, names: Sequence[str], unit_s: float) -> None:
    """Print a row for each command: units of its first and second call in a copy of the store, and the goals."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(source, folder / "runs", symlinks=True)
        manifest = read_manifest(Store.open(folder / "runs", create=False), None)
        runs = {run.config.architecture: run.id for run in manifest.runs}
        timm, own = runs["regnety_tiny"], runs["seresnet_tiny"]
        # images of other patients: `estimate` refuses those of a hospital whose scores are known
        drawn = ["data", "phantom", "other", "--source", "30", "--external", "30", "--seed", "7", "--quiet"]
        spent([*BENCH, *drawn], folder)
        images = sorted((folder / "other" / "mimic").rglob("*.jpg"))[:30]
        (folder / "inbox").mkdir()
        for image in images:
            shutil.copy(image, folder / "inbox")
        words = {
            "predict": ["predict", own, str(images[0])],
            "predict-timm": ["predict", timm, str(images[0])],
            "compare": ["compare", own, timm],
            "compare-unknown-metric": ["compare", own, timm, "--metric", "accuracy"],
            "report": ["report", "--quiet"],
            "export": ["export", "-o", "ours.zip", "--quiet"],
            "verify": ["verify", "ours.zip", "--quiet"],
            "check": ["check", timm, "--quiet"],
            "labels-needed": ["labels-needed", "--quiet"],
            "estimate": ["estimate", "inbox", "--quiet"],
        }
        if "verify" in names and "export" not in names:
            spent([*BENCH, *words["export"]], folder)
        print("| command | first call | second call | goals |\n|---|---|---|---|")
        for command in names or GOALS:
            code = 2 if command == "compare-unknown-metric" else 0
            os.environ["HOME"] = os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(dir=folder)
            cold, warm = (spent([*BENCH, *words[command]], folder, code=code) / unit_s for _ in range(2))
            goal = GOALS[command]
            goals = f"{goal * COLD:.2g}: {_met(cold, goal * COLD)}; {goal:g}: {_met(warm, goal)}"
            print(f"| `{command}` | {cold:.1f} | {warm:.1f} | {goals} |", flush=True)


def _figure(cpu: float, unit_s: float) -> str:
    return f"{cpu:.1f} CPU s ({cpu / unit_s:.1f} units)"


def _met(value: float, goal: float) -> str:
    return "met" if value <= goal else "missed"


def main() -> None:
    """Measure the unit, then the demo or the commands."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.waits", description=(__doc__ or "").partition("\n")[0])
    kinds = parser.add_subparsers(dest="kind", required=True)
    kinds.add_parser("demo", help="the grid `demo` in an empty folder")
    of_commands = kinds.add_parser("commands", help="commands on a copy of the demo's store")
    of_commands.add_argument("store", type=Path)
    of_commands.add_argument("names", nargs="*", choices=[*GOALS, []], metavar="COMMAND", help=f"of {', '.join(GOALS)}")
    of_bench = kinds.add_parser("bench", help="any command of `bench`", prefix_chars="+")
    of_bench.add_argument("words", nargs="+", metavar="WORD", help="the command and its options")
    options = parser.parse_args()
    parts = unit.seconds()
    print(unit.text(parts, results.machine()))
    if options.kind == "demo":
        demo(sum(parts.values()))
    elif options.kind == "bench":
        begun = time.monotonic()
        cpu = spent([*BENCH, *options.words], Path.cwd())
        print(f"bench {' '.join(options.words)}: {_figure(cpu, sum(parts.values()))}, {time.monotonic() - begun:.0f} s")
    else:
        commands(options.store, options.names, sum(parts.values()))


if __name__ == "__main__":
    main()
