"""What is written in any format is what is read; what is hostile raises our errors alone."""

import contextlib
import random
import struct
from pathlib import Path

import pytest
from tests.datasets import WRITERS, Written, plain, read

from headrace.core.errors import HeadraceError
from headrace.data.formats import registry


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("seed", range(3))
def test_samples_come_back_as_they_were_written(kind: str, seed: int, tmp_path: Path) -> None:
    written = WRITERS[kind](tmp_path, random.Random(seed), 30)
    assert plain(read(written)) == plain(list(written.samples))


@pytest.mark.parametrize("kind", WRITERS)
def test_the_format_of_a_path_is_found_without_being_told(kind: str, tmp_path: Path) -> None:
    written = WRITERS[kind](tmp_path, random.Random(0), 30)
    assert registry.of_path(written.path).name == written.format


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Bits flipped, bytes cut, put in, moved, and numbers that are huge or negative."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        ends = min(300, len(changed))
        place = rng.choice((rng.randrange(len(changed) + 1), rng.randrange(ends + 1)))
        place = rng.choice((place, len(changed) - rng.randrange(ends + 1)))
        number = rng.choice((-1, 0, 1, 1 << 31, (1 << 62) + 1, -(1 << 63), len(data)))
        match rng.randrange(7):
            case 0 if place < len(changed):
                changed[place] ^= 1 << rng.randrange(8)
            case 1:
                changed[place : place + 1] = rng.choice((b"\0", b"\xff", b"\x80"))
            case 2:
                del changed[place:]
            case 3:
                del changed[place : place + rng.randrange(40)]
            case 4:
                changed[place:place] = rng.randbytes(rng.randrange(40))
            case 5:
                changed[place : place + 8] = struct.pack("<q", number)
            case _:
                changed[place : place + 4] = struct.pack("<q", number)[:4]
    return bytes(changed)


def attack(written: Written, rounds: int) -> None:
    """Read the data set with one file mutated. Anything but a ``HeadraceError`` fails the test."""
    rng = random.Random(rounds)
    home = written.path if written.path.is_dir() else written.path.parent
    files = sorted(path for path in home.rglob("*") if path.is_file() and path.stat().st_size)
    for _ in range(rounds):
        path = rng.choice(files)
        content = path.read_bytes()
        path.write_bytes(mutated(content, rng))
        registry.of_name(written.format).claims(written.path)
        with contextlib.suppress(HeadraceError):
            read(written)
        path.write_bytes(content)
    assert plain(read(written)) == plain(list(written.samples))


@pytest.mark.parametrize("kind", WRITERS)
def test_mutated_files_raise_nothing_but_our_errors(kind: str, tmp_path: Path) -> None:
    attack(WRITERS[kind](tmp_path, random.Random(1), 12), 100)


@pytest.mark.chaos
@pytest.mark.parametrize("kind", WRITERS)
def test_thousands_of_mutated_files_raise_nothing_but_our_errors(kind: str, tmp_path: Path) -> None:
    attack(WRITERS[kind](tmp_path, random.Random(2), 12), 3000)
