"""Generalization gaps and their components."""
