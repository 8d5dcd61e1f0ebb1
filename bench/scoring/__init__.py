"""Scores as a pure function of logits and labels: no torch, no image, no file."""
