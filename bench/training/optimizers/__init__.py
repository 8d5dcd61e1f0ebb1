"""Optimizers written here, and the way from a registry entry to an optimizer."""
