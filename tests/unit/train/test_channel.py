import socket
import time
from collections.abc import Iterator

import pytest

from headrace.core.events import (
    Down,
    Heartbeat,
    Noted,
    StopBy,
    Up,
    decode_up,
)
from headrace.core.records import encode
from headrace.train.channel import Channel, open_channel

LONG = Noted(level="info", text="x" * 4096)


class Peer:
    """A channel with small buffers, and the agent's end of it."""

    def __init__(self) -> None:
        self.stops: list[StopBy] = []
        self.agent, ours = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        self.agent.settimeout(30)
        self.channel = Channel(ours, on_stop=self.stops.append)

    def tell(self, message: Down) -> None:
        self.agent.sendall(encode(message) + b"\n")

    def fill(self) -> int:
        """Queue until the socket takes no more. Return how many messages."""
        count = 0
        while not self.channel.is_waiting:
            self.channel.queue(LONG)
            count += 1
        return count

    def hear(self, count: int) -> list[Up]:
        received = b""
        while received.count(b"\n") < count:
            self.channel.pump()
            received += self.agent.recv(1 << 16)
        return [decode_up(line) for line in received.splitlines()]


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.agent.close()
    peer.channel.close(patience_s=0.0)


def beat(step: int) -> Heartbeat:
    return Heartbeat(rank=0, step=step)


def test_nothing_queued_is_lost_when_the_agent_is_slow(peer: Peer) -> None:
    queued = peer.fill()
    peer.channel.queue(Noted(level="info", text="last"))
    heard = peer.hear(queued + 1)
    assert heard == [LONG] * queued + [Noted(level="info", text="last")]


def test_a_heartbeat_is_refused_while_something_waits_and_taken_afterwards(peer: Peer) -> None:
    queued = peer.fill()
    assert not peer.channel.offer(beat(1))
    assert peer.hear(queued) == [LONG] * queued
    assert peer.channel.offer(beat(2))
    assert peer.hear(1) == [beat(2)]


def test_stop_by_reaches_the_flag(peer: Peer) -> None:
    asked = StopBy(reason="time", deadline_s=5.0)
    peer.agent.sendall(b'{"kind": "from_a_newer_agent"}\n')
    peer.tell(asked)
    deadline_s = time.monotonic() + 30
    while not peer.stops and time.monotonic() < deadline_s:
        time.sleep(0.001)
    assert peer.stops == [asked]


def test_an_agent_that_is_gone_stops_nobody(peer: Peer) -> None:
    peer.agent.close()
    peer.channel.queue(LONG)
    peer.channel.queue(LONG)
    assert peer.channel.offer(beat(1))


def test_without_the_inherited_socket_there_is_no_channel() -> None:
    assert open_channel(None, on_stop=lambda _: None) is None
    with socket.socket() as probe:
        closed = probe.fileno()
    assert open_channel(closed, on_stop=lambda _: None) is None
