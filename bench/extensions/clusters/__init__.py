"""Runs of a grid on a cluster: `bench run --executor ray` and `--executor slurm`."""
