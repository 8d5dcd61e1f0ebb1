"""Scores by training label policy and by source of the test labels."""
