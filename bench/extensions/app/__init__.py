"""The page of `bench app` for one image, and heat maps of image files: `bench explain`, `api.explain`, `api.overlay`."""

NEEDS = ("heat_maps",)
