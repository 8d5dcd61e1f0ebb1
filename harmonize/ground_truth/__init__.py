"""Locations of findings, lungs and markers in images."""
