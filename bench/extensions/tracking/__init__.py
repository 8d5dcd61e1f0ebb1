"""Copy runs to MLflow and to the Hugging Face hub: `bench track`, `bench upload`."""
