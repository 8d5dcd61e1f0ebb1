"""The scores to expect at a hospital without labels: `bench estimate` and `api.estimate`."""

NEEDS = ("next_hospital",)
