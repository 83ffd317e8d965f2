"""Saving and loading a model with its optimizer, beside safetensors, torch.save and torch's DCP.

The state is a transformer's with AdamW in float32: few large tensors, many small ones. All run in
one process in alternating order; what is printed are medians, and ratios to the peer named. After
each save the disk is flushed and the files are removed, so that nobody pays for another's writes.

* stall: until training may go on. Its limit is a copy of each tensor into memory touched before.
* durable: until every byte is on the disk (fsync); ours has also been read back and compared.
* load: in a new process each, as after a restart, every page touched; ours compares every hash.
  ``cold``: not in the page cache; ``warm``: read once before. safetensors maps the file: its
  tensors are the page cache, and may be read again from the disk. ``read``: told to, it reads
  into memory of its own, as ours, torch and DCP do. ``in memory``: what a restart on the same
  node loads under `headrace run`.

Needs three times the size of the state in memory, and five times on the disk.

    python benchmarks/races/checkpoint.py [--gib 1 4] [--rounds 5 3] [--folder FOLDER]

The peers are parts of torch and safetensors, which `pip install headrace[train]` brings.
"""

import argparse
import gc
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import TensorStorageMetadata

from headrace import checkpoint
from headrace.checkpoint.memory import Shared, snapshots
from headrace.checkpoint.restore import load
from headrace.checkpoint.retention import Keep
from headrace.checkpoint.saver import Saved, Saver, Staged

State = dict[str, torch.Tensor]
GIB = 1 << 30
WIDTH = 1024
TOUCHED_BYTES = 512 << 20  # copied into over and over; far more than a cache holds


