"""A file a node appends to: its log (lines ``<rank> <o|e> <text>``) or its metrics.

Written at once after a pause, else at most once a second, so that thousands of chatty ranks do not
turn a parallel file system's metadata server into the bottleneck.
"""

import os
from pathlib import Path

_FLUSH_S = 1.0
_FLUSH_BYTES = 1 << 20


class LogFile:
    """Appends; ``due_s`` says when ``flush`` is wanted next."""

    def __init__(self, path: Path) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, 0o644)
        self._pending = bytearray()
        self._flushed_at_s = float("-inf")
        self.lost_bytes = 0

    def add_output(self, rank: int, tag: str, lines: list[bytes], now_s: float) -> None:
        prefix = f"{rank} {tag} ".encode()
        self.append(b"".join(prefix + line for line in lines), now_s)

    def append(self, data: bytes, now_s: float) -> None:
        self._pending += data
        if now_s >= self._flushed_at_s + _FLUSH_S or len(self._pending) > _FLUSH_BYTES:
            self.flush(now_s)

    def due_s(self) -> float | None:
        return self._flushed_at_s + _FLUSH_S if self._pending else None

    def flush(self, now_s: float) -> None:
        """A full disk must not end a run: what cannot be written is counted in ``lost_bytes``."""
        self._flushed_at_s = now_s
        try:
            while self._pending:
                del self._pending[: os.write(self._descriptor, self._pending)]
        except OSError:
            self.lost_bytes += len(self._pending)
            self._pending.clear()

    def close(self, now_s: float) -> None:
        self.flush(now_s)
        os.close(self._descriptor)
