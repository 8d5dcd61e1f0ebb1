"""Compute scores from logits and labels, without torch, images or files."""
