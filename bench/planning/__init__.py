"""From a grid and data to runs and jobs."""
