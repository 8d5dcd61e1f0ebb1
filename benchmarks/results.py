"""Read and write the table of benchmarks in `results.csv` and `RESULTS.md`, and compare it with committed results.

A figure is the measured value of a benchmark. The spread of a figure is the range of the values over the rounds.
"""

import csv
import io
import math
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from importlib import metadata
from pathlib import Path
from typing import Self

from benchmarks.harness import Benchmark, GateFailed, Measured, NotMeasured, parse_goal

BEGIN = "<!-- begin: written by `python -m benchmarks`, do not edit -->"
END = "<!-- end -->"
# a figure counts as worse if it is worse by more than this share, and the spreads of both figures do not overlap
WORSE = 0.10
WORSE_ELSEWHERE = 1 / 3  # the same for a ratio to a peer that was measured on another processor
UNITS = "units"  # the benchmark measures CPU seconds; its figure and goal are in units of `benchmarks.unit`
_NUMERIC = ("ratio", "low", "high")
_LIBRARIES = ("numpy", "torch", "torchvision", "opencv-python-headless", "pillow")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table. If nothing was measured, figure and spread are NaN, and `gate` states the reason."""

    benchmark: str
    what: str
    peer: str
    ratio: float
    low: float
    high: float
    unit: str
    goal: str
    met: str  # whether the goal is met: yes, no, or "" without a goal or a figure
    gate: str
    note: str
    commit: str
    machine: str

    @property
    def key(self) -> tuple[str, str, str]:
        """Return the three fields that identify the row."""
        return self.benchmark, self.what, self.peer

    @property
    def measured(self) -> bool:
        """Return whether the row has a figure."""
        return math.isfinite(self.ratio)


def row(benchmark: Benchmark, result: Measured | Exception, commit: str, machine: str, unit_s: float = math.nan) -> Row:
    """Return the table row of a benchmark's result, or of the exception that prevented a result.

    unit_s: CPU seconds of one unit, for a benchmark whose figure is in units.
    """
    blank = Row(
        benchmark.name,
        benchmark.what,
        benchmark.peer,
        *(math.nan,) * 3,
        benchmark.unit,
        benchmark.goal,
        *("",) * 3,
        commit,
        machine,
    )
    if isinstance(result, NotMeasured):
        return replace(blank, gate=f"not measured: {result}")
    if isinstance(result, GateFailed):
        return replace(blank, gate=f"FAILED: {result}", met="no" if benchmark.goal else "")
    if isinstance(result, Exception):
        return replace(blank, gate=f"CRASHED: {type(result).__name__}: {result}", met="no" if benchmark.goal else "")
    figures, note = [result.ratio, result.low, result.high], result.note
    if benchmark.unit == UNITS:
        figures = [seconds / unit_s for seconds in figures]
        note = f"{note}; 1 unit = {figure(unit_s)} CPU s".removeprefix("; ")
    ratio, low, high = figures
    met = ""
    if benchmark.goal:
        more_is_better, bound = parse_goal(benchmark.goal)
        met = "yes" if (ratio >= bound if more_is_better else ratio <= bound) else "no"
    return replace(blank, ratio=ratio, low=low, high=high, met=met, gate=result.gate, note=note)


def worse(now: Row, before: Row, share: float = WORSE) -> bool:
    """Return whether a figure is worse by more than `share`, and the spreads of both figures do not overlap.

    The goal states whether larger or smaller figures are better. Without a goal, larger ratios (unit "x") are better; in
    all other units, smaller figures are better.
    """
    if not (now.measured and before.measured):
        return False
    more_is_better = parse_goal(now.goal)[0] if now.goal else now.unit == "x"
    if more_is_better:
        return now.high < before.low and now.ratio < before.ratio * (1 - share)
    return now.low > before.high and now.ratio > before.ratio * (1 + share)


def verdict(now: Row, before: Mapping[tuple[str, str, str], Row], *, across_machines: bool = False) -> str:
    """Return the verdict on a row, compared with the committed rows `before`.

    "failed"        the gate failed, or the benchmark crashed; the command fails
    "worse: ..."    the row is worse than the committed row of the same processor; the command fails. If that is of another
                    processor, `across_machines` gives this verdict to a ratio that is worse by a third
    "less than on another machine: ..."   the row is worse than the committed row, which is of another processor
    ""              none of these
    """
    old = before.get(now.key)
    if now.gate.startswith(("FAILED", "CRASHED")):
        return "failed"
    if old is None or old.unit != now.unit or not worse(now, old):
        return ""
    old_figure = f"{figure(old.ratio)} [{figure(old.low)}, {figure(old.high)}] at {old.commit}"
    same = processor(old) == processor(now)
    if same or (across_machines and now.unit == "x" and worse(now, old, WORSE_ELSEWHERE)):
        return f"worse: was {old_figure}"
    return f"less than on another machine: {old_figure}"


def merged(old: Iterable[Row], new: Iterable[Row]) -> list[Row]:
    """Return all rows in the order of their names.

    A new row replaces the old row of the same key. If the new row is "not measured" and the old row has a figure, the old row stays.
    """
    rows = {row.key: row for row in old}
    for row in new:
        current = rows.get(row.key)
        if row.measured or row.gate.startswith(("FAILED", "CRASHED")) or current is None or not current.measured:
            rows[row.key] = row
    return sorted(rows.values(), key=lambda row: (row.benchmark[:1], int(row.benchmark[1:])))


def write_csv(rows: Sequence[Row]) -> str:
    """Return the rows as CSV text; figures have four digits."""
    out = io.StringIO()
    writer = csv.DictWriter(out, [field.name for field in fields(Row)], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(asdict(row) | {k: figure(getattr(row, k)) for k in _NUMERIC})
    return out.getvalue()


def read_csv(text: str) -> list[Row]:
    """Return the rows of a CSV text. Raises ValueError if the columns are not those of a Row."""
    reader = csv.DictReader(io.StringIO(text))
    if reader.fieldnames != [field.name for field in fields(Row)]:
        raise ValueError(f"results.csv has the columns {reader.fieldnames}, not those of a Row")
    return [
        Row(
            **{
                column: (float(value) if value else math.nan) if column in _NUMERIC else value
                for column, value in row.items()
            }
        )  # type: ignore[arg-type]
        for row in reader
    ]


def figure(value: float) -> str:
    """Return a number as text with four significant digits, "" for NaN.

    >>> figure(1234.56), figure(0.012345), figure(float("nan"))
    ('1235', '0.01235', '')
    """
    if math.isnan(value):
        return ""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table, followed by a list of the machines and commits of the measurements."""
    sources = list(dict.fromkeys((row.machine, row.commit) for row in rows if row.measured))
    lines = ["| row | what | peer | figure | smallest to largest | goal | met | check | note |", "|---" * 9 + "|"]
    for row in rows:
        # for a ratio, say which time is divided by which: with a goal "<=", ours by the peer's, else the peer's by ours
        direction = "" if row.unit != "x" else " as long" if row.goal.startswith("<=") else " as fast"
        shown = f"**{figure(row.ratio)}** {row.unit}{direction}" if row.measured else "-"
        bounds = f"{figure(row.low)} to {figure(row.high)}" if row.measured else ""
        mark = f" [{sources.index((row.machine, row.commit)) + 1}]" if row.measured else ""
        cells = (row.what, row.peer, shown, bounds, row.goal, row.met, row.gate, row.note)
        lines.append(f"| {row.benchmark}{mark} | " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    # versions that are equal on all machines are written once
    versions = {machine.partition(", Python ")[2] for machine, _ in sources}
    shared = f", Python {min(versions)}" if len(sources) > 1 and len(versions) == 1 and min(versions) else ""
    lines += [""] + [f"[{i}] {m.removesuffix(shared)}; commit {commit}  " for i, (m, commit) in enumerate(sources, 1)]
    lines += [f"All with {shared.removeprefix(', ')}"] if shared else []
    return "\n".join(lines).rstrip() + "\n"


def rewritten(document: str, rows: Sequence[Row]) -> str:
    """Return the document with the table between its two markers.

    If the document has no markers, the table is inserted before the first heading of level two.
    """
    block = f"{BEGIN}\n\n{table(rows)}\n{END}"
    if BEGIN in document and END in document.split(BEGIN, 1)[1]:
        before, rest = document.split(BEGIN, 1)
        return before + block + rest.split(END, 1)[1]
    head, mark, rest = document.partition("\n## ")
    return head.rstrip() + f"\n\n{block}\n" + (mark + rest if mark else "")


def line(row: Row, verdict: str) -> str:
    """Return the text of a row for the terminal."""
    head = f"{row.benchmark:<4} {row.what}, against {row.peer}" if row.peer != "-" else f"{row.benchmark:<4} {row.what}"
    if not row.measured:
        return f"{head}\n     {row.gate}"
    goal = f"; goal {row.goal}: {'met' if row.met == 'yes' else 'MISSED'}" if row.goal else ""
    shown = f"{figure(row.ratio)} {row.unit} [{figure(row.low)}, {figure(row.high)}]"
    return f"{head}\n     {shown}{goal}; {row.gate}; {row.note}" + (f"\n     {verdict.upper()}" if verdict else "")


@dataclass(frozen=True, slots=True, eq=False)
class Session:
    """The rows of one command: each is printed, compared with committed rows and, with `writes`, written at once."""

    folder: Path
    commit: str
    machine: str
    before: Mapping[tuple[str, str, str], Row]  # committed figures
    known: frozenset[tuple[str, str, str]]  # keys of all benchmarks; other rows leave the table
    writes: bool
    in_ci: bool

    @classmethod
    def begin(
        cls, folder: Path, available: Iterable[Benchmark], *, writes: bool, compares: bool = True, in_ci: bool = False
    ) -> Self:
        """Begin a session whose table is in `folder`. compares: read the committed figures."""
        csv = folder / "results.csv"
        before = {row.key: row for row in committed(csv)} if compares else {}
        known = frozenset(benchmark.key for benchmark in available)
        return cls(folder, commit(folder.parent), machine(), before, known, writes, in_ci)

    def add(self, benchmark: Benchmark, result: Measured | Exception, unit_s: float = math.nan) -> bool:
        """Print a result, and write it with `writes`; return whether the benchmark failed or became worse.

        unit_s: CPU seconds of one unit, measured just before a benchmark in units.
        The table is written after each benchmark, so that an interruption loses the result of at most one benchmark.
        """
        new = row(benchmark, result, self.commit, self.machine, unit_s)
        found = verdict(new, self.before, across_machines=self.in_ci)
        print(line(new, found), flush=True)
        if self.writes:
            csv, document = self.folder / "results.csv", self.folder / "RESULTS.md"
            old = read_csv(csv.read_text(encoding="utf-8")) if csv.is_file() else []
            rows = merged([old_row for old_row in old if old_row.key in self.known], [new])
            csv.write_text(write_csv(rows), encoding="utf-8")
            document.write_text(rewritten(document.read_text(encoding="utf-8"), rows), encoding="utf-8")
        return found.startswith(("worse", "failed"))


def committed(path: Path) -> list[Row]:
    """Return the rows of the last commit. Without git, return the rows of the file; without a file, none."""
    git = subprocess.run(
        ["git", "show", f"HEAD:./{path.name}"],
        cwd=path.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    if git.returncode == 0:
        return read_csv(git.stdout)
    return read_csv(path.read_text(encoding="utf-8")) if path.is_file() else []


def commit(folder: Path) -> str:
    """Return the commit of a work tree, followed by "+" if tracked files were changed; "unknown" without git."""
    git = ["git", "-C", str(folder)]
    head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    if head.returncode:
        return "unknown"
    changed = ["status", "--porcelain", "--untracked-files=no", "--", ".", ":!benchmarks/results.csv", ":!*.md"]
    state = subprocess.run([*git, *changed], capture_output=True, text=True, check=False)
    return head.stdout.strip() + ("+" if state.stdout.strip() else "")


def machine() -> str:
    """Return a description of this machine: processor, cores, GPU, Python and libraries."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    import torch

    gpu = [torch.cuda.get_device_name(0)] if torch.cuda.is_available() else []
    versions = []
    for name in _LIBRARIES:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    cores = f"{len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} cores"
    return ", ".join([model, cores, *gpu, f"Python {platform.python_version()}", *versions])


def processor(row: Row) -> str:
    """Return the part of a row's machine that decides its figures: the GPU for rows G1 and G2, else the processor."""
    model, _, others = row.machine.partition(", ")
    return others.partition(", ")[2].partition(", ")[0] if row.benchmark.startswith("G") else model
