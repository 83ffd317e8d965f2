"""Reference workloads: programs a user can read and run, each trained to a known result."""
