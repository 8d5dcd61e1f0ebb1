"""Executors: they run jobs on this machine or a cluster, and yield the outcomes."""
