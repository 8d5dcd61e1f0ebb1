"""Columns of the tables of a report."""
