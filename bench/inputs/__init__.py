"""Prepare the input of networks: batches of cached images, intensity normalization and augmentation."""
