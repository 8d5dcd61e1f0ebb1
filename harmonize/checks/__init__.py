"""Check the images of a dataset, and compare the dataset with its release."""
