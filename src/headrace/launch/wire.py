"""The channel between a lead and its agents: messages, authentication, a buffered socket.

JSON lines over TCP. Both ends prove that they know the run's secret before anything else is said
(challenge and answer, HMAC-SHA256), since any user of the machine can connect to the port::

    lead  -> agent   Challenge(nonce)
    agent -> lead    Hello(node, start, nonce, proof of the lead's nonce)
    lead  -> agent   Welcome(proof of the agent's nonce), or Bye: another has been started since

The secret lies in ``<run>/secret`` (0600). A torch process group has no such check of its own.
"""

import hashlib
import hmac
import socket
from collections.abc import Iterator

from headrace.core.order import Placement
from headrace.core.records import LineDecoder, Record, Tagged, encode
from headrace.launch.facts import Neighbour, NodeFacts

BEAT_S = 2.0
HOST_SILENCE_S = 30.0
SILENCE_S = 300.0


class Challenge(Tagged, frozen=True, kw_only=True):
    nonce: str


class Welcome(Tagged, frozen=True, kw_only=True):
    """``time_s``: the lead's clock, since 1970."""

    proof: str
    time_s: float


class Reach(Tagged, frozen=True, kw_only=True):
    """Try to reach these."""

    others: tuple[Neighbour, ...]


class Launch(Tagged, frozen=True, kw_only=True):
    """Start this node's ranks of ``placement``."""

    placement: Placement
    master_address: str
    master_port: int


class Stop(Tagged, frozen=True, kw_only=True):
    """``deadline_s`` since 1970."""

    reason: str
    deadline_s: float


class Dump(Tagged, frozen=True, kw_only=True):
    """Ask all ranks for their stacks."""


class Kill(Tagged, frozen=True, kw_only=True):
    """Leave nothing of the attempt; ranks have ``grace_s`` to end by themselves."""

    grace_s: float


class Bye(Tagged, frozen=True, kw_only=True):
    """The run is over; the agent leaves."""


class Beat(Tagged, frozen=True, kw_only=True):
    """Sent both ways every ``BEAT_S``. A host that confirms none for ``HOST_SILENCE_S`` is lost,
    and a process on a host that does is after ``SILENCE_S``: it may be stopped, or wait for a file
    system."""


class Hello(Tagged, frozen=True, kw_only=True):
    """``start``: in which of the lead's starts of agents this one was started."""

    node: str
    start: int
    nonce: str
    proof: str


class Looked(Tagged, frozen=True, kw_only=True):
    """Sent once, before anything else: what the agent sees on its node."""

    facts: NodeFacts


class Reached(Tagged, frozen=True, kw_only=True):
    """``failed``: node -> what happened."""

    failed: dict[str, str]


class Idle(Tagged, frozen=True, kw_only=True):
    """No process of an attempt is left here; ``port`` is held for the next rendezvous.

    ``cpus``, ``gpus``: what the agent found that it may use, where the order leaves that open.
    """

    port: int
    cpus: tuple[int, ...] = ()
    gpus: tuple[int, ...] = ()


class Warned(Tagged, frozen=True, kw_only=True):
    """The agent got a signal to leave: the site is about to end the run."""

    signal: int


class RankGone(Tagged, frozen=True, kw_only=True):
    rank: int
    exit_code: int


class Spoke(Tagged, frozen=True, kw_only=True):
    """A rank reported; ``step`` is its last finished one."""

    rank: int
    step: int


class NotStarted(Tagged, frozen=True, kw_only=True):
    """The node could not start its ranks."""

    detail: str
    exit_code: int


class OverMemory(Tagged, frozen=True, kw_only=True):
    detail: str


ToAgent = Challenge | Welcome | Reach | Launch | Stop | Dump | Kill | Bye | Beat
ToLead = (
    Hello | Looked | Reached | Idle | Warned | RankGone | Spoke | NotStarted | OverMemory | Beat
)

decode_to_agent = LineDecoder[ToAgent](ToAgent)
decode_to_lead = LineDecoder[ToLead](ToLead)


def proof(secret: str, side: str, nonce: str, node: str) -> str:
    """What only a holder of the secret can say. ``side``: one end's answer is not the other's."""
    text = f"{side}|{node}|{nonce}".encode()
    return hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()


def proves(given: str, secret: str, side: str, nonce: str, node: str) -> bool:
    return hmac.compare_digest(given, proof(secret, side, nonce, node))


class Clock(Record, frozen=True, kw_only=True):
    """This host's clock is ``ahead_s`` before the lead's, true to ``within_s``."""

    ahead_s: float
    within_s: float


def prepare(connection: socket.socket) -> None:
    """Send at once, and end with an error when the other host is lost: see ``Beat``."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    timeout_ms = int(HOST_SILENCE_S * 1000)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, timeout_ms)


class Channel:
    """A non-blocking socket that carries JSON lines. Never blocks, keeps what it accepted."""

    _READ_BYTES = 1 << 16
    _LINE_MAX_BYTES = 1 << 26

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._socket = connection
        self._received = bytearray()
        self._unsent = bytearray()
        self.closed = False

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def wants_write(self) -> bool:
        return bool(self._unsent) and not self.closed

    def send(self, record: Record) -> None:
        """Queue a record and send what the socket takes now."""
        if not self.closed:
            self._unsent += encode(record) + b"\n"
            self.flush()

    def flush(self) -> None:
        try:
            while self._unsent:
                del self._unsent[: self._socket.send(self._unsent)]
        except BlockingIOError:
            return
        except OSError:
            self.closed = True

    def lines(self) -> Iterator[bytes]:
        """Whole lines that have arrived. Sets ``closed`` at the end of the stream."""
        try:
            while data := self._socket.recv(self._READ_BYTES):
                self._received += data
            self.closed = True
        except BlockingIOError:
            pass
        except OSError:
            self.closed = True
        if len(self._received) > self._LINE_MAX_BYTES:
            self.closed = True
            return
        end = self._received.rfind(b"\n") + 1
        if end:
            whole = bytes(self._received[:end])
            del self._received[:end]
            yield from whole.splitlines()

    def close(self) -> None:
        self.closed = True
        self._socket.close()
