"""What a callable that can be interrupted is made of: the same protocol as submitit's.

A callable with a method ``checkpoint(*args, **kwargs)`` is asked for the call that goes on from
here when its run has to leave: for another run, at its time limit, for a requeue. It answers with a
``DelayedSubmission``; that is what the next attempt calls.
"""

from collections.abc import Callable
from typing import Any


class DelayedSubmission:
    """A call to be made later."""

    def __init__(self, function: Callable[..., Any], *args: object, **kwargs: object) -> None:
        self.function = function
        self.args = args
        self.kwargs = kwargs


class Checkpointable:
    """A callable that goes on as it is, with the same arguments. Its state is its attributes."""

    def checkpoint(self, *args: object, **kwargs: object) -> DelayedSubmission:
        assert callable(self), f"{type(self).__name__} has no __call__"
        return DelayedSubmission(self, *args, **kwargs)


def checkpoint_of(function: object) -> Callable[..., Any] | None:
    """How to ask it for the call that goes on; None when it has no such method."""
    for name in ("__submitit_checkpoint__", "checkpoint"):
        method = getattr(function, name, None)
        if callable(method):
            found: Callable[..., Any] = method
            return found
    return None
