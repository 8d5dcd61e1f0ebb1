"""The tables of a report, joined once."""
