"""Compute statistics of a cohort."""
