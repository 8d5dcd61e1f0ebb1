"""The page `bench app`: one image asked of a stored run, in the browser of this machine."""
