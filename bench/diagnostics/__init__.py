"""Check the environment, data, stores and runs."""
