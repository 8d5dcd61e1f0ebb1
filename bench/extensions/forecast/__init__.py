"""`bench run --estimate`: time, disk and memory of a grid before it runs."""
