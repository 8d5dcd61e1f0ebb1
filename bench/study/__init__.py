"""Run a grid, or forecast its time, disk space and memory."""
