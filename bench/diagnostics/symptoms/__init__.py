"""Symptoms of common mistakes in a stored run: what was observed, likely causes, and fixes."""
