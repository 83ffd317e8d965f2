import os
import signal
import subprocess
import sys

import pytest

from headrace.core.events import StopBy
from headrace.train.stop import SIGNALS, StopFlag


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_sets_the_flag_and_the_earlier_handler_comes_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with StopFlag() as stop:
        signal.raise_signal(number)
    assert stop.is_set
    assert stop.reason == f"signal {number.name}"
    assert signal.getsignal(number) is before


def test_the_agent_may_ask_too() -> None:
    stop = StopFlag()
    stop.ask(StopBy(reason="preempt", deadline_s=0.0))
    assert stop.reason == "preempt"


FORKED = """
import os, signal, sys
from headrace.train.stop import StopFlag
with StopFlag():
    child = os.fork()
    if child == 0:
        signal.raise_signal(signal.SIGTERM)
        os._exit(7)
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != -signal.SIGTERM)
"""


def test_a_forked_child_can_still_be_terminated() -> None:
    subprocess.run([sys.executable, "-c", FORKED], env=os.environ, check=True, timeout=60)
