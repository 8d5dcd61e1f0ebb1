"""Start the command `bench`. `python -m bench.cli` also runs it where it is not installed."""

import atexit
import os
import sys

from bench.cli import signals


def main() -> None:
    """Load the command line and run it. Ctrl-C also works while the modules load, which takes a tenth of a second."""
    signals.end_at_once()
    status = _Status()
    atexit.register(status.leave)  # exit functions run in reverse order, so this one runs last
    from bench.cli.main import main as run

    signals.end_with_cleanup()
    try:
        run()
    except SystemExit as end:
        status.code = end.code or 0
        raise


class _Status:
    """The exit code of the command; None before its end and after an unexpected error."""

    def __init__(self) -> None:
        self.code: int | str | None = None

    def leave(self) -> None:
        """End the process here, after all exit functions, without the teardown of Python and of C++ libraries.

        A thread that a library still runs can abort the process during the teardown, when all work is done. Arrow's
        threads do so in rare cases (https://github.com/apache/arrow/issues/34314).
        """
        if isinstance(self.code, int):
            try:
                sys.stdout.flush()
                sys.stderr.flush()
            except OSError:  # a closed pipe: Python reports it in its own way
                return
            os._exit(self.code)


if __name__ == "__main__":
    main()
