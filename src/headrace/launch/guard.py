"""The outer half of an agent: lives only to clean up after the inner one.

``python -m headrace.launch.guard RUN_DIR NODE LEAD_HOST LEAD_PORT``
"""

import os
import sys
import time
from pathlib import Path

from headrace.core.events import Noted, TreeKilled
from headrace.core.process import become_subreaper
from headrace.core.rundir import EventWriter, RunDir
from headrace.launch import agent, tree


def main(arguments: list[str]) -> int:
    run, node, host, port = RunDir(Path(arguments[0])), arguments[1], arguments[2], arguments[3]
    become_subreaper()
    guard_pid = os.getpid()
    inner = os.fork()
    if inner == 0:
        agent.serve(run, node, host, int(port), guard_pid)
        os._exit(0)
    _, status = os.waitpid(inner, 0)
    code = os.waitstatus_to_exitcode(status)
    ended: list[str] = []
    killed = tree.clear(on_exit=lambda pid, exit_code: ended.append(f"{pid}: {exit_code}"))
    if code != 0 or killed:
        events = EventWriter(run, f"guard-{node}", now_s=time.time)
        text = f"agent of {node} ended with {code}; exit codes below it: {', '.join(ended)}"
        attempt = max(run.attempts(), default=0)
        events.write(Noted(level="warning", text=text), attempt=attempt)
        events.write(TreeKilled(pids=tuple(killed), detail=text), attempt=attempt)
        events.close()
    return 0 if code == 0 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
