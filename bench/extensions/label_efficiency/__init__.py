"""AUROC of linear probes by the number of labeled training images."""
