"""Store decoded images in caches on disk."""
