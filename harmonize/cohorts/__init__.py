"""Load a dataset as one validated table."""
