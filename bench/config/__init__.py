"""Read and check the files that a user writes: run configurations, the registry, grids."""
