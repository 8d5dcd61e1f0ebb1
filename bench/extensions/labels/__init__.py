"""Labels: other readings of those of the test images, policies for those of training, and how many a linear probe needs."""
