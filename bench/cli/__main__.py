"""Start the command `bench`. Without an installed command, `python -m bench` does the same."""

import atexit
import gc
import os
import sys

from bench.cli import signals


def main() -> None:
    """Load the modules of the command line and run the command.

    Loading takes a tenth of a second. The handlers of signals are set before loading, so that Ctrl-C also works during
    this time.
    """
    signals.end_at_once()
    status = _Status()
    atexit.register(status.leave)  # the function that is registered first runs last
    gc.disable()  # a tenth of the time of loading
    from bench.cli.main import main as run

    gc.enable()
    signals.end_with_cleanup()
    try:
        run()
    except SystemExit as end:
        status.code = end.code or 0
        raise


class _Status:
    """The exit code of the command; None until the command ends, and after an unexpected error."""

    def __init__(self) -> None:
        self.code: int | str | None = None

    def leave(self) -> None:
        """End the process at once, without the teardown of Python and of C++ libraries.

        This method runs after all other exit functions, when all work is done. A thread that a library still runs can abort the
        process during the teardown. Arrow's threads do so in rare cases (https://github.com/apache/arrow/issues/34314). After an
        unexpected error, this method does nothing.
        """
        if isinstance(self.code, int):
            try:
                sys.stdout.flush()
                sys.stderr.flush()
            except OSError:  # a closed pipe: the usual teardown of Python reports this error
                return
            os._exit(self.code)


if __name__ == "__main__":
    main()
