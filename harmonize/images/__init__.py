"""Read image files, and measure images."""
