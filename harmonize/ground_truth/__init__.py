"""Where findings, lungs and markers are in an image."""
