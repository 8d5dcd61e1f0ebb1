"""Templates, compression and the common parts of every page."""
