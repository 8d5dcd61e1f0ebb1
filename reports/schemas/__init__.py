"""The columns of the tables from which a report is made, and the criteria of its rankings."""
