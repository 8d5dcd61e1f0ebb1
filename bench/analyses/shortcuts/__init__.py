"""What in a picture tells its hospital, and whether a network could use it."""
