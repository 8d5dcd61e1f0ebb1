"""`bench prompts` encodes the texts of zero-shot runs (`head: prompts`) with a text model."""
