"""What the launcher told this rank: its place among the ranks, the run directory, the settings.

Three launchers, one answer: Headrace's agent sets everything, torchrun sets the ranks and the
rendezvous, plain ``python`` sets nothing and is a world of one. Pure: the environment, the script's
name and the working directory are arguments.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from headrace.core.order import SessionSettings
from headrace.core.records import decode
from headrace.train.errors import BadEnvironment

_RENDEZVOUS = ("MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True, kw_only=True)
class Environment:
    """A rank's place. ``channel_fd``: the inherited socket to the agent, None without one.
    ``memory``: the agent's folder for what is to outlive this rank."""

    rank: int
    world_size: int
    local_rank: int
    run_dir: Path
    run_id: str
    attempt: int
    settings: SessionSettings
    channel_fd: int | None
    threads: int | None
    memory: Path | None = None

    @property
    def has_agent(self) -> bool:
        return self.channel_fd is not None


def read_environment(environ: Mapping[str, str], *, script: str, cwd: Path) -> Environment:
    """Raise ``BadEnvironment`` when the ranks' variables are incomplete or out of range."""
    ranked = "RANK" in environ or "WORLD_SIZE" in environ
    world_size = _number(environ, "WORLD_SIZE", least=1) if ranked else 1
    rank = _number(environ, "RANK", below=world_size) if ranked else 0
    if world_size > 1:
        for name in _RENDEZVOUS:
            if not environ.get(name):
                raise BadEnvironment(name, None)
    run_dir = environ.get("HEADRACE_RUN_DIR")
    name = Path(script).stem or "interactive"
    root = Path(run_dir) if run_dir else cwd / "headrace-runs" / name
    settings = environ.get("HEADRACE_SESSION")
    threads = environ.get("OMP_NUM_THREADS")
    return Environment(
        rank=rank,
        world_size=world_size,
        local_rank=_number(environ, "LOCAL_RANK") if world_size > 1 else 0,
        run_dir=root,
        run_id=environ.get("HEADRACE_RUN_ID", root.name),
        attempt=_number(environ, "HEADRACE_ATTEMPT") if "HEADRACE_ATTEMPT" in environ else 0,
        settings=decode(settings, SessionSettings) if settings else SessionSettings(),
        channel_fd=(
            _number(environ, "HEADRACE_CHANNEL_FD") if "HEADRACE_CHANNEL_FD" in environ else None
        ),
        memory=Path(environ["HEADRACE_MEMORY"]) if environ.get("HEADRACE_MEMORY") else None,
        threads=int(threads) if threads and threads.isdigit() and int(threads) > 0 else None,
    )


def _number(
    environ: Mapping[str, str], name: str, *, least: int = 0, below: int | None = None
) -> int:
    text = environ.get(name)
    if text is None or not text.isdigit():
        raise BadEnvironment(name, text)
    value = int(text)
    if value < least or (below is not None and value >= below):
        raise BadEnvironment(name, text)
    return value
