"""Define label spaces and label states, and read the label mapping table."""
