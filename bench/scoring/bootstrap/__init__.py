"""Patient-clustered bootstrap: resamples, kernels and intervals."""
