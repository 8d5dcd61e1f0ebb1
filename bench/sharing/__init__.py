"""Share runs: as bundles, with MLflow and with the Hugging Face hub."""
