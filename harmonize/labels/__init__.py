"""Findings and label states."""
