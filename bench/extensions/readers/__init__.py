"""Radiologists' operating points: what single readers answered, beside the curves of the networks."""
