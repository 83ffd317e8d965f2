"""What there is: nodes, fabric, storage."""
