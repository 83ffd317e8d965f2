"""A TCP port that is held for torch's store, which rank 0 of the next attempt will start."""

import socket


def hold_port() -> socket.socket:
    """A port of this node that is ours until the socket is closed.

    It is bound and never listened on, with both reuse options: torch's store on rank 0 can bind
    and listen on it, and nobody else is given it meanwhile.
    """
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held.bind(("", 0))
    return held
