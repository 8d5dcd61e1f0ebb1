"""Run a grid, or forecast what it takes."""
