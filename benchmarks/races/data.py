"""Samples a second of data loaders, on one machine, in one run: ours, seven peers, and the limit.

Tokens: 65,536 rows of 2,048 uint16 (256 MiB). Blobs: 20,000 byte strings of about 50 KiB (968 MiB).
Batches of 64, one shuffled pass, files in the page cache, 1 and 2 threads or worker processes; the
rate is that after the first batch. Every loader feeds the same consumer, which checks that each
sample came once and whole. Rounds go through the loaders in turn, each second one backwards; shown
is the median, and that of the CPU time a sample takes of all processes together, which depends less
on what else the machine does. The limit is a bare loop of ``preadv`` in shuffled order that checks,
hands over and keeps nothing. Ours verifies the checksum of every sample.

    python benchmarks/races/data.py [--rounds 5] [--folder KEPT] [--only headrace,spdl] [--json]
    python benchmarks/races/data.py --quick

Our targets, on both workloads: twice the best peer wherever that is less than 70 % of the limit,
and half of the limit. ``--quick`` takes small data, once: it shows that all run, not how fast.
Every peer is installed in an environment of its own; needs 14 GB of disk. How each was set
up, and why, is said in its file in ``benchmarks/races/loaders``.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent / "loaders"
SOURCE = Path(__file__).resolve().parents[2] / "src"
SAMPLES = {"tokens": 65_536, "blobs": 20_000}
QUICK = {"tokens": 4_096, "blobs": 640}
NUMPY = "numpy>=1.26,<2.2"
# One release for all; the constraints keep torchvision from lifting it.
TORCH = ("torch==2.13.0", "--constraint", str(HERE / "constraints.txt"))
TARGET, SHARE_OF_LIMIT, ENOUGH = 2.0, 0.5, 0.7
LIMIT, OURS = "limit", "headrace"
Found = dict[str, float]


@dataclass(frozen=True)
class Loader:
    """A program in ``loaders``. ``installs``: arguments of pip, one call each; none: ours."""

    name: str
    program: str
    installs: tuple[tuple[str, ...], ...] = ()
    variants: tuple[str, ...] = ("",)
    in_process: bool = False
    """Whether it can also read with 0 workers, in the consumer's own thread."""

    @property
    def rows(self) -> list[str]:
        return [f"{self.name} {variant}".strip() for variant in self.variants]


LOADERS = (
    Loader(LIMIT, "bare.py"),
    Loader(OURS, "ours.py", in_process=True),
    Loader("spdl", "peer_spdl.py", (("spdl==0.8.0", NUMPY),)),
    Loader("array_record", "peer_array_record.py", (("array-record==0.8.6", NUMPY),)),
    Loader(
        "grain",
        "peer_grain.py",
        (("grain==0.2.18", "array-record==0.8.6", NUMPY),),
        ("threads", "processes"),
    ),
    Loader("torch mmap", "peer_torch.py", ((*TORCH, NUMPY),), ("samples", "batches"), True),
    Loader(
        "litdata",
        "peer_litdata.py",
        (
            ("--no-deps", "litdata==0.2.76"),
            (*TORCH, NUMPY, "lightning-utilities", "filelock", "boto3", "requests", "obstore"),
        ),
        in_process=True,
    ),
    Loader(
        "webdataset", "peer_webdataset.py", ((*TORCH, NUMPY, "webdataset==1.0.2"),), ("",), True
    ),
    Loader(
        "streaming",
        "peer_streaming.py",
        (
            ("--no-deps", "mosaicml-streaming==0.13.0"),
            (*TORCH, NUMPY, "transformers<5", "tqdm", "Brotli", "python-snappy<1", "zstd<2"),
            ("xxhash<4", "catalogue<3", "Pillow", "filelock", "typing_extensions"),
        ),
        in_process=True,
    ),
)


@dataclass(frozen=True)
class Heat:
    """One measurement: a loader in one way on one workload."""

    loader: Loader
    variant: str
    workload: str
    workers: int

    @property
    def row(self) -> str:
        return f"{self.loader.name} {self.variant}".strip()


