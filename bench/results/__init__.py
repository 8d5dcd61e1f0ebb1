"""Score stored predictions, and build the tables of a report."""
