"""`bench app`: a local page in the browser that predicts images with a run and draws heat maps."""

NEEDS = ("heat_maps",)
