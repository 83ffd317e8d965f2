"""Who runs when, and where: pure decisions over the queue, the running runs and the nodes."""
