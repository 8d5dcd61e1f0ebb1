"""Reading and measuring image files."""
