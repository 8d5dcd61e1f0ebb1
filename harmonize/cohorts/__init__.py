"""One dataset on disk as one validated table."""
