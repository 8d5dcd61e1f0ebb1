"""The names and meanings of the columns of the tables from which a report is made."""
