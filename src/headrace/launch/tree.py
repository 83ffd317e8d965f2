"""Clearing a process tree: kill every descendant and wait until none is left.

Works for a sub-reaper (prctl(2), PR_SET_CHILD_SUBREAPER), whose orphaned descendants become its own
children: a program that forks twice and lets its parent die is still found and killed.
"""

import os
import signal
import time
from collections.abc import Callable, Collection

from headrace.core.process import children_by_parent, identify, send_signal
from headrace.core.rundir import RunDir
from headrace.launch.probe import ranks_left

_PAUSE_S = 0.005
_NODE_ROUNDS = 100
_NODE_PAUSE_S = 0.05


def below(pid: int, *, spare: Collection[int] = ()) -> list[int]:
    """Descendants of ``pid``, without the subtrees of ``spare``."""
    table = children_by_parent()
    found: list[int] = []
    waiting = [pid]
    while waiting:
        children = [child for child in table.get(waiting.pop(), []) if child not in spare]
        found.extend(children)
        waiting.extend(children)
    return found


def clear(
    *,
    spare: Collection[int] = (),
    on_exit: Callable[[int, int], None] | None = None,
    timeout_s: float = 8.0,
) -> list[int]:
    """Kill all our descendants but ``spare`` and theirs; reap them. Return the pids killed.

    We must be a sub-reaper. ``on_exit`` hears (pid, exit code) of every child reaped, negative for
    a signal. A process in uninterruptible sleep may outlive ``timeout_s``; it dies when it wakes.
    """
    killed: set[int] = set()
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        reap(spare=spare, on_exit=on_exit)
        alive = below(os.getpid(), spare=spare)
        if not alive:
            break
        for pid in alive:
            try:
                os.kill(pid, signal.SIGKILL)  # children of a sub-reaper: not reaped, not recycled
            except ProcessLookupError:
                continue
            killed.add(pid)
        time.sleep(_PAUSE_S)
    return sorted(killed)


def reap(*, spare: Collection[int] = (), on_exit: Callable[[int, int], None] | None = None) -> None:
    """Take the exit codes of all children that have ended, except ``spare``, who have an owner."""
    if spare:
        children = [pid for pid in children_by_parent().get(os.getpid(), []) if pid not in spare]
    else:
        children = [-1]
    for child in children:
        while True:
            try:
                pid, status = os.waitpid(child, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if on_exit is not None:
                on_exit(pid, os.waitstatus_to_exitcode(status))
            if child != -1:
                break


def clear_node(run: RunDir, node: str) -> None:
    """Kill what an agent before us, started by other hands, may have left of the run on this node.

    What cannot be killed is a finding of the checks.
    """
    for _ in range(_NODE_ROUNDS):
        left = ranks_left(run.root, node)
        if not left:
            return
        for process in filter(None, map(identify, left)):
            send_signal(process, signal.SIGKILL)
        time.sleep(_NODE_PAUSE_S)
