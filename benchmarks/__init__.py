"""Benchmarks, each beside its peer: `python -m benchmarks --help`."""
