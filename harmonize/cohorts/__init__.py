"""Load a dataset as a validated table."""
