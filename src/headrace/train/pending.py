"""A logged value that may still be on its way from the device.

Reading it early would make the host wait for the device in every step. A value on the host is a
float at once; one on a GPU is copied to pinned memory in stream order and read when it has arrived.
"""

import torch


class Pending:
    def __init__(self, value: torch.Tensor) -> None:
        """``value``: one element on a CUDA device."""
        self._host = torch.empty((), dtype=value.dtype, pin_memory=True)
        self._host.copy_(value.detach().reshape(()), non_blocking=True)
        self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._event.record()

    def is_ready(self) -> bool:
        return bool(self._event.query())  # type: ignore[no-untyped-call]

    def read(self) -> float:
        """Waits until the value has arrived."""
        self._event.synchronize()
        return float(self._host)


Logged = float | Pending


def logged(value: float | torch.Tensor) -> Logged:
    """``value``: a number or a tensor of one element."""
    if not isinstance(value, torch.Tensor):
        return float(value)
    return Pending(value) if value.is_cuda else float(value.detach())


def is_ready(value: Logged) -> bool:
    return not isinstance(value, Pending) or value.is_ready()


def read(value: Logged) -> float:
    return value.read() if isinstance(value, Pending) else value
