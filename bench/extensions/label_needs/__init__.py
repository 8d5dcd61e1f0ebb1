"""How many labeled patients a new hospital needs: `bench labels-needed`, `api.labels_needed`."""
