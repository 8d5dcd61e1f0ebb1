"""One run, from start to DONE."""
