"""What is happening, what it did, what it cost: read from the run directory alone."""
