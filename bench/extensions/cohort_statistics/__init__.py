"""Describe cohorts: `bench data stats`."""
