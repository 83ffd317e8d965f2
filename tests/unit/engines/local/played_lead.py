"""Plays a lead: what it does is the first word of the run's command. Knows no agents."""

import os
import signal
import sys
import time
from pathlib import Path

from headrace.core.events import AttemptStarted, Ended, Event, LeadStarted
from headrace.core.order import Order
from headrace.core.process import boot_id, identify
from headrace.core.records import read_record
from headrace.core.rundir import EventWriter, RunDir


def main() -> None:
    run = RunDir(Path(sys.argv[1]))
    order = read_record(run.order, Order)
    part = order.command[0]
    if part == "stillborn":
        sys.exit("the lead has no room")
    events = EventWriter(run, "lead", now_s=time.time)

    def write(event: Event) -> None:
        events.write(event, attempt=order.attempt)

    def stop(*_: object) -> None:
        write(Ended(state="CANCELLED", exit_code=130, detail="stopped"))
        sys.exit(130)

    signal.signal(signal.SIGTERM, stop)
    me = identify(os.getpid())
    assert me is not None
    write(LeadStarted(pid=me.pid, start_ticks=me.start_ticks, boot_id=boot_id()))
    nodes = tuple(placed.node for placed in order.placed)
    write(AttemptStarted(world_size=1, nodes=nodes, master="127.0.0.1:1"))
    if part == "hangs":
        time.sleep(600)
    if part == "completes":
        write(Ended(state="COMPLETED", exit_code=0, detail="all ranks ended well"))
    sys.exit(0 if part == "completes" else 1)


if __name__ == "__main__":
    main()
