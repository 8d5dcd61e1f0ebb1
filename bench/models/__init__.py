"""Networks, their predictions and their cost."""
