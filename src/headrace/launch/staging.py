"""The process that brings data near, on each node, before ranks start.

``python -m headrace.launch.staging RUN_DIR NODE``, a child of the node's agent. It tells the agent
how it goes through the channel that ranks have, and people through the log. SIGTERM ends it at
once; what was half copied goes away, what is whole stays for the next run.
"""

import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from headrace.core.errors import HeadraceError
from headrace.core.events import Noted, Staged, Staging, Up
from headrace.core.order import DataPlace, Order
from headrace.core.process import identify
from headrace.core.records import encode, read_record
from headrace.core.rundir import RunDir
from headrace.core.staged import in_words
from headrace.data.cache import stage
from headrace.data.cache.owner import holder
from headrace.data.places import find_index
from headrace.launch.rank import CHANNEL_VARIABLE

_TELL_S = 2.0
_STOPPED = 128 + signal.SIGTERM


class Teller:
    """To the agent and to the log, but not too often."""

    def __init__(self, node: str, place: DataPlace, channel: int) -> None:
        self._node = node
        self._place = place
        self._channel = channel
        self._told_s = time.monotonic()

    def progress(self, said: stage.Progress) -> None:
        now_s = time.monotonic()
        if now_s - self._told_s < _TELL_S:
            return
        self._told_s = now_s
        message = Staging(
            node=self._node,
            source=self._place.source,
            tier=self._place.tier or "",
            near_bytes=said.near_bytes,
            size_bytes=said.size_bytes,
            waits_for=said.waits_for,
        )
        _send(self._channel, message)
        sys.stderr.write(f"headrace: {in_words(message)}\n")

    def done(self, found: stage.Staged) -> None:
        message = Staged(
            node=self._node,
            source=self._place.source,
            tier=self._place.tier or "",
            tree=found.tree,
            root=found.root,
            size_bytes=found.size_bytes,
            near_bytes=found.near_bytes,
            copied_bytes=found.copied_bytes,
            seconds=found.seconds,
            why=found.why,
        )
        _send(self._channel, message)
        sys.stderr.write(f"headrace: {in_words(message)}\n")


def _send(channel: int, message: Up) -> None:
    data = encode(message) + b"\n"
    while data:
        data = data[os.write(channel, data) :]


def main(arguments: list[str]) -> int:
    run, node = RunDir(Path(arguments[0])), arguments[1]
    order = read_record(run.order, Order)
    agent = identify(os.getppid())
    if agent is None:
        return 1
    signal.signal(signal.SIGTERM, _stop)
    user = holder(agent, order.run_id)
    channel = int(os.environ[CHANNEL_VARIABLE])
    try:
        for place in order.data:
            if place.tier is not None:
                teller = Teller(node, place, channel)
                source = Path(place.source)
                stager = stage.Stager(place.tier, user=user, node=node, say=teller.progress)
                in_parts = find_index(source, os.environ) is not None
                teller.done(stager.stage(source, in_parts=in_parts))
    except HeadraceError as error:
        sys.stderr.write(f"{error}\n")
        note = Noted(level="warning", text=f"{error.problem} ({error.why}); {error.remedy}")
        _send(channel, note)
        return error.exit_status
    return 0


def _stop(number: int, frame: FrameType | None) -> None:
    raise SystemExit(_STOPPED)


if __name__ == "__main__":
    try:
        code = main(sys.argv[1:])
    except SystemExit:
        code = _STOPPED
    sys.stderr.flush()
    os._exit(code)  # a thread that waits for a dead file system must not keep us
