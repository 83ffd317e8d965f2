"""One machine: what it has (``probe``) and what a run uses of it (``sample``)."""
