"""Bundles, MLflow and the Hugging Face hub."""
