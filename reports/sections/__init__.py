"""One function from a board to one section of the page, each."""
