"""Formats on disk: one file each, listed in ``registry``; what they offer is in ``format``."""
