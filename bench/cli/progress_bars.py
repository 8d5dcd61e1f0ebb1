"""Show progress on standard error: bars on a terminal, a line every 15 seconds in a log, only warnings with --quiet."""

import sys
import time
from types import TracebackType
from typing import Any, Self

from bench.cli.text_tables import span

OVERALL = "all runs"  # key of the bar that shows all runs together
BAR = 32  # characters of a line that the bar, the percentage, the time left and the gaps take
SHORTEST_NAME = 12  # minimum number of characters for the name of a run


class TimeLeft:
    """An estimate of the time that a task still needs, from the mean speed since the task began."""

    def __init__(self) -> None:
        self.total, self.done = 0, 0.0
        self.start_s, self.start_done = 0.0, 0.0

    def seconds(self, done: float, total: int) -> float | None:
        """Return the estimated seconds until the task ends, None while nothing is done.

        `done` and `total`: number of units that are done, and number of all units. If `total` changes or `done` becomes smaller, a
        new task begins.
        """
        if total != self.total or done < self.done or not self.start_s:
            self.start_s, self.start_done = time.monotonic(), done
        self.total, self.done = total, done
        if done <= self.start_done:
            return None
        return (time.monotonic() - self.start_s) / (done - self.start_done) * (total - done)


class TerminalDisplay:
    """Progress bars on a terminal: one for all runs together, one for each active run, and one for the main process."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=10),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[left]}", markup=False),
        )
        self.bars = Progress(*columns, console=Console(stderr=True))
        self.tasks: dict[str, Any] = {}
        self.left: dict[str, TimeLeft] = {}
        self.main = ""

    def __enter__(self) -> Self:
        self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bars.stop()

    def progress(self, what: str, done: int, total: int) -> None:
        """Update the bar of the main process. `what`: name of its present step; the bar of another step is removed."""
        if self.main and self.main != what:
            self._close(self.main)
        self.main = what
        self._show(what, f"{what} {done}/{total}", done, total)

    def run_progress(self, run_id: str, name: str, what: str, done: int, total: int) -> None:
        """Update the bar of a run. `what`: name of its present step.

        If the line is narrow, only the end of the run's name is shown. Many runs share the beginning, which is the architecture.
        """
        _, slash, analysis = run_id.partition("/")
        label = f"{name}{slash}{analysis}" if name else run_id
        room = max(SHORTEST_NAME, self.bars.console.width - BAR - len(what))
        label = label if len(label) <= room else f"…{label[1 - room :]}"
        self._show(run_id, f"{label}  {what}", done, total)

    def overall_progress(self, what: str, finished: int, done: float, total: int) -> None:
        """Update the bar of all runs; remove the bar when all runs have finished.

        `what`: text before the numbers. `finished`: number of runs that have ended. `done`: this number plus the finished parts of
        the active runs. `total`: number of all runs.
        """
        self._show(OVERALL, f"{what} {finished}/{total}", done, total)
        if finished >= total:
            self._close(OVERALL)

    def say(self, text: str) -> None:
        """Print a line above the bars. If the line begins with the key of a bar, such as a run id, remove this bar."""
        for key in [k for k in self.tasks if text.startswith(k)]:
            self._close(key)
        self.bars.console.print(text, highlight=False, markup=False)

    def warn(self, text: str) -> None:
        """Print a line above the bars."""
        self.say(text)

    def _show(self, key: str, text: str, done: float, total: int) -> None:
        if key not in self.tasks:
            self.tasks[key] = self.bars.add_task(text, total=total, left="")
            self.left[key] = TimeLeft()
        seconds = self.left[key].seconds(done, total)
        left = "" if seconds is None else f"{span(seconds)} left"
        self.bars.update(self.tasks[key], description=text, completed=done, total=total, left=left)
        if done >= total and key == self.main:
            self._close(key)

    def _close(self, key: str) -> None:
        if key in self.tasks:
            self.bars.remove_task(self.tasks.pop(key))
            del self.left[key]


class LineDisplay:
    """Progress lines for logs: every 15 seconds one line for each active task, with the time left."""

    def __init__(self, every_s: float = 15.0) -> None:
        self.every_s = every_s
        self.left: dict[str, TimeLeft] = {}
        self.last: dict[str, float] = {}  # key -> time of its start or of its last line

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def progress(self, what: str, done: int, total: int) -> None:
        """Print a line for a step of the main process, if its last line is at least `every_s` seconds old."""
        self._show(what, f"{what}: {done}/{total}", done, total)

    def run_progress(self, run_id: str, name: str, what: str, done: int, total: int) -> None:
        """Print a line for a run, if the last line of this run is at least `every_s` seconds old."""
        self._show(run_id, f"{run_id}{' ' if name else ''}{name}  {what}: {done}/{total}", done, total)

    def overall_progress(self, what: str, finished: int, done: float, total: int) -> None:
        """Print a line for all runs together, if the last such line is at least `every_s` seconds old."""
        self._show(OVERALL, f"{what}: {finished}/{total}", done, total)

    def say(self, text: str) -> None:
        """Print a line."""
        self.warn(text)

    def warn(self, text: str) -> None:
        """Print a line, also if nothing else is shown."""
        print(text, file=sys.stderr, flush=True)

    def _show(self, key: str, text: str, done: float, total: int) -> None:
        now = time.monotonic()
        seconds = self.left.setdefault(key, TimeLeft()).seconds(done, total)
        if seconds is not None and now - self.last.setdefault(key, now) >= self.every_s:
            self.say(f"{text}, about {span(seconds)} left")
            self.last[key] = now


class QuietDisplay(LineDisplay):
    """A display that shows no progress. Results still go to standard output; warnings and errors, to standard error."""

    def _show(self, key: str, text: str, done: float, total: int) -> None:  # noqa: ARG002
        return None

    def say(self, text: str) -> None:
        """Ignore the text: this display prints nothing."""


def choose_display(quiet: bool) -> TerminalDisplay | LineDisplay:
    """Return a display that shows nothing (`quiet`), bars (standard error is a terminal) or lines."""
    if quiet:
        return QuietDisplay()
    return TerminalDisplay() if sys.stderr.isatty() else LineDisplay()
