"""One file per subject. What a file's BENCHMARKS lists is found by `python -m benchmarks`; no list elsewhere names it."""
