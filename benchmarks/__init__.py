"""Benchmarks against peer libraries: `python -m benchmarks --help`."""
