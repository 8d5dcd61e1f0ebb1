"""What a recipe will score at a hospital where nobody has looked: random-effects meta-analysis over the external hospitals."""
