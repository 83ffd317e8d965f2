"""One rank as the agent holds it: its process, its output, its channel.

A rank is started by fork and exec from the single-threaded agent, as leader of a session of its
own, bound to its CPUs, with SIGUSR2 ignored (an unmodified program must survive the warning signal
of a site), and asks the kernel to kill it when the agent dies.
"""

import contextlib
import os
import signal
import socket
from collections.abc import Mapping, Sequence

from headrace.core.events import Down, Up, decode_up
from headrace.core.order import RankPlace
from headrace.core.process import die_with_parent
from headrace.core.records import DecodeError
from headrace.launch.wire import Channel

_READ_BYTES = 1 << 16
_LINE_MAX_BYTES = 1 << 16
CHANNEL_VARIABLE = "HEADRACE_CHANNEL_FD"


class Stream:
    """One output pipe of a rank, cut into lines.

    A carriage return starts the line anew, as on a terminal, so that a progress bar becomes one
    line and not a thousand.
    """

    def __init__(self, descriptor: int, tag: str) -> None:
        os.set_blocking(descriptor, False)
        self.descriptor = descriptor
        self.tag = tag
        self.closed = False
        self._pending = b""

    def fileno(self) -> int:
        return self.descriptor

    def lines(self) -> list[bytes]:
        """What has arrived as whole lines, each with its newline; at the end also the rest."""
        chunks = []
        try:
            while data := os.read(self.descriptor, _READ_BYTES):
                chunks.append(data)
            self.closed = True
        except BlockingIOError:
            pass
        *whole, rest = (self._pending + b"".join(chunks)).split(b"\n")
        if rest and (self.closed or len(rest) > _LINE_MAX_BYTES):
            whole.append(rest)
            rest = b""
        self._pending = rest[rest.rstrip(b"\r").rfind(b"\r") + 1 :]
        return [line.rstrip(b"\r").rpartition(b"\r")[2] + b"\n" for line in whole]

    def close(self) -> None:
        self.closed = True
        os.close(self.descriptor)


class Rank:
    """A started rank. The agent watches ``pidfd``, ``streams`` and ``channel``."""

    def __init__(
        self, place: RankPlace, pid: int, streams: Sequence[Stream], channel: Channel
    ) -> None:
        self.place = place
        self.pid = pid
        self.pidfd = os.pidfd_open(pid)
        self.streams = list(streams)
        self.channel = channel
        self.spoke = False
        self.step = -1

    def messages(self) -> list[Up]:
        """What the rank said since last time. Lines that are no message are dropped."""
        found = []
        for line in self.channel.lines():
            with contextlib.suppress(DecodeError):
                found.append(decode_up(line))
        self.spoke = self.spoke or bool(found)
        return found

    def tell(self, message: Down) -> None:
        self.channel.send(message)

    def terminate(self) -> None:
        """SIGTERM to the rank's whole process group, as Slurm does to a step."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGTERM)

    def close(self) -> None:
        for stream in self.streams:
            if not stream.closed:
                stream.close()
        self.channel.close()
        os.close(self.pidfd)


def start(
    argv: Sequence[str],
    *,
    place: RankPlace,
    environment: Mapping[str, str],
    workdir: str,
) -> Rank:
    """Start one rank. A program that cannot be run ends with 127 or 126, as in a shell."""
    out_read, out_write = os.pipe2(os.O_CLOEXEC)
    err_read, err_write = os.pipe2(os.O_CLOEXEC)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    child_environment = dict(environment) | {CHANNEL_VARIABLE: str(theirs.fileno())}
    agent = os.getpid()
    pid = os.fork()
    if pid == 0:
        os.set_inheritable(theirs.fileno(), True)
        _become(argv, agent, place, child_environment, workdir, (out_write, err_write))
    os.close(out_write)
    os.close(err_write)
    theirs.close()
    streams = [Stream(out_read, "o"), Stream(err_read, "e")]
    return Rank(place, pid, streams, Channel(ours))


def _become(
    argv: Sequence[str],
    agent: int,
    place: RankPlace,
    environment: Mapping[str, str],
    workdir: str,
    outputs: tuple[int, int],
) -> None:
    """In the child: turn into the rank's program. Does not return."""
    code = 126
    try:
        os.setsid()
        die_with_parent()
        if os.getppid() != agent:
            os._exit(1)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(outputs[0], 1)
        os.dup2(outputs[1], 2)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        if place.cpus:
            with contextlib.suppress(OSError):  # a CPU may have gone offline or left our cpuset
                os.sched_setaffinity(0, place.cpus)
        os.chdir(workdir)
        os.execvpe(argv[0], list(argv), dict(environment))
    except FileNotFoundError as error:
        code = 127
        os.write(2, f"headrace: {error.filename or argv[0]}: not found\n".encode())
    except OSError as error:
        os.write(2, f"headrace: {error.filename or argv[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(code)
