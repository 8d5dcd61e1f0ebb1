"""Shortcut tests: how well images identify their hospital, and how networks respond to that information."""
