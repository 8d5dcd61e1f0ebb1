"""Share runs as bundles, in MLflow, and on the Hugging Face hub."""
