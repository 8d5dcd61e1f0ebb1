"""The page of `bench data stats`."""
