"""Functions that fill templates, compress text, and read the style sheets and scripts that all pages share."""
