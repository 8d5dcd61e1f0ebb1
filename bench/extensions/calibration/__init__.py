"""Calibration intercept, calibration slope and ratio of observed to expected numbers, with intervals over patients."""
