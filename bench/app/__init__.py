"""The page of `bench app`: it shows a stored run's predictions for one image, in the browser of this machine."""
