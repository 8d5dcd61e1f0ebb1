"""What a user may write: run configurations, the registry, grids."""
