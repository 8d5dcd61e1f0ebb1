"""Handle Ctrl-C (SIGINT) and SIGTERM: print one sentence, no traceback, and exit with code 130 or 143.

This module imports only modules that Python has already loaded, because it must handle signals before other modules are loaded.
So it uses `_signal`, the part of `signal` that is written in C. With `signal` and `typing`, it would start to handle signals
later, and until then Ctrl-C causes a traceback of Python.
"""

import _signal as signal  # type: ignore[import-not-found]
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import NoReturn

EXIT_CODES = (128 + signal.SIGINT, 128 + signal.SIGTERM)
_SENTENCE = "interrupted; run the same command again to resume"


def end_at_once() -> None:
    """Make Ctrl-C and SIGTERM end this process at once, without cleanup.

    This is for the time in which modules load: there is nothing to clean up yet, and an exception during an import can get lost.
    """
    _answer(signal.SIGINT, _leave)
    _answer(signal.SIGTERM, _leave)


def end_with_cleanup() -> None:
    """Make Ctrl-C and SIGTERM raise an exception, so that leases (locks of runs) are released and worker processes end."""
    _answer(signal.SIGINT, signal.default_int_handler)
    _answer(signal.SIGTERM, _stop)


def report_interrupt() -> None:
    """Print that the command was interrupted. From then on, a signal ends the process at once, even while workers run."""
    sys.stderr.write(f"{_SENTENCE}\n")
    for number in (signal.SIGINT, signal.SIGTERM):
        _answer(number, signal.SIG_DFL)


def _answer(number: int, handler: object) -> None:
    """Set the handler of a signal, unless the signal is ignored.

    Shells start background jobs with some signals ignored, and the jobs must keep ignoring these signals.
    """
    if signal.getsignal(number) != signal.SIG_IGN:
        signal.signal(number, handler)


def _leave(number: int, _: "FrameType | None") -> "NoReturn":
    os.write(2, f"{_SENTENCE}\n".encode())
    os._exit(128 + number)


def _stop(number: int, _: "FrameType | None") -> "NoReturn":
    """End the worker processes, then raise SystemExit.

    This is necessary for SIGTERM, which only this process gets: a pool waits for its processes. Ctrl-C reaches these, too.
    """
    import multiprocessing

    for child in multiprocessing.active_children():
        child.terminate()
    raise SystemExit(128 + number)
