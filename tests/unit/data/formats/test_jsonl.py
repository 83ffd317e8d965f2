"""JSON lines, plain and compressed."""

import gzip
import os
import random
from pathlib import Path

import pytest
import zstandard
from tests.datasets import Written, read

from headrace.data.errors import DamagedData, IndexRefused
from headrace.data.formats import members
from headrace.data.formats.format import Options
from headrace.data.formats.jsonl import LINE_BYTES, Jsonl


def samples(path: Path) -> list[object]:
    return read(Written("jsonl", path, []))


def rows(path: Path) -> list[int]:
    return [unit.rows for unit in Jsonl().scan(path, Options()).units]


def damage(path: Path) -> DamagedData:
    with pytest.raises(DamagedData) as caught:
        list(Jsonl().scan(path, Options()).units)
    return caught.value


@pytest.mark.parametrize(
    ("text", "values"),
    [
        (b"", []),
        (b"\n\n \t\r\n", []),
        (b"1", [1]),
        (b"\xef\xbb\xbf1\r\n2\r\n", [1, 2]),
        (b"\xef\xbb\xbf", []),
        (b' {"a": [1, null]} \n\n"x"', [{"a": [1, None]}, "x"]),
        (b"123456789012345678901234567890", [123456789012345678901234567890]),
        ('"é漢🜚\u2028"\n'.encode(), ["é漢🜚\u2028"]),
    ],
)
def test_a_line_is_a_sample(text: bytes, values: list[object], tmp_path: Path) -> None:
    for name, data in (
        ("x.jsonl", text),
        ("x.jsonl.gz", gzip.compress(text)),
        ("x.jsonl.zst", zstandard.compress(text)),
    ):
        (tmp_path / name).write_bytes(data)
        assert samples(tmp_path / name) == values


def test_lines_longer_than_a_read_are_whole(tmp_path: Path) -> None:
    texts = ["x" * 3_000_000, "", "y" * 1_048_574, "z"]
    (tmp_path / "x.jsonl").write_text("\n".join(f'"{text}"' for text in texts))
    assert samples(tmp_path / "x.jsonl") == texts


@pytest.mark.parametrize("line", [b"{", b"NaN", b"1 2", b'"\xff"', b"[" * 100_000, b"'a'", b"\0"])
def test_a_line_that_is_no_json_is_found_when_it_is_indexed(line: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(b"1\n" + line + b"\n3\n")
    found = damage(tmp_path / "x.jsonl")
    assert found.why.startswith("a line is not JSON: ")
    assert (found.start, found.stop) == (2, 2 + len(line))


def test_a_file_without_line_ends_does_not_fill_the_memory(tmp_path: Path) -> None:
    with (tmp_path / "x.jsonl").open("wb") as stream:
        stream.write(b'"')
        stream.truncate(1 << 40)
    assert damage(tmp_path / "x.jsonl").why == f"a line is longer than {LINE_BYTES} bytes"


def test_utf16_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes('{"a": 1}\n'.encode("utf-16"))
    assert damage(tmp_path / "x.jsonl").why == "it is UTF-16; JSON lines are UTF-8"


def test_a_unit_is_a_gzip_member_or_the_members_that_end_a_line(tmp_path: Path) -> None:
    parts = [b"1\n2\n", b"3\n4", b"4\n", b"\n", b"5"]
    (tmp_path / "x.jsonl.gz").write_bytes(b"".join(map(gzip.compress, parts)))
    assert rows(tmp_path / "x.jsonl.gz") == [2, 2, 1]
    assert samples(tmp_path / "x.jsonl.gz") == [1, 2, 3, 44, 5]


def test_a_zstandard_file_of_one_frame_is_one_unit(tmp_path: Path) -> None:
    text = b"".join(b'{"n": %d}\n' % number for number in range(50_000))
    packer = zstandard.ZstdCompressor(write_checksum=True, write_content_size=False)
    (tmp_path / "x.jsonl.zst").write_bytes(packer.compress(text))
    assert rows(tmp_path / "x.jsonl.zst") == [50_000]
    assert samples(tmp_path / "x.jsonl.zst") == [{"n": number} for number in range(50_000)]


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_any_cut_of_a_compressed_file_is_damaged(pack: object, tmp_path: Path) -> None:
    assert callable(pack)
    data = pack(b'{"a": 1}\n' * 20)
    path = tmp_path / "x.jsonl.gz"
    for keep in range(4, len(data)):
        path.write_bytes(data[:keep])
        assert damage(path)


def test_a_member_that_holds_too_much_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members, "LIMIT_BYTES", 1 << 20)
    bomb = b"\n" * (1 << 24)
    for pack in (gzip.compress, zstandard.compress):
        (tmp_path / "x.jsonl.gz").write_bytes(pack(bomb))
        assert "a member holds more than" in damage(tmp_path / "x.jsonl.gz").why


def test_blocks_that_end_in_mid_line_are_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.data.formats.jsonl.MERGED_BYTES", 10)
    (tmp_path / "x.jsonl.gz").write_bytes(b"".join(gzip.compress(b'["abc",') for _ in range(9)))
    with pytest.raises(IndexRefused) as caught:
        list(Jsonl().scan(tmp_path, Options()).units)
    assert str(caught.value) == (
        f"error HR-DATA-010: {tmp_path}/x.jsonl.gz: its compressed blocks do not end where lines "
        "end\n"
        "  why: a line could only be read by unpacking the file from its beginning\n"
        "  fix: unpack it, or compress whole lines: split -l 1000 --filter='gzip >> OUT.jsonl.gz'"
    )


def test_bytes_of_any_kind_decode_or_are_damaged() -> None:
    rng = random.Random(1)
    decode = Jsonl().decoder({})
    for _ in range(500):
        head = rng.choice([b"", b"\x1f\x8b\x08\0", b"\x28\xb5\x2f\xfd", b"\x50\x2a\x4d\x18"])
        data = head + os.urandom(rng.randrange(60))
        try:
            decode(memoryview(data), "x", 0)
        except DamagedData:
            continue
