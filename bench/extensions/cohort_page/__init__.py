"""Describe cohorts: `bench data stats`, with a page of figures and pictures."""
