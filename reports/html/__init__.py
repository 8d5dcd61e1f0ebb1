"""Templates, compression and the frame of every page."""
