"""Executors: they take jobs and yield outcomes."""
