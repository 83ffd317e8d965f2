"""Models that are split over ranks: saved by four, restored by any number, in any layout."""

import signal
from pathlib import Path
from typing import Any

import pytest
from tests.integration import ranks
from tests.integration.split_program import digest_of

from headrace import checkpoint, data

PROGRAM = Path(__file__).with_name("split_program.py")
EVERY = {"checkpoint_every_steps": 2}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    text = folder / "text.txt"
    text.write_text("".join(f"line {n} of {n * n % 97}, the end.\n" for n in range(200)))
    out = folder / "text.tokens"
    data.pack_text([text], out, window=16)
    return out


def run(
    argv: list[object], *, world: int, run_dir: Path, layout: dict[str, int] | None = None
) -> list[dict[str, Any]]:
    session = {**EVERY, "layout": layout}
    return ranks.finish(ranks.start(PROGRAM, argv, world=world, run_dir=run_dir, session=session))


def test_what_four_ranks_saved_comes_back_to_the_last_bit_on_three_and_as_plain_tensors(
    corpus: Path, tmp_path: Path
) -> None:
    argv = [corpus, "--half"]
    saved = run(argv, world=4, run_dir=tmp_path)
    end = saved[0]["end"]
    assert all(one["end"] == end for one in saved)
    assert any("exp_avg" in name for name in end)
    path = tmp_path / "checkpoints" / "step-000000004"
    found = checkpoint.load(path)
    assert {name: digest_of(tensor) for name, tensor in found.tensors.items()} == end
    assert found.tensors["model/head.weight"] is found.tensors["model/embedding.weight"]
    manifest = checkpoint.verify(path)
    chunks = manifest.tensors["optimizer/model/embedding.weight/exp_avg"].chunks
    assert len({chunk.file for chunk in chunks}) == 4
    restored = run([*argv, "--layout", "fsdp"], world=3, run_dir=tmp_path)
    assert [one["from"] for one in restored] == [4, 4, 4]
    assert all(one["restored"] == end for one in restored)


@pytest.mark.slow
def test_it_comes_back_on_any_number_of_ranks(corpus: Path, tmp_path: Path) -> None:
    argv = [corpus, "--half"]
    end = run(argv, world=4, run_dir=tmp_path)[0]["end"]
    for world, layout in [(4, "fsdp"), (2, "fsdp"), (1, "fsdp"), (4, "hsdp"), (2, "ddp")]:
        restored = run([*argv, "--layout", layout], world=world, run_dir=tmp_path)
        assert all(one["from"] == 4 for one in restored)
        assert all(one["restored"] == end for one in restored), (world, layout)


def test_replicas_share_the_writing(corpus: Path, tmp_path: Path) -> None:
    (one, *_) = run([corpus, "--layout", "hsdp", "--steps", 2], world=4, run_dir=tmp_path)
    manifest = checkpoint.verify(tmp_path / "checkpoints" / "step-000000002")
    assert len(manifest.files) == 4
    sizes = [file.size_bytes - file.header_bytes for _, file in sorted(manifest.files.items())]
    for pair in (sizes[::2], sizes[1::2]):  # each holds the same boxes
        assert max(pair) < 2 * min(pair)  # the embedding and its two moments weigh most
    found = checkpoint.load(tmp_path / "checkpoints" / "step-000000002")
    assert {name: digest_of(tensor) for name, tensor in found.tensors.items()} == one["end"]


@pytest.mark.parametrize(
    ("world", "layout"), [(2, "fsdp"), pytest.param(3, "ddp", marks=pytest.mark.slow)]
)
def test_training_goes_on_at_another_size_as_if_it_had_not_been_resized(
    corpus: Path, tmp_path: Path, world: int, layout: str
) -> None:
    whole = run([corpus, "--steps", 8], world=4, run_dir=tmp_path / "whole")
    run([corpus, "--steps", 4], world=4, run_dir=tmp_path / "resized")
    argv = [corpus, "--steps", 8, "--layout", layout]
    resized = run(argv, world=world, run_dir=tmp_path / "resized")
    assert resized[0]["from"] == 4
    assert resized[0]["loss"] == pytest.approx(whole[0]["loss"], rel=1e-5)


def test_the_layout_of_the_job_file_splits_the_model(corpus: Path, tmp_path: Path) -> None:
    (one,) = run([corpus, "--steps", 3], world=1, run_dir=tmp_path / "one")
    split = [corpus, "--steps", 3, "--layout", "job"]
    two = run(split, world=2, run_dir=tmp_path / "two", layout={"fsdp": 2})
    assert two[0]["loss"] == pytest.approx(one["loss"], rel=1e-5)
    manifest = checkpoint.verify(tmp_path / "two" / "checkpoints" / "step-000000003")
    chunks = manifest.tensors["model/back.weight"].chunks
    assert [chunk.sizes for chunk in chunks] == [(5, 13), (5, 13)]


def test_a_rank_killed_while_saving_leaves_a_checkpoint_to_go_on_from(
    corpus: Path, tmp_path: Path
) -> None:
    argv = [corpus, "--steps", 4]
    killed = ranks.start(
        PROGRAM,
        [*argv, "--kill", 1, "--kill-at", 4],
        world=3,
        run_dir=tmp_path,
        session=EVERY,
    )
    assert killed[1].wait(timeout=120) == -signal.SIGKILL
    for process in killed:
        process.kill()
        process.communicate()
    saved = [checkpoint.verify(path).step for path in (tmp_path / "checkpoints").glob("step-*")]
    newest = max(saved, default=0)  # a busy machine may not have committed step 2 by then
    assert newest in (0, 2)
    assert [one["from"] for one in run(argv, world=2, run_dir=tmp_path)] == [newest, newest]
    assert checkpoint.verify(tmp_path / "checkpoints" / "step-000000004").step == 4
