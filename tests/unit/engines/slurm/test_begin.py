"""Where a run finds itself when its job has begun."""

import signal
import subprocess
import sys
from collections.abc import Sequence

import pytest

from headrace.engines.slurm.begin import patient, places
from headrace.engines.slurm.errors import SlurmUnreachable

BESIDE = "192.0.2.1"  # of no host: RFC 5737


@pytest.mark.parametrize(("address", "listens_on"), [("127.0.0.1", "127.0.0.1"), (BESIDE, None)])
@pytest.mark.parametrize("nodes", ["n1", "n1,n2"])
def test_the_lead_listens_where_its_node_can(
    nodes: str, address: str, listens_on: str | None
) -> None:
    """Behind NAT a node does not have the address that Slurm knows it by."""

    def show_nodes(_: object) -> str:
        return f"NodeName=n1 NodeAddr={address}\nNodeName=n2 NodeAddr=127.0.0.1"

    first, *_ = places({"SLURM_JOB_NODELIST": nodes, "SLURMD_NODENAME": "n1"}, show_nodes)
    assert first.node == "n1"
    assert first.address == listens_on or (listens_on is None and first.address != BESIDE)


def test_a_controller_that_is_away_for_a_moment_is_asked_again() -> None:
    answers = ["", "", "here"]

    def ask(argv: Sequence[str]) -> str:
        if not (answer := answers.pop(0)):
            raise SlurmUnreachable(argv, "Connection refused")
        return answer

    assert patient(ask, pause_s=0.0)(["scontrol"]) == "here"
    answers[:] = ["", "here"]
    with pytest.raises(SlurmUnreachable):
        patient(ask, for_s=0.0)(["scontrol"])


def test_signals_that_the_script_ignored_wait_and_are_ignored_by_no_child() -> None:
    program = (
        "import os, signal, subprocess, sys\n"
        "from headrace.engines.slurm.job import prick_up\n"
        "prick_up(); os.kill(os.getpid(), signal.SIGTERM)\n"
        "print(signal.SIGTERM in signal.sigpending())\n"
        "sys.stdout.flush(); subprocess.run(['grep', 'SigIgn', '/proc/self/status'])\n"
    )
    trap = "trap '' TERM USR2; exec \"$@\""
    argv = ["bash", "-c", trap, "bash", sys.executable, "-c", program]
    pending, ignored = subprocess.check_output(argv, text=True).splitlines()
    assert pending == "True"
    mask = int(ignored.split()[1], 16)
    assert not any(mask >> (number - 1) & 1 for number in (signal.SIGTERM, signal.SIGUSR2))
