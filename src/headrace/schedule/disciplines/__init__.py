"""How a queue is walked: one file each."""
