"""Share runs as bundles."""
