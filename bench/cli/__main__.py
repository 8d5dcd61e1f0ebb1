"""`python -m bench.cli` runs the command `bench` where it is not installed."""

from bench.cli.main import main

main()
