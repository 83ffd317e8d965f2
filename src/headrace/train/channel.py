"""The rank's end of the socket to its agent: JSON lines, never a wait.

Up (``core.events.Up``): what is queued is kept until it has gone out; a heartbeat is sent only when
nothing is waiting, and is otherwise refused, so that its steps ride with the next. Down
(``core.events.Down``): a daemon thread answers, also while the main thread hangs in a collective.
Without an agent the channel is absent (``open_channel`` returns None) and nothing is sent.

Only the main thread sends. A forked child closes its copy, so that the agent sees the end of the
stream when the rank itself is gone.
"""

import faulthandler
import os
import select
import socket
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path

from headrace.core.events import Down, DumpStacks, Heartbeat, StopBy, Up, decode_down
from headrace.core.records import DecodeError, encode

_READ_BYTES = 1 << 16


class Channel:
    """``on_stop`` runs in the reader thread: it may set a flag and no more."""

    def __init__(self, connection: socket.socket, *, on_stop: Callable[[StopBy], None]) -> None:
        connection.set_inheritable(False)
        connection.settimeout(None)
        self._socket = connection
        self._on_stop = on_stop
        self._unsent = bytearray()
        self._broken = False
        self._reader = threading.Thread(target=self._read, name="headrace-channel", daemon=True)
        self._reader.start()
        _open_channels.add(self)

    @property
    def is_waiting(self) -> bool:
        """Whether something has not gone out yet."""
        return bool(self._unsent)

    def queue(self, message: Up) -> None:
        """Send as soon as the socket takes it; kept until then."""
        self._unsent += encode(message) + b"\n"
        self.pump()

    def offer(self, heartbeat: Heartbeat) -> bool:
        """Send now if nothing waits. False: refused, nothing of it is kept."""
        self.pump()
        if self.is_waiting:
            return False
        self._unsent += encode(heartbeat) + b"\n"
        self.pump()
        return True

    def pump(self) -> None:
        """Send what the socket takes now."""
        while self._unsent and not self._broken:
            try:
                sent = self._socket.send(self._unsent, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return
            except OSError:  # the agent is gone: nobody will read this
                self._broken = True
                return
            del self._unsent[:sent]
        if self._broken:
            self._unsent.clear()

    def close(self, *, patience_s: float) -> None:
        """Wait up to ``patience_s`` for the rest to go out, then end the reader and the socket."""
        deadline_s = time.monotonic() + patience_s
        self.pump()
        while self.is_waiting and (left_s := deadline_s - time.monotonic()) > 0:
            select.select([], [self._socket], [], left_s)
            self.pump()
        _open_channels.discard(self)
        if not self._broken:
            try:
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                self._broken = True
        self._reader.join(timeout=1.0)
        self._socket.close()

    def abandon(self) -> None:
        """In a forked child: this end belongs to the parent."""
        self._broken = True
        self._socket.close()

    def _read(self) -> None:
        pending = b""
        while True:
            try:
                data = self._socket.recv(_READ_BYTES)
            except OSError:
                return
            if not data:
                return
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                try:
                    message = decode_down(line)
                except DecodeError:
                    continue  # from a newer agent
                self._answer(message)

    def _answer(self, message: Down) -> None:
        match message:
            case StopBy():
                self._on_stop(message)
            case DumpStacks(path=path):
                dump_stacks(Path(path))


def dump_stacks(path: Path) -> None:
    """Append the Python stacks of all threads. A folder that cannot be written is let pass."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab", buffering=0) as file:
            faulthandler.dump_traceback(file, all_threads=True)
    except OSError:
        return


def open_channel(descriptor: int | None, *, on_stop: Callable[[StopBy], None]) -> Channel | None:
    """The channel on the inherited socket; None without one.

    A process started by a rank inherits the variable but not the socket: that is no channel.
    """
    if descriptor is None:
        return None
    try:
        connection = socket.socket(fileno=descriptor)
    except OSError:
        return None
    return Channel(connection, on_stop=on_stop)


_open_channels: "weakref.WeakSet[Channel]" = weakref.WeakSet()


def _abandon_all() -> None:
    for channel in list(_open_channels):
        channel.abandon()


os.register_at_fork(after_in_child=_abandon_all)
