"""What a session is fed: mixtures, batches that change, epochs; and the record of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from headrace import data, train
from headrace.data.errors import BatchesRefused, StateMismatch
from headrace.data.recorded import drawn_in, recorded
from headrace.train.errors import Contradiction


@pytest.fixture(autouse=True)
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("HEADRACE_RUN_DIR", str(tmp_path / "run"))
    threads = torch.get_num_threads()
    yield tmp_path / "run"
    torch.set_num_threads(threads)


def packed(folder: Path, letter: str, size: int) -> data.Dataset:
    folder.mkdir()
    (folder / "text.txt").write_bytes(letter.encode() * size)
    data.pack_text([folder / "text.txt"], folder / "tokens", window=8)
    return data.open(folder / "tokens")


@pytest.fixture
def books(tmp_path: Path) -> data.Dataset:
    """50 samples."""
    return packed(tmp_path / "books", "a", 400)


@pytest.fixture
def code(tmp_path: Path) -> data.Dataset:
    """20 samples."""
    return packed(tmp_path / "code", "b", 160)


def loop(
    run: train.Session,
    dataset: data.TokenDataset,
    until: str | int | None,
    *,
    global_batch: data.Sizes = 4,
    **asking: object,
) -> list[list[int]]:
    """Train; return the samples of each step as ``data.json`` has them."""
    with run.init():
        model = run.parallelize(nn.Linear(8, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    run.track(model=model, optimizer=optimizer)
    batches = run.batches(dataset, global_batch=global_batch, seed=7, **asking)  # type: ignore[arg-type]
    firsts = []
    for step in run.steps(batches, until):
        of_step: list[int] = []
        for micro in step:
            values = micro.samples.float() / 256
            step.scale(model(values[:, :-1]).square().mean()).backward()  # type: ignore[no-untyped-call]
            of_step += micro.samples[:, 0].tolist()
        firsts.append(of_step)
        optimizer.step()
        optimizer.zero_grad()
    return firsts


def written(run_dir: Path, step: int) -> list[tuple[str, int]]:
    """(source, sample) of a step, counted from 1."""
    state, parts = recorded(run_dir / "data.json")
    return [(one.part.name, one.sample) for one in drawn_in(state, parts, step - 1)]


def test_epochs_end_the_loop_after_a_short_batch(books: data.Dataset) -> None:
    with train.session() as run:
        firsts = loop(run, books, None, epochs=1, global_batch=16)
        assert [len(step) for step in firsts] == [16, 16, 16, 2]
        assert (run.step, run.samples) == (4, 50)
        assert loop_again(run, books) == []


def loop_again(run: train.Session, books: data.Dataset) -> list[int]:
    batches = run.batches(books, global_batch=16, seed=7, epochs=1)
    return [step.number for step in run.steps(batches)]


def test_an_end_before_that_of_the_data_counts(books: data.Dataset) -> None:
    with train.session() as run:
        assert len(loop(run, books, 2, epochs=1, global_batch=16)) == 2


def test_a_mix_is_drawn_by_weights_that_change(
    books: data.Dataset, code: data.Dataset, run_dir: Path
) -> None:
    mixed = data.mix(books=books, code=code)
    weights = {0: {"books": 0.5, "code": 0.5}, 5: {"books": 1}}
    with train.session() as run:
        firsts = loop(run, mixed, 10, global_batch=4, weights=weights, period=4)
    assert [sorted(map(chr, step)) for step in firsts[:5]] == [["a", "a", "b", "b"]] * 5
    assert [sorted(map(chr, step)) for step in firsts[5:]] == [["a"] * 4] * 5
    names = {"a": "books", "b": "code"}
    for step, letters in enumerate(firsts, start=1):
        assert [name for name, _ in written(run_dir, step)] == [names[chr(n)] for n in letters]


def test_a_run_goes_on_with_another_batch_and_the_record_knows_every_step(
    books: data.Dataset, run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with train.session() as run:
        loop(run, books, 3, global_batch=4)
    before = [written(run_dir, step) for step in (1, 2, 3)]
    with train.session() as run:
        loop(run, books, 6, global_batch={0: 10, 5: 7})
        assert run.samples == 3 * 4 + 2 * 10 + 7
    assert "from step 4 on the global batch is 10, it was 4" in capsys.readouterr().err
    assert [written(run_dir, step) for step in (1, 2, 3)] == before
    assert [len(written(run_dir, step)) for step in range(1, 7)] == [4, 4, 4, 10, 10, 7]
    seen = [sample for step in range(1, 7) for _, sample in written(run_dir, step)]
    assert len(set(seen)) == len(seen) == 39


def test_the_length_of_a_run_counts_a_batch_that_changes(books: data.Dataset) -> None:
    with train.session() as run:
        batches = run.batches(books, global_batch={0: 4, 5: 10}, seed=7)
        assert run.total_steps(batches, "60 samples") == 9
        assert run.total_steps(batches, "1 epoch") == 8


def test_a_second_loop_goes_on_in_the_data(books: data.Dataset, run_dir: Path) -> None:
    with train.session() as run:
        loop(run, books, 3, global_batch=4)
        batches = run.batches(books, global_batch=4, seed=7)
        for step in run.steps(batches, 6):
            for micro in step:
                value = micro.samples.float().mean() * run.models()[0].weight.sum()  # type: ignore[operator]
                step.scale(value).backward()  # type: ignore[no-untyped-call]
        assert run.samples == 24
    seen = [sample for step in range(1, 7) for _, sample in written(run_dir, step)]
    assert len(set(seen)) == 24


def test_other_weights_are_taken_and_another_order_is_refused(
    books: data.Dataset, code: data.Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    mixed = data.mix(books=books, code=code)
    with train.session() as run:
        loop(run, mixed, 2, weights={"books": 1, "code": 1}, period=4)
    with train.session() as run:
        firsts = loop(run, mixed, 4, weights={"code": 1}, period=4)
        assert [sorted(map(chr, step)) for step in firsts] == [["b"] * 4] * 2
    said = "from step 3 on the sources' shares are 0:4, they were 2:2"
    assert said in capsys.readouterr().err
    with train.session() as run, pytest.raises(StateMismatch, match="order"):
        loop(run, mixed, 6, weights={"code": 1}, order=data.Sequential())


def test_packs_are_trained_on_like_any_token_set(tmp_path: Path) -> None:
    lines = [f'{{"ids": {list(range(10, 10 + size))}}}' for size in (5, 9, 3, 30, 2)]
    (tmp_path / "c.jsonl").write_text("\n".join(lines) + "\n")
    data.index_path(tmp_path / "c.jsonl")
    with train.session() as run:
        with run.first_rank_first():
            corpus = data.in_packs(data.open(tmp_path / "c.jsonl"), window=9, field="ids")
        model = run.parallelize(nn.Embedding(64, 64))
        run.track(model=model)
        counted = 0
        for step in run.steps(run.batches(corpus, global_batch=2, seed=1, epochs=1)):

            def loss_fn(model: nn.Module, micro: train.Micro) -> tuple[torch.Tensor, int]:
                tokens, pieces, _ = micro.samples.unbind(1)
                counts = (pieces[:, 1:] == pieces[:, :-1]) & (pieces[:, 1:] > 0)
                losses = nn.functional.cross_entropy(
                    model(tokens[:, :-1]).transpose(1, 2), tokens[:, 1:], reduction="none"
                )
                nonlocal counted
                counted += int(counts.sum())
                return losses[counts].sum(), int(counts.sum())

            step.backward(model, loss_fn)
        assert counted == 4 + 8 + 2 + 29 + 1


def test_a_batch_by_step_contradicts_the_job_files(
    books: data.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_SESSION", '{"global_batch": 8}')
    with train.session() as run, pytest.raises(Contradiction, match="the job file says 8"):
        run.batches(books, global_batch={0: 4})


def test_weights_of_what_is_no_mix_are_refused(books: data.Dataset) -> None:
    with train.session() as run, pytest.raises(BatchesRefused, match="no mix has no weights"):
        run.batches(books, global_batch=4, weights={"books": 1})


def test_two_loops_with_weights_of_their_own_go_on_as_one(
    books: data.Dataset, code: data.Dataset, run_dir: Path
) -> None:
    mixed = data.mix(books=books, code=code)

    def two_loops(run: train.Session, first: int, second: int) -> None:
        model = run.parallelize(nn.Linear(8, 1))
        run.track(model=model)
        for name, until in (("books", first), ("code", second)):
            batches = run.batches(mixed, global_batch=4, seed=7, weights={name: 1}, period=4)
            for step in run.steps(batches, until):
                for micro in step:
                    values = micro.samples[:, :-1].float()
                    step.scale(model(values).mean()).backward()  # type: ignore[no-untyped-call]

    for second in (4, 5):  # the second attempt goes on in the second loop
        with train.session() as run:
            two_loops(run, 3, second)
            assert run.step == second
    names = [{name for name, _ in written(run_dir, step)} for step in range(1, 6)]
    assert names == [{"books"}] * 3 + [{"code"}] * 2
    samples = [sample for step in range(1, 6) for _, sample in written(run_dir, step)]
    assert len(set(samples[:12])) == 12
    assert len(set(samples[12:])) == 8
