"""States of a run, with Slurm's names. UNKNOWN: it has ended, and nobody can say how."""

from enum import StrEnum


class State(StrEnum):
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TIMEOUT = "TIMEOUT"
    PREEMPTED = "PREEMPTED"
    NODE_FAIL = "NODE_FAIL"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    UNKNOWN = "UNKNOWN"

    @property
    def is_final(self) -> bool:
        """PREEMPTED is not final: a preempted run goes back to the queue."""
        return self not in (State.PENDING, State.RUNNING, State.PREEMPTED)
