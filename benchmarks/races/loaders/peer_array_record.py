"""ArrayRecord alone: threads that read whole batches by their record numbers.

Chosen: ``group_size:1`` and, for reading, ``readahead_buffer_size:0,max_parallelism:0``, which its
documentation gives for random access; no compression, since the data does not compress. Each thread
has a batched ``read`` in flight; it releases the interpreter's lock. Block hashes are verified.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter
from consumer import Batch, main
from workload import Raw

READ_AHEAD = 2


def write(raw: Raw, folder: Path) -> None:
    file = ArrayRecordWriter(str(folder / "data.array_record"), "group_size:1,uncompressed")
    for sample in raw.rows() if raw.workload == "tokens" else raw.blobs():
        file.write(sample.tobytes())
    file.close()


def read(raw: Raw, folder: Path, variant: str, workers: int) -> Iterator[Batch]:
    path = str(folder / "data.array_record")
    file = ArrayRecordReader(path, options="readahead_buffer_size:0,max_parallelism:0")

    def tokens(batch: list[int]) -> Batch:
        return np.frombuffer(b"".join(file.read(batch)), np.uint16).reshape(len(batch), -1)

    stage = tokens if raw.workload == "tokens" else file.read
    batches, ahead = iter(raw.batches()), deque[Future[Batch]]()
    with ThreadPoolExecutor(workers) as threads:
        for batch in batches:
            ahead.append(threads.submit(stage, batch))
            if len(ahead) > workers * READ_AHEAD:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


if __name__ == "__main__":
    main(write, read)
