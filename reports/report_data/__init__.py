"""Join the tables of a report into runs, hospitals and estimates."""
