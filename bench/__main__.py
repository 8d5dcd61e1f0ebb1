"""Run the command `bench` as `python -m bench`."""

from bench.cli.__main__ import main

if __name__ == "__main__":
    main()
