"""Registrations: plan and hypotheses of a grid, written before its first external test: `bench register`, `api.register`."""