def state_of(size_bytes: int) -> State:
    """Blocks of a transformer, each parameter with two slots of AdamW, and a count a parameter."""
    shapes = {
        "attention.qkv": (3 * WIDTH, WIDTH),
        "attention.out": (WIDTH, WIDTH),
        "mlp.up": (4 * WIDTH, WIDTH),
        "mlp.down": (WIDTH, 4 * WIDTH),
        "norm1": (WIDTH,),
        "norm2": (WIDTH,),
        "attention.bias": (3 * WIDTH,),
        "mlp.bias": (4 * WIDTH,),
    }
    state = {"model/embedding": torch.randn(size_bytes // 10 // 4 // WIDTH, WIDTH)}
    filled, block = state["model/embedding"].nbytes, 0
    while filled < size_bytes:
        for name, shape in shapes.items():
            full = f"block.{block}.{name}"
            state[f"optimizer/{full}/step"] = torch.tensor(float(block))
            for kind in ("model/{}", "optimizer/{}/exp_avg", "optimizer/{}/exp_avg_sq"):
                tensor = torch.randn(shape)
                state[kind.format(full)] = tensor
                filled += tensor.nbytes
        block += 1
    return state


def flush(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def forget(folder: Path) -> None:
    """Out of the page cache."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


class Clock:
    """Seconds of each measured thing, a list for each name."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)

    def time(self, name: str, call: Callable[[], object]) -> object:
        gc.collect()
        began_s = time.perf_counter()
        found = call()
        self.seconds[name].append(time.perf_counter() - began_s)
        return found

    def median(self, name: str) -> float:
        return statistics.median(self.seconds[name])


class Race:
    def __init__(self, state: State, folder: Path) -> None:
        self.state = state
        self.folder = folder
        self.clock = Clock()
        largest_bytes = max(tensor.nbytes for tensor in state.values())
        self.touched = torch.ones(max(largest_bytes, TOUCHED_BYTES), dtype=torch.uint8)
        self.place = Path(tempfile.mkdtemp(prefix="hr-", dir="/dev/shm"))
        self.saver = Saver(folder / "ours", keep=Keep(1), rooms=Shared(self.place))
        reason = self.saver.prepare(checkpoint.Snapshot(0, state, {}))
        if reason:
            print(f"staged in private memory: {reason}")
        self.steps = 0

    def save(self) -> list[Callable[[], Path]]:
        return [self.copy, self.ours, self.safetensors, self.torch_save, self.dcp, self.dcp_async]

    def stored(self) -> dict[str, Path]:
        """Each loader's files, made once."""
        ours, plain = self.ours(), self.safetensors()
        return {
            "ours": ours,
            "ours, in memory": self.place,
            "safetensors": plain,
            "safetensors, read": plain,
            "torch.load": self.torch_save(),
            "dcp.load": self.dcp(),
        }

    def copy(self) -> Path:
        def copy() -> None:
            start = 0
            for tensor in self.state.values():
                if start + tensor.nbytes > len(self.touched):
                    start = 0
                room = self.touched[start : start + tensor.nbytes]
                room.view(tensor.dtype).view(tensor.shape).copy_(tensor)
                start += -(-tensor.nbytes // 64) * 64

        self.clock.time("copy: stall", copy)
        return self.folder / "none"

    def ours(self) -> Path:
        self.steps += 1
        staged = self.saver.stage(checkpoint.Snapshot(self.steps, self.state, {}))
        assert isinstance(staged, Staged), staged
        self.saver.wait()
        (saved,) = self.saver.poll()
        assert isinstance(saved, Saved), saved
        self.clock.seconds["ours: stall"].append(saved.stall_s)
        self.clock.seconds["ours: durable"].append(saved.durable_s)
        return saved.path

    def safetensors(self) -> Path:
        return self.plain("safetensors", lambda path: save_file(self.state, path / "f"))

    def torch_save(self) -> Path:
        return self.plain("torch.save", lambda path: torch.save(self.state, path / "f"))

    def dcp(self) -> Path:
        return self.plain(
            "dcp.save",
            lambda path: state_dict_saver.save(self.state, checkpoint_id=path, no_dist=True),
        )

    def plain(self, name: str, save: Callable[[Path], object]) -> Path:
        path = self.folder / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()

        def durable() -> None:
            save(path)
            flush(path)

        self.clock.time(f"{name}: durable", durable)
        return path

    def dcp_async(self) -> Path:
        path = self.folder / "dcp.async_save"
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
        began_s = time.perf_counter()
        future = state_dict_saver.async_save(self.state, checkpoint_id=path, no_dist=True)
        self.clock.seconds["dcp.async_save: stall"].append(time.perf_counter() - began_s)
        assert not isinstance(future, state_dict_saver.AsyncSaveResponse)
        future.result()
        flush(path)
        self.clock.seconds["dcp.async_save: durable"].append(time.perf_counter() - began_s)
        return path

    def run(self, rounds: int) -> None:
        for number in range(rounds):
            order = self.save() if number % 2 == 0 else self.save()[::-1]
            for one in order:
                path = one()
                if one != self.ours:
                    shutil.rmtree(path, ignore_errors=True)
                os.sync()
                say(".")
        say("\n")
        report_saves(self.clock)
        stored = list(self.stored().items())
        self.state.clear()  # what is loaded takes its room
        for number in range(rounds):
            for name, path in stored if number % 2 == 0 else stored[::-1]:
                os.sync()
                forget(path)
                for how in ("cold", "warm"):
                    self.clock.seconds[f"{name}: {how}"].append(seconds_to_load(name, path))
                say(".")
        say("\n")
        report_loads(self.clock)


# --- loading, in a new process ------------------------------------------------------------------


def from_memory(place: Path) -> State:
    """What a restart on the same node loads, every hash compared, too."""
    _, _, folder = next(snapshots(place))
    return load(folder).tensors


def dcp_load(path: Path) -> State:
    stored = FileSystemReader(path).read_metadata().state_dict_metadata
    state = {
        name: torch.empty(one.size, dtype=one.properties.dtype)
        for name, one in stored.items()
        if isinstance(one, TensorStorageMetadata)
    }
    state_dict_loader.load(state, checkpoint_id=path, no_dist=True)
    return state


LOADERS: dict[str, Callable[[Path], State]] = {
    "ours": lambda path: load(path).tensors,
    "ours, in memory": from_memory,
    "safetensors": lambda path: load_file(path / "f"),
    "safetensors, read": lambda path: load_file(path / "f", backend="pread"),
    "torch.load": lambda path: torch.load(path / "f"),
    "dcp.load": dcp_load,
}


def seconds_to_load(name: str, path: Path) -> float:
    command = [sys.executable, __file__, "--load", name, str(path)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def load_and_say(name: str, path: Path) -> None:
    """Read every page: a file that is only mapped has not been loaded."""
    began_s = time.perf_counter()
    tensors = LOADERS[name](path)
    touched = sum(float(one.view(-1)[::1024].sum()) for one in tensors.values() if one.ndim)
    took_s = time.perf_counter() - began_s
    assert touched == touched, "no NaN was saved"
    print(took_s)


# --- the report ---------------------------------------------------------------------------------


def say(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


def show(clock: Clock, name: str, limit: str, *, aim: float | None = None) -> None:
    ours, theirs = clock.median(name), clock.median(limit)
    spread = f"{min(clock.seconds[name]):.2f} to {max(clock.seconds[name]):.2f}"
    aimed = "" if aim is None else f"   aim {aim}: {'met' if ours <= aim * theirs else 'MISSED'}"
    print(f"{name:24} {ours:7.3f} s ({spread})   {ours / theirs:6.2f} x {limit}{aimed}", flush=True)


def report_saves(clock: Clock) -> None:
    show(clock, "ours: stall", "copy: stall", aim=1.25)
    show(clock, "dcp.async_save: stall", "copy: stall")
    for name in ("ours", "safetensors", "torch.save", "dcp.save", "dcp.async_save"):
        aim = 1.1 if name == "ours" else None
        show(clock, f"{name}: durable", "safetensors: durable", aim=aim)


def report_loads(clock: Clock) -> None:
    for how in ("cold", "warm"):
        for name in LOADERS:
            show(clock, f"{name}: {how}", f"safetensors: {how}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gib", type=float, nargs="+", default=[1, 4])
    parser.add_argument("--rounds", type=int, nargs="+", default=[5, 3])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--load", nargs=2, metavar=("LOADER", "PATH"), help="one, and its seconds")
    asked = parser.parse_args()
    warnings.filterwarnings("ignore")
    if asked.load:
        load_and_say(asked.load[0], Path(asked.load[1]))
        return
    print(f"torch {torch.__version__}, safetensors {safetensors.__version__}, {os.uname().release}")
    for gib, rounds in zip(asked.gib, asked.rounds, strict=True):
        torch.manual_seed(1)
        state = state_of(int(gib * GIB))
        size_bytes = sum(tensor.nbytes for tensor in state.values())
        busy = os.getloadavg()[0]
        print(f"\n{size_bytes / GIB:.2f} GiB in {len(state)} tensors, load {busy:.1f}", flush=True)
        with tempfile.TemporaryDirectory(prefix="hr-", dir=asked.folder) as name:
            race = Race(state, Path(name))
            race.run(rounds)
            race.saver.close()
            shutil.rmtree(race.place)
            del race
            gc.collect()


if __name__ == "__main__":
    main()
