"""Tables of a report, summarized for a section."""
