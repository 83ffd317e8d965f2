"""Slurm clusters: configuration files for real hardware, and whole ones on this machine."""
