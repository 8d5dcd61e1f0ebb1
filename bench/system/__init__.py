"""Devices, child processes and network clients of this machine."""
