"""Checks of the images of a dataset, and comparison with its release."""
