"""Executors run jobs on this machine or on a cluster, and yield the outcomes."""
