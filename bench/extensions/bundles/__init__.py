"""Bundles: logits, labels and scores of runs in one file, without images and ids. Anybody can score a bundle again."""
