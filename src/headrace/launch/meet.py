"""The agent's side of the first words with its lead."""

import secrets
import socket
import time

from headrace.core.records import encode
from headrace.core.rundir import RunDir
from headrace.launch import wire
from headrace.launch.wire import Clock


def meet(
    run: RunDir, node: str, host: str, port: int, start: int
) -> tuple[wire.Channel, Clock] | None:
    """Reach the lead, prove to each other that both belong to this run, and compare clocks.

    None when the lead has no use for us: it has started another agent here since. Raise
    ``ConnectionError`` when the other end does not know the run's secret, ``OSError`` when there is
    none.
    """
    secret = (run.root / "secret").read_text()
    connection = socket.create_connection((host, port), timeout=wire.HOST_SILENCE_S)
    connection.settimeout(wire.SILENCE_S)
    wire.prepare(connection)
    stream = connection.makefile("rwb", buffering=0)
    challenge = wire.decode_to_agent(stream.readline())
    if not isinstance(challenge, wire.Challenge):
        raise ConnectionError("the lead sent no challenge")
    nonce = secrets.token_hex(16)
    answer = wire.proof(secret, "agent", challenge.nonce, node)
    asked_s = time.time()
    hello = wire.Hello(node=node, start=start, nonce=nonce, proof=answer)
    stream.write(encode(hello) + b"\n")
    welcome, answered_s = wire.decode_to_agent(stream.readline()), time.time()
    if isinstance(welcome, wire.Bye):
        connection.close()
        return None
    if not isinstance(welcome, wire.Welcome) or not wire.proves(
        welcome.proof, secret, "lead", nonce, node
    ):
        raise ConnectionError("the other end of the lead's port does not know the run's secret")
    clock = compared(asked_s=asked_s, answered_s=answered_s, theirs_s=welcome.time_s)
    return wire.Channel(connection), clock


def compared(*, asked_s: float, answered_s: float, theirs_s: float) -> Clock:
    """From when we asked and had the answer by our clock, and what the other's showed between."""
    within_s = (answered_s - asked_s) / 2
    return Clock(ahead_s=asked_s + within_s - theirs_s, within_s=within_s)
