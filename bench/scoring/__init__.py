"""Scores computed from logits and labels only: no code here uses torch, images or files."""
