"""Find the locations of findings, lungs and markers in images."""
