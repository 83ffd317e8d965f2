import socket

import pytest

from headrace.core.records import encode
from headrace.launch import wire


def test_a_proof_holds_only_for_its_secret_side_nonce_and_node() -> None:
    good = wire.proof("secret", "agent", "nonce", "node")
    assert wire.proves(good, "secret", "agent", "nonce", "node")
    others = [
        ("other", "agent", "nonce", "node"),
        ("secret", "lead", "nonce", "node"),
        ("secret", "agent", "other", "node"),
        ("secret", "agent", "nonce", "other"),
    ]
    assert not any(wire.proves(good, *other) for other in others)


def pair() -> tuple[wire.Channel, socket.socket]:
    ours, theirs = socket.socketpair()
    return wire.Channel(ours), theirs


def test_a_channel_yields_whole_lines_however_they_arrive() -> None:
    channel, other = pair()
    line = encode(wire.RankGone(rank=3, exit_code=-9)) + b"\n"
    for byte in line:
        assert list(channel.lines()) == []
        other.send(bytes([byte]))
    assert [wire.decode_to_lead(found) for found in channel.lines()] == [
        wire.RankGone(rank=3, exit_code=-9)
    ]
    other.close()
    assert list(channel.lines()) == []
    assert channel.closed
    channel.close()


def test_a_full_socket_keeps_what_was_accepted_and_never_blocks() -> None:
    channel, other = pair()
    messages = 20_000
    for number in range(messages):
        channel.send(wire.Spoke(rank=number, step=1))
    assert channel.wants_write
    received = bytearray()
    while received.count(b"\n") < messages:
        received += other.recv(1 << 16)
        channel.flush()
    ranks = [wire.decode_to_lead(line) for line in bytes(received).splitlines()]
    assert ranks == [wire.Spoke(rank=number, step=1) for number in range(messages)]
    channel.close()
    other.close()


def test_sending_to_a_closed_peer_marks_the_channel_closed() -> None:
    channel, other = pair()
    other.close()
    channel.send(wire.Beat())
    channel.send(wire.Beat())
    assert channel.closed
    channel.close()


@pytest.mark.parametrize("flood_bytes", [wire.Channel._LINE_MAX_BYTES + 1])
def test_a_line_without_end_closes_the_channel(flood_bytes: int) -> None:
    channel, other = pair()
    channel._received += b"x" * flood_bytes
    assert list(channel.lines()) == []
    assert channel.closed
    channel.close()
    other.close()
