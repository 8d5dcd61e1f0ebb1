"""Functions that make the sentences of the page from numbers."""
