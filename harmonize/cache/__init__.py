"""Caches of decoded images on disk."""
