"""Python functions as runs: ``headrace.Executor`` and its jobs."""
