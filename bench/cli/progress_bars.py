"""Progress on standard error: bars on a terminal, a line every 15 seconds in a log, nothing with --quiet."""

import sys
import time
from types import TracebackType
from typing import Any, Self


class TerminalDisplay:
    """Progress bars: one for the main process and one for each active run."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
        )
        self.bars = Progress(*columns, console=Console(stderr=True))
        self.tasks: dict[str, Any] = {}
        self.main = ""

    def __enter__(self) -> Self:
        self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bars.stop()

    def progress(self, what: str, done: int, total: int) -> None:
        """Update the bar of the main process; a new `what` replaces the previous bar."""
        if self.main and self.main != what:
            self._close(self.main)
        self.main = what
        self._show(what, what, done, total)

    def run_progress(self, run_id: str, what: str, done: int, total: int) -> None:
        """Update the bar of a run."""
        self._show(run_id, f"{run_id}  {what}", done, total)

    def say(self, text: str) -> None:
        """Print a line above the bars."""
        for key in [k for k in self.tasks if text.startswith(k)]:
            self._close(key)
        self.bars.console.print(text, highlight=False, markup=False)

    def _show(self, key: str, text: str, done: int, total: int) -> None:
        if key not in self.tasks:
            self.tasks[key] = self.bars.add_task(text, total=total)
        self.bars.update(self.tasks[key], description=text.replace("[", r"\["), completed=done, total=total)
        if done >= total and key == self.main:
            self._close(key)

    def _close(self, key: str) -> None:
        if key in self.tasks:
            self.bars.remove_task(self.tasks.pop(key))


class LineDisplay:
    """Progress lines for logs: one every 15 seconds, with the time left."""

    def __init__(self, every_s: float = 15.0) -> None:
        self.every_s = every_s
        self.began: dict[str, tuple[str, float, float]] = {}  # key -> (task, time of its start, time of its last line)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def progress(self, what: str, done: int, total: int) -> None:
        """Print a line for the main process, if its last line was printed at least `every_s` seconds ago."""
        self._show("main", what, done, total)

    def run_progress(self, run_id: str, what: str, done: int, total: int) -> None:
        """Print a line for a run, if its last line was printed at least `every_s` seconds ago."""
        self._show(run_id, what, done, total)

    def say(self, text: str) -> None:
        """Print a line."""
        print(text, file=sys.stderr, flush=True)

    def _show(self, key: str, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        before, first, last = self.began.get(key, ("", now, 0.0))
        if what != before:
            self.began[key] = (what, now, now)
            return
        if now - last < self.every_s:
            return
        eta = (now - first) / max(done, 1) * (total - done)
        self.say(f"{'' if key == 'main' else key + '  '}{what}: {done}/{total}, about {eta:.0f} s left")
        self.began[key] = (what, first, now)


class QuietDisplay(LineDisplay):
    """No progress. Results go to standard output, errors to standard error."""

    def _show(self, key: str, what: str, done: int, total: int) -> None:  # noqa: ARG002
        return None

    def say(self, text: str) -> None:
        """Print nothing."""


def choose_display(quiet: bool) -> TerminalDisplay | LineDisplay:
    """Return the display for standard error: none, bars or lines."""
    if quiet:
        return QuietDisplay()
    return TerminalDisplay() if sys.stderr.isatty() else LineDisplay()
