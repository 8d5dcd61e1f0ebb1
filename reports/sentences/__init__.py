"""Sentences of the page, made from numbers."""
