"""Checks of images and releases."""
