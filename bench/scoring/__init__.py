"""Compute scores from logits and labels. This package does not use torch, images or files."""
