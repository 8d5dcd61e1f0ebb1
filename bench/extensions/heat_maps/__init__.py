"""Heat maps (Grad-CAM): which image regions a network's logit depends on, and sanity checks of the maps."""
