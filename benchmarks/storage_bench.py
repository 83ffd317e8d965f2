"""What `headrace storage --bench` says beside fio run by hand, and what a look at a path costs.

    python benchmarks/storage_bench.py [FOLDER] [--size-mib 512]

The peer is fio with the same files, blocks and limits, in turn; the ratio is ours over fio's,
medians of five. Budget: a look at a local path in 20 ms, by a child (a path that may hang) in 1 s.
"""

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

from headrace.cluster.nodes.mounts import mount_of, parse_mounts
from headrace.cluster.storage import fio, of, probe
from headrace.cluster.storage.measure import Speed, Wish, measure

LOOKS, ROUNDS = 20, 5
LOCAL_BUDGET_S, CHILD_BUDGET_S = 0.02, 1.0


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--size-mib", type=int, default=512)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="headrace-storage-", dir=asked.folder) as name:
        folder = Path(name)
        looks(folder)
        race(folder, asked.size_mib << 20)


def looks(folder: Path) -> None:
    """The median of each way to look."""
    local_s = median_s(folder)
    mounts = parse_mounts(Path("/proc/self/mounts").read_text())
    line = mount_of(str(folder), mounts)
    assert line is not None
    begun_s = time.monotonic()
    found = probe.look_from_child(str(folder), str(folder), line, 15.0)
    child_s = time.monotonic() - begun_s
    assert found.answers, "a look that finds nothing measures nothing"
    print(
        f"look, here           {local_s * 1000:8.1f} ms  {local_s / LOCAL_BUDGET_S:5.2f} of budget"
    )
    print(
        f"look, from a child   {child_s * 1000:8.1f} ms  {child_s / CHILD_BUDGET_S:5.2f} of budget"
    )


def median_s(folder: Path) -> float:
    times_s = []
    for _ in range(LOOKS):
        begun_s = time.monotonic()
        assert of(folder).answers
        times_s.append(time.monotonic() - begun_s)
    return sorted(times_s)[LOOKS // 2]


def race(folder: Path, size_bytes: int) -> None:
    """Our worker and fio in turn, the median of each number."""
    seen: dict[tuple[str, str, bool], list[Speed]] = {}
    workers = (True, False) if fio.version() is not None else (True,)
    for _ in range(ROUNDS):
        for own in workers:
            wish = Wish(size_bytes=size_bytes, seconds=5.0, jobs=2, own=own)
            for speed in measure(of(folder), wish, lambda what, share: None).speeds:
                seen.setdefault((speed.what, speed.how, own), []).append(speed)
    for (what, how, own), speeds in seen.items():
        if not own:
            continue
        if speeds[0].bytes_s is None:
            print(f"{what:14} {'':8} {median([one.operations_s for one in speeds]):9,.0f} /s")
            continue
        ours = median([one.bytes_s or 0 for one in speeds])
        peer = median([one.bytes_s or 0 for one in seen.get((what, how, False), [])] or [0])
        beside = f"{ours / peer:5.2f} of fio's" if peer else ""
        print(f"{what:14} {how:8} {ours / 2**20:9,.0f} MiB/s  {beside}")


if __name__ == "__main__":
    main()
