"""Checks of data, stores and runs."""
