"""Templates, compression, and the style sheets and scripts that all pages share."""
