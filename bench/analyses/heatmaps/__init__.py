"""Heat maps: where in an image the evidence lies that a network's logit rests on, and whether such a map can be trusted."""
