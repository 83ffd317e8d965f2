"""Who comes first: one file each."""
