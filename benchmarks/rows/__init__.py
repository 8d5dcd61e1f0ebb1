"""Benchmarks, one file per subject; `python -m benchmarks` runs everything in a file's BENCHMARKS."""
