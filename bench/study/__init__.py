"""A whole grid, and its forecast."""
