"""Headrace: one job description, from plan to served model, on a laptop or on Slurm."""

__version__ = "0.1.0"
