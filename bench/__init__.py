"""Train, predict, score and explain chest X-ray networks across hospitals."""
