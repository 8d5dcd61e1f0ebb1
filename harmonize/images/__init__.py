"""Reading image files, and measurements on images."""
