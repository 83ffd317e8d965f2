"""Runs on a Slurm cluster, as an ordinary user, through Slurm's own commands."""
