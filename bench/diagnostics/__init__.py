"""Checks of the environment, of data, stores and runs."""