def python_of(loader: Loader) -> Path:
    """The loader's own interpreter, installed the first time; ours is this one."""
    if not loader.installs:
        return Path(sys.executable)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "headrace" / "peers" / loader.name.replace(" ", "-")
    python = folder / "bin" / "python"
    wanted = json.dumps(loader.installs).replace(str(HERE), "")
    ready = folder / "ready"
    if not ready.exists() or ready.read_text() != wanted:
        print(f"installing {loader.name}", file=sys.stderr, flush=True)
        venv.create(folder, with_pip=True, clear=True)
        for words in loader.installs:
            subprocess.run([python, "-m", "pip", "install", "--quiet", *words], check=True)
        ready.write_text(wanted)
    return python


def call(loader: Loader, act: str, folder: Path, workload: str, *how: str) -> Found:
    """The last line that the loader's program prints. Raise with its words when it fails."""
    own = folder / loader.name.replace(" ", "-") / workload
    own.mkdir(parents=True, exist_ok=True)
    program = HERE / loader.program
    argv: list[str | Path] = [python_of(loader), program, act, folder, workload, own, *how]
    environ = os.environ | {"PYTHONPATH": str(SOURCE), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=900)
    if done.returncode != 0:
        raise SystemExit(f"{loader.name} failed to {act} {workload}:\n{done.stderr[-2000:]}")
    found: Found = json.loads(done.stdout.splitlines()[-1])
    return found


def prepare(loaders: Iterable[Loader], folder: Path, samples: dict[str, int]) -> dict[str, float]:
    """Write the raw data and every loader's own form of it; return the seconds that each took."""
    sys.path.insert(0, str(HERE))
    from workload import write

    spent: dict[str, float] = {}
    for workload, count in samples.items():
        if not (folder / f"{workload}.offsets.npy").exists():
            print(f"drawing {workload}", file=sys.stderr, flush=True)
            write(folder, workload, count)
        for loader in loaders:
            ready = folder / f"{loader.name}.{workload}.ready".replace(" ", "-")
            if not ready.exists():
                ready.write_text(json.dumps(call(loader, "write", folder, workload)))
            spent[f"{workload} {loader.name}"] = json.loads(ready.read_text())["write_s"]
    return spent


def heats(loaders: Iterable[Loader], workload: str) -> list[Heat]:
    return [
        Heat(loader, variant, workload, workers)
        for loader in loaders
        for variant in loader.variants
        for workers in ((0, 1, 2) if loader.in_process else (1, 2))
    ]


def run(loaders: list[Loader], folder: Path, rounds: int) -> dict[Heat, list[Found]]:
    found: dict[Heat, list[Found]] = {}
    for number in range(rounds):
        for workload in SAMPLES:
            every = heats(loaders, workload)
            for heat in every if number % 2 == 0 else reversed(every):
                how = (heat.variant or "-", str(heat.workers))
                one = call(heat.loader, "read", folder, workload, *how)
                found.setdefault(heat, []).append(one)
                print(
                    f"round {number + 1}: {workload} {heat.row} {heat.workers}: "
                    f"{one['rate']:,.0f}/s, {one['cpu_us']:.1f} us of CPU each",
                    file=sys.stderr,
                    flush=True,
                )
    return found


def medians(found: dict[Heat, list[Found]], key: str) -> dict[Heat, float]:
    return {heat: statistics.median(one[key] for one in each) for heat, each in found.items()}


def verdicts(rates: dict[Heat, float], workload: str) -> Iterator[dict[str, Any]]:
    """With 1 and with 2 threads or workers: ours against the limit, and against the best peer in
    any of its ways that takes no more of them."""
    for workers in (1, 2):
        of: dict[str, float] = {}
        peers: dict[Heat, float] = {}
        for heat, rate in rates.items():
            if heat.workload != workload or heat.workers > workers:
                continue
            if heat.loader.name not in (OURS, LIMIT):
                peers[heat] = rate
            elif heat.workers == workers:
                of[heat.loader.name] = rate
        if OURS not in of:
            continue
        ours, limit = of[OURS], of.get(LIMIT)
        found: dict[str, Any] = {"workload": workload, "workers": workers, "rate": ours}
        if limit is not None:
            found |= {"limit": limit, "share": ours / limit, "share_asked": SHARE_OF_LIMIT}
        ahead = {heat: rate for heat, rate in peers.items() if heat.workers}
        found["peers"] = [
            best_of(rivals, kind, ours, limit)
            for kind, rivals in (("peer", peers), ("peer that reads ahead", ahead))
            if rivals
        ]
        yield found


