"""The outer half of an agent: lives only to clean up after the inner one.

The lead of the same host forks it with ``start``; on another host it is started by
``python -m headrace.launch.guard RUN_DIR NODE LEAD_HOST LEAD_PORT START``, where NODE may be
$VARIABLE and START is the number of the lead's start of agents.

A batch system signals the process that it started, and no child of it: the guard hands signals to
leave (SIGTERM, SIGUSR2) to the agent, which tells the lead, and stays until the end itself.
"""

import contextlib
import os
import signal
import sys
import time
import traceback
from pathlib import Path

from headrace.core.events import Noted, TreeKilled
from headrace.core.order import Order
from headrace.core.process import become_subreaper, name_process
from headrace.core.records import read_record
from headrace.core.rundir import EventWriter, RunDir
from headrace.launch import agent, tree

LEAD_LOST = 3


def start(run: RunDir, node: str, host: str, port: int, number: int) -> int:
    """Fork a guard off the lead, which has one thread and has loaded all that it needs."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            _let_go_of_the_lead()
            code = watch(run, node, host, port, number)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return pid


def _let_go_of_the_lead() -> None:
    """Its signal handlers, sockets and files are not ours."""
    signal.set_wakeup_fd(-1)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            with contextlib.suppress(OSError):  # listdir's own is closed by now
                os.close(int(name))


def watch(run: RunDir, node: str, host: str, port: int, number: int) -> int:
    """Run the agent in a child, and clear up after it. Return the exit code."""
    name_process(f"guard:{node}")  # Slurm reads no name with a space in it
    become_subreaper()
    guard_pid = os.getpid()
    for warning in agent.WARNINGS:
        signal.signal(warning, signal.SIG_IGN)  # until there is somebody to hand them to
    inner = os.fork()
    if inner == 0:
        name_process(f"agent:{node}")
        os._exit(0 if agent.serve(run, node, host, port, number, guard_pid) else LEAD_LOST)
    for warning in agent.WARNINGS:
        signal.signal(warning, lambda warning, _: os.kill(inner, warning))
    _, status = os.waitpid(inner, 0)
    code = os.waitstatus_to_exitcode(status)
    ended: list[str] = []
    killed = tree.clear(on_exit=lambda pid, exit_code: ended.append(f"{pid}: {exit_code}"))
    if code not in (0, LEAD_LOST) or killed:
        events = EventWriter(run, f"guard-{node}", now_s=time.time)
        text = f"agent of {node} ended with {code}; exit codes below it: {', '.join(ended)}"
        attempt = max(run.attempts(), default=0)
        events.write(Noted(level="warning", text=text), attempt=attempt)
        events.write(TreeKilled(pids=tuple(killed), detail=text), attempt=attempt)
        events.close()
    return code if code in (0, LEAD_LOST) else 1


def main(arguments: list[str]) -> int:
    root, node, host, port, number = arguments
    run = RunDir(Path(root))
    if node.startswith("$"):
        node = os.environ[node[1:]]
    os.environ["HEADRACE_RUN_DIR"] = str(run.root)
    code = watch(run, node, host, int(port), int(number))
    if code == LEAD_LOST and (then := read_record(run.order, Order).orphaned):
        os.execvp(then[0], then)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
