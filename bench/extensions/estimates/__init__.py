"""The scores to expect at a hospital without labels: `bench estimate`, `api.estimate`, and how wrong the estimators were."""
