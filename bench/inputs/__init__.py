"""Network input: batches of cached images, intensity normalization and augmentation."""
