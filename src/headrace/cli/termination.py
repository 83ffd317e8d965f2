"""SIGTERM to a command that writes files: it ends as by Ctrl-C, and cleans up on its way."""

import signal


def as_interrupt() -> None:
    """Unless whoever embeds the command line has a handler of its own."""
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
