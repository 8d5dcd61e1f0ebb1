"""The sections of the page: one function per section, from the report data to HTML."""
