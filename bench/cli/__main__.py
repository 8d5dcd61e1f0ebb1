"""Start the command `bench`. `python -m bench.cli` also runs it where it is not installed."""

from bench.cli import signals


def main() -> None:
    """Load the command line and run it. Ctrl-C also works while the modules load, which takes a tenth of a second."""
    signals.end_at_once()
    from bench.cli.main import main as run

    signals.end_with_cleanup()
    run()


if __name__ == "__main__":
    main()
