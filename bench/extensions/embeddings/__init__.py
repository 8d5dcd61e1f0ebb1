"""Encoders that nobody else may run: their owner gives tables of vectors in place of the network."""
