"""What is written in any format is what is read; what is hostile raises our errors alone."""

import random
from pathlib import Path

import pytest
from tests.datasets import WRITERS, plain, read

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
