"""The ground: errors, records, events, the run directory, processes. Imports nothing of ours."""
