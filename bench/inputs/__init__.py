"""From cached images to network input."""
