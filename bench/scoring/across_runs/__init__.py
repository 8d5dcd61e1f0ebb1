"""Comparisons between runs: ranks, paired tests, ablations."""