def best_of(
    rivals: dict[Heat, float], kind: str, ours: float, limit: float | None
) -> dict[str, object]:
    best = max(rivals, key=rivals.__getitem__)
    near = limit is not None and TARGET * rivals[best] >= ENOUGH * limit
    return {
        "kind": kind,
        "best": f"{best.row} ({best.workers})",
        "ratio": ours / rivals[best],
        "ratio_asked": None if near else TARGET,
    }


def show(values: dict[Heat, float], workload: str, what: str, digits: int) -> None:
    rows: dict[str, dict[int, float]] = {}
    for heat, value in values.items():
        if heat.workload == workload:
            rows.setdefault(heat.row, {})[heat.workers] = value
    print(f"\n{workload + ', ' + what:<36}{'0 workers':>11}{'1':>11}{'2':>11}")
    for row, found in rows.items():
        cells = (f"{found[n]:>11,.{digits}f}" if n in found else f"{'-':>11}" for n in (0, 1, 2))
        print(f"{row:<36}{''.join(cells)}")


def say(verdict: dict[str, Any]) -> None:
    text = f"{verdict['workload']}, {verdict['workers']}: headrace {verdict['rate']:,.0f}/s"
    if "share" in verdict:
        text += f", {verdict['share']:.0%} of the limit (target {verdict['share_asked']:.0%})"
    for one in verdict["peers"]:
        asked = one["ratio_asked"]
        target = f"target {asked:g}" if asked else "no target: twice it is near the limit"
        text += f"\n    {one['ratio']:.2f} times the best {one['kind']}, {one['best']} ({target})"
    print(text)


@contextmanager
def place(kept: Path | None) -> Iterator[Path]:
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept
        return
    with tempfile.TemporaryDirectory(prefix="headrace-race-") as name:
        yield Path(name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="keep the data here, and use what is there")
    parser.add_argument("--only", help="names of loaders, by commas")
    parser.add_argument("--quick", action="store_true", help="small data, once")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    names = asked.only.split(",") if asked.only else [loader.name for loader in LOADERS]
    loaders = [loader for loader in LOADERS if loader.name in names]
    if unknown := set(names) - {loader.name for loader in LOADERS}:
        parser.error(f"no such loader: {', '.join(sorted(unknown))}")
    load = os.getloadavg()
    with place(asked.folder) as folder:
        wrote = prepare(loaders, folder, QUICK if asked.quick else SAMPLES)
        found = run(loaders, folder, 1 if asked.quick else asked.rounds)
    rates, cpu_us = medians(found, "rate"), medians(found, "cpu_us")
    judged = [verdict for workload in SAMPLES for verdict in verdicts(rates, workload)]
    if asked.json:
        measured = [
            {"workload": heat.workload, "loader": heat.row, "workers": heat.workers, "found": each}
            for heat, each in found.items()
        ]
        answer = {"schema": 1, "load": [load, os.getloadavg()], "written_s": wrote}
        print(json.dumps(answer | {"measured": measured, "verdicts": judged}, indent=1))
        return
    for workload in SAMPLES:
        show(rates, workload, "samples/s", 0)
        show(cpu_us, workload, "us of CPU a sample", 1)
    print("\nwritten in " + ", ".join(f"{what} {spent_s:.1f} s" for what, spent_s in wrote.items()))
    print(f"load {load[0]:.1f} before, {os.getloadavg()[0]:.1f} after\n")
    for verdict in judged:
        say(verdict)


if __name__ == "__main__":
    main()
