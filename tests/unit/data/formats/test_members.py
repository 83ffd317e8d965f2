"""Where Zstandard frames end, for every way to write them."""

import random
from pathlib import Path

import pytest
import zstandard

from headrace.data.formats import members
from headrace.data.formats.source import Source


@pytest.mark.parametrize("sized", [True, False])
@pytest.mark.parametrize("checked", [True, False])
@pytest.mark.parametrize("size", [0, 1, 255, 256, 70_000, 300_000])
def test_a_frame_ends_where_the_next_begins(
    sized: bool, checked: bool, size: int, tmp_path: Path
) -> None:
    rng = random.Random(size)
    texts = [rng.randbytes(size // 2) + bytes(size // 2) for _ in range(3)]
    packer = zstandard.ZstdCompressor(write_content_size=sized, write_checksum=checked)
    frames = [packer.compress(text) for text in texts]
    path = tmp_path / "x.zst"
    path.write_bytes(b"".join(frames))
    with Source(path) as source:
        found = list(members.members_of(source))
    assert [member.data for member in found] == texts
    assert found[0].stop == len(frames[0])
    assert b"".join(members.unpack(memoryview(path.read_bytes()), "x", 0)) == b"".join(texts)
