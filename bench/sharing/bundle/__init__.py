"""Bundles: runs' logits, labels and scores in one file without images or ids, which anybody can score again."""
