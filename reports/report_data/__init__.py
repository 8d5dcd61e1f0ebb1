"""The tables of a report, joined into runs, hospitals and estimates."""
