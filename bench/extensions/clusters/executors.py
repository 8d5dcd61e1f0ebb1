"""The hook `executors`: names of --executor."""

EXECUTORS = {"ray": "bench.extensions.clusters.ray:Ray", "slurm": "bench.extensions.clusters.slurm:Slurm"}
