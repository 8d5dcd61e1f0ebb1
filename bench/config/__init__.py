"""The files that a user writes: run configurations, the registry, grids."""
