"""Comparisons across runs: ranks, paired tests, ablations."""
