"""The HTML page that `bench data stats` writes."""
