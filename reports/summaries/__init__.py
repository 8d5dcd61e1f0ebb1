"""Functions that summarize tables of a report for one section."""
