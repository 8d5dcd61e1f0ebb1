"""Estimates of scores at a hospital without labels, and how wrong they are at hospitals with labels."""
