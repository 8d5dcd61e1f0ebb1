"""What the field's usual mistakes look like in a stored run: what is seen, its likely causes, what mends it."""
