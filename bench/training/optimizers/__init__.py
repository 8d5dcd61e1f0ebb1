"""Optimizers of this project, and the construction of an optimizer from a registry entry."""
