"""Benchmarks, one file per subject; `python -m benchmarks` runs the list BENCHMARKS of every file."""
