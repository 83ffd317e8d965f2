"""The limit: a bare loop of ``preadv`` in shuffled order into one reused buffer a thread.

Nothing is verified, handed over or kept; each thread touches what it has read itself.
"""

import os
import sys
import threading
import time
from pathlib import Path

import numpy as np
from consumer import Batch, Consumer, answer, cpu_s, warm
from workload import BATCH, BLOB_BYTES, ROW, Raw


def run(raw: Raw, workers: int) -> dict[str, float]:
    """The rate is that of all threads together."""
    consumer, batches, offsets = Consumer(raw.workload), raw.batches(), raw.offsets.tolist()
    file = os.open(raw.data, os.O_RDONLY)
    bell = threading.Barrier(workers + 1)

    def loop(share: list[list[int]]) -> None:
        buffer = memoryview(bytearray(BATCH * BLOB_BYTES * 2))
        preadv = os.preadv
        rows = np.frombuffer(buffer, np.uint16, BATCH * ROW).reshape(BATCH, ROW)
        bell.wait()
        for batch in share:
            views: list[memoryview] = []
            at = 0
            for number in batch:
                start, stop = offsets[number], offsets[number + 1]
                view = buffer[at : at + stop - start]
                preadv(file, (view,), start)
                views.append(view)
                at += stop - start
            touched: Batch = rows[: len(batch)] if raw.workload == "tokens" else views
            consumer.touch(touched)
        bell.wait()

    for number in range(workers):
        threading.Thread(target=loop, args=(batches[number::workers],), daemon=True).start()
    bell.wait()
    began_s, began_cpu_s = time.perf_counter(), cpu_s()
    bell.wait()
    spent_s, spent_cpu_s = time.perf_counter() - began_s, cpu_s() - began_cpu_s
    consumer.check(raw)
    samples = consumer.samples
    return {"rate": samples / spent_s, "cpu_us": spent_cpu_s / samples * 1e6, "first_s": 0.0}


if __name__ == "__main__":
    act, source, workload, *how = sys.argv[1:]
    place = Path(source)
    if act == "write":
        answer({"write_s": 0.0})
    else:
        warm(place, workload)
        answer(run(Raw(place, workload), int(how[-1])))
