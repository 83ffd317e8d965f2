"""How a run's end becomes an exit status and a line of text."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from headrace.core.errors import EXIT_INTERRUPTED, EXIT_TIMEOUT
from headrace.core.states import State

if TYPE_CHECKING:
    from headrace.engines.contract import RunRow

_STATUS = {State.COMPLETED: 0, State.TIMEOUT: EXIT_TIMEOUT, State.CANCELLED: EXIT_INTERRUPTED}


def exit_status(states: Iterable[State]) -> int:
    """0 when all COMPLETED, 124 for TIMEOUT, 130 for CANCELLED, else 1; the first that is not 0."""
    return next((status for state in states if (status := _STATUS.get(state, 1))), 0)


def line(row: "RunRow") -> str:
    """ "gpt-7 FAILED: rank 0 ended with exit code 3"."""
    return f"{row.id} {row.state}" + (f": {row.reason}" if row.reason else "")
