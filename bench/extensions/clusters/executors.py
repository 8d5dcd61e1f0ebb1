"""The hook `executors`: names of --executor."""

from bench.extensions.clusters.ray import Ray
from bench.extensions.clusters.slurm import Slurm

EXECUTORS = {"ray": Ray, "slurm": Slurm}
