"""Where runs run: one contract, one folder an engine."""
