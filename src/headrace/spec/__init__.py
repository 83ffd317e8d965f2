"""What is asked: job file, flags, ``#SBATCH`` lines or Python, read into one ``JobSpec``."""
