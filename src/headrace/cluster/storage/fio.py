"""fio(1) as the worker of a benchmark: its command line, and its JSON. Pure but for ``version``."""

import json
import shutil
import subprocess

from headrace.cluster.storage.transfer import Moved, Order

FILES = "b.{}.0"
"""How fio names the files of a job called b: job number, file number."""


def version() -> str | None:
    """ "fio-3.33", or None where it is not installed."""
    program = shutil.which("fio")
    if program is None:
        return None
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


def command(order: Order, folder: str) -> list[str]:
    """The files must be named as ``FILES`` says; a thread each, one request at a time."""
    rw = {"write": "write", "read": "read", "random": "randread"}[order.verb]
    return [
        *("fio", "--name=b", f"--directory={folder}", f"--numjobs={len(order.paths)}"),
        *(f"--rw={rw}", f"--bs={order.block_bytes}", f"--size={order.file_bytes}"),
        *(f"--runtime={max(1, round(order.seconds))}", "--ioengine=psync", "--thread"),
        *("--group_reporting", "--fallocate=none", "--output-format=json"),
        f"--direct={int(order.direct)}",
        *(("--end_fsync=1", "--refill_buffers") if order.verb == "write" else ()),
        *(("--norandommap",) if order.verb == "random" else ()),
        *(("--invalidate=0",) if order.verb != "write" else ()),
    ]


def parse(text: str) -> Moved | None:
    """The result; None when it is none. fio may write a warning before its JSON."""
    try:
        jobs = json.loads(text[text.index("{") :])["jobs"]
        side = max((jobs[0][name] for name in ("read", "write")), key=lambda one: one["io_bytes"])
        size_bytes, operations = int(side["io_bytes"]), int(side["total_ios"])
        seconds = float(side["runtime"]) / 1000
        spread = side.get("clat_ns", {}).get("percentile", {})
        p99_ns = spread.get("99.000000")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return None
    if seconds <= 0 or size_bytes <= 0:
        return None
    return Moved(
        size_bytes=size_bytes,
        operations=operations,
        seconds=seconds,
        p99_ms=p99_ns / 1e6 if isinstance(p99_ns, int | float) else None,
    )
