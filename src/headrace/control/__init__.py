"""The wiring: the daemon, its HTTP API, and the client that commands use."""
