"""Masks of lungs and heart from CheXmask (Gaggion et al. 2023, arXiv:2307.03293), for heat maps and region transplant tests."""
