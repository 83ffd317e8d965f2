"""Whether nodes reach each other at the addresses that they are known by.

Each agent answers a connection with its node's name, so an address that leads to another machine,
or back to the one that asks, is found out, too. Any user may connect; nothing but the name is told.
"""

import contextlib
import errno
import os
import selectors
import socket
import time
from collections.abc import Mapping, Sequence

from headrace.launch.facts import Neighbour

WITHIN_S = 3.0
ALL_MAX = 16
_BACKLOG = 1024
_NAME_MAX_BYTES = 256


def neighbours(nodes: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Whom each node tries: all others of a few; of many those 1, 2, 4, ... places on. Pure."""
    count = len(nodes)
    steps = range(1, count) if count <= ALL_MAX else [1 << bit for bit in range(count.bit_length())]
    return {
        node: tuple(nodes[(place + step) % count] for step in steps if step < count)
        for place, node in enumerate(nodes)
    }


class Answerer:
    """Tells whoever connects the name of this node."""

    def __init__(self, node: str) -> None:
        self._name = node.encode() + b"\n"
        self._listener = socket.create_server(("", 0), backlog=_BACKLOG)
        self._listener.setblocking(False)

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    def fileno(self) -> int:
        return self._listener.fileno()

    def answer(self) -> None:
        with contextlib.suppress(OSError):
            connection, _ = self._listener.accept()
            with connection:
                connection.send(self._name)

    def close(self) -> None:
        self._listener.close()


def unreached(
    others: Sequence[Neighbour], answerer: Answerer, *, within_s: float = WITHIN_S
) -> dict[str, str]:
    """Try all at once, and answer meanwhile. Node -> what happened, of those that failed."""
    failed: dict[str, str] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(answerer, selectors.EVENT_READ)
        for other in others:
            _call(other, selector, failed)
        end_s = time.monotonic() + within_s
        while len(selector.get_map()) > 1 and (left_s := end_s - time.monotonic()) > 0:
            for key, _ in selector.select(left_s):
                if isinstance(key.data, Neighbour):
                    _heard(key, selector, failed)
                else:
                    answerer.answer()
        for key in list(selector.get_map().values()):
            if isinstance(key.data, Neighbour):
                failed[key.data.node] = f"no answer in {within_s:g} s"
                _drop(key, selector)
    loops = [other.node for other in others if other.address.startswith("127.")]
    return {
        node: f"{why}; a loopback address leads to no other host" if node in loops else why
        for node, why in failed.items()
    }


def _call(other: Neighbour, selector: selectors.BaseSelector, failed: dict[str, str]) -> None:
    connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    connection.setblocking(False)
    try:
        code = connection.connect_ex((other.address, other.port))
    except OSError as error:
        code, reason = error.errno or errno.EADDRNOTAVAIL, str(error)
    else:
        reason = os.strerror(code).lower()
    if code in (0, errno.EINPROGRESS):
        selector.register(connection, selectors.EVENT_READ, other)
    else:
        failed[other.node] = reason
        connection.close()


def _heard(
    key: selectors.SelectorKey, selector: selectors.BaseSelector, failed: dict[str, str]
) -> None:
    other, connection = key.data, key.fileobj
    assert isinstance(connection, socket.socket)
    try:
        name = connection.recv(_NAME_MAX_BYTES).decode(errors="replace").strip()
    except BlockingIOError:
        return
    except OSError as error:
        failed[other.node] = (error.strerror or str(error)).lower()
    else:
        if name != other.node:
            failed[other.node] = f"{name or 'something else'} answers there"
    _drop(key, selector)


def _drop(key: selectors.SelectorKey, selector: selectors.BaseSelector) -> None:
    selector.unregister(key.fileobj)
    assert isinstance(key.fileobj, socket.socket)
    key.fileobj.close()


def socket_interfaces(interface: str | None) -> Mapping[str, str]:
    """For NCCL and gloo, which else choose an interface by its name (docker0, a management net)."""
    if interface is None:
        return {}
    return {"NCCL_SOCKET_IFNAME": f"={interface}", "GLOO_SOCKET_IFNAME": interface}
