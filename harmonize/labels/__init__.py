"""Label spaces, label states, and the label mapping table."""
