"""A session of one process, in this process."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from headrace import checkpoint, data, train
from headrace.checkpoint.errors import CheckpointNotFound
from headrace.data.errors import StateMismatch
from headrace.train.errors import Contradiction, MissingValue, OutOfOrder, RunDirUnusable
from headrace.train.group import Group


@pytest.fixture
def dataset(tmp_path: Path) -> data.TokenDataset:
    text = tmp_path / "text.txt"
    text.write_bytes(bytes(range(256)) * 4)
    data.pack_text([text], tmp_path / "text.tokens", window=8)
    return data.open(tmp_path / "text.tokens")


@pytest.fixture(autouse=True)
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "run"
    monkeypatch.setenv("HEADRACE_RUN_DIR", str(folder))
    threads = torch.get_num_threads()
    yield folder
    torch.set_num_threads(threads)


def loss_fn(model: nn.Module, micro: train.Micro) -> tuple[Tensor, int]:
    values = micro.samples.float() / 256
    return model(values[:, :-1]).sub(values[:, -1:]).square().sum(), len(micro)


def set_up(run: train.Session) -> tuple[nn.Module, torch.optim.Optimizer]:
    with run.init():
        model = run.parallelize(nn.Linear(8, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    run.track(model=model, optimizer=optimizer)
    return model, optimizer


def learn(run: train.Session, dataset: data.TokenDataset, until: str | int | None) -> list[float]:
    """Losses of the steps that this session took."""
    model, optimizer = set_up(run)
    losses = []
    for step in run.steps(run.batches(dataset, global_batch=4, seed=1), until=until):
        loss = step.backward(model, loss_fn)
        optimizer.step()
        optimizer.zero_grad()
        run.log(loss=loss)
        losses.append(float(loss))
    return losses


def test_a_second_session_goes_on_where_the_first_ended(dataset: data.TokenDataset) -> None:
    with train.session() as run:
        first = learn(run, dataset, 3)
    with train.session() as run:
        second = learn(run, dataset, 5)
        assert (run.step, run.samples, run.loss) == (5, 20, second[-1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADRACE_RUN_DIR", str(Path(os.environ["HEADRACE_RUN_DIR"]) / "other"))
        with train.session() as run:
            assert learn(run, dataset, 5) == first + second


def test_epochs_count_samples_of_the_data_set(dataset: data.TokenDataset) -> None:
    with train.session() as run:
        assert len(learn(run, dataset, "1 epoch")) == -(-len(dataset) // 4)


def test_a_stop_ends_the_loop_after_a_step_that_is_saved(
    dataset: data.TokenDataset, run_dir: Path
) -> None:
    with train.session() as run:
        model, optimizer = set_up(run)
        for step in run.steps(run.batches(dataset, global_batch=4), until=100):
            step.backward(model, loss_fn)
            optimizer.step()
            if step.number == 3:
                signal.raise_signal(signal.SIGTERM)
        assert run.stopped
    saved = checkpoint.load_newest(run_dir / "checkpoints")
    assert saved is not None
    assert saved.step == run.step == 4


def test_a_stop_is_answered_in_an_evaluation_and_in_a_phase(dataset: data.TokenDataset) -> None:
    with train.session() as run:
        signal.raise_signal(signal.SIGUSR2)
        evaluation = run.evaluate(dataset, batch=4)
        assert len(list(evaluation)) == 1
        assert not evaluation.complete
        with run.phase("rollout") as phase:
            assert phase.stop_agreed()


def test_an_evaluation_sees_every_sample_once_and_weighs_by_count(
    dataset: data.TokenDataset,
) -> None:
    seen = []
    with train.session() as run:
        evaluation = run.evaluate(dataset, batch=5)
        for micro in evaluation:
            first = micro.samples[:, 0].double()
            seen.append(first)
            evaluation.add(first=(first.sum(), len(micro)), often=(first.sum(), 2 * len(micro)))
    values = torch.cat(seen)
    assert len(values) == len(dataset)
    assert evaluation.complete
    assert evaluation.mean == {
        "first": float(values.mean()),
        "often": float(values.mean()) / 2,
    }


def test_leaving_the_loop_counts_and_saves_the_step(
    dataset: data.TokenDataset, run_dir: Path
) -> None:
    with train.session() as run:
        model, optimizer = set_up(run)
        for step in run.steps(run.batches(dataset, global_batch=4), until=100):
            step.backward(model, loss_fn)
            optimizer.step()
            if step.number == 2:
                break
    saved = checkpoint.load_newest(run_dir / "checkpoints")
    assert saved is not None
    assert saved.step == 2


def test_logging_after_the_loop_was_left_asks_no_other_rank_and_counts_for_its_last_step(
    dataset: data.TokenDataset,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with train.session() as run:
        model, optimizer = set_up(run)
        for step in run.steps(run.batches(dataset, global_batch=4), until=100):
            step.backward(model, loss_fn)
            optimizer.step()
            if step.number == 2:
                break
        with monkeypatch.context() as alone:
            alone.setattr(Group, "start_sum", None)
            run.log(accuracy=0.5)
        assert run.step == 1
    assert "step 2/100  accuracy 0.5" in capsys.readouterr().err


def test_a_script_that_fails_saves_nothing_more(dataset: data.TokenDataset, run_dir: Path) -> None:
    def fail() -> None:
        with train.session() as run:
            set_up(run)
            for _ in run.steps(run.batches(dataset, global_batch=4), until=100):
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert checkpoint.load_newest(run_dir / "checkpoints") is None


def test_checkpoints_come_every_so_many_steps_and_the_newest_are_kept(
    dataset: data.TokenDataset, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = '{"checkpoint_every_steps": 1, "checkpoint_keep": 2, "until_steps": 4}'
    monkeypatch.setenv("HEADRACE_SESSION", settings)
    with train.session() as run:
        learn(run, dataset, None)
    kept = sorted(path.name for path in (run_dir / "checkpoints").glob("step-*"))
    assert len(kept) == 2
    assert kept[-1] == "step-000000004"


def test_a_rule_by_time_saves_without_waiting_for_the_end(
    dataset: data.TokenDataset, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HEADRACE_SESSION", '{"checkpoint_every_s": 0.0}')
    with train.session() as run:
        learn(run, dataset, 20)
    assert capsys.readouterr().err.count("headrace: saved step ") > 1


def test_noise_is_a_function_of_seed_and_step(
    dataset: data.TokenDataset, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[float] = []
    for _ in range(2):
        with train.session(seed=5) as run:
            set_up(run)
            batches = run.batches(dataset, global_batch=4)
            drawn += [float(torch.rand(())) for _ in run.steps(batches, until=run.step + 2)]
    again: list[float] = []
    monkeypatch.setenv("HEADRACE_RUN_DIR", str(run_dir / "other"))
    with train.session(seed=5) as run:
        set_up(run)
        batches = run.batches(dataset, global_batch=4)
        again += [float(torch.rand(())) for _ in run.steps(batches, until=4)]
    assert drawn == again
    assert len(set(drawn)) == 4


def test_bfloat16_of_the_job_file_is_used_in_the_forward(
    dataset: data.TokenDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_SESSION", '{"precision": "bf16"}')
    seen = []

    def watched(model: nn.Module, micro: train.Micro) -> tuple[Tensor, int]:
        out = model(micro.samples[:, :-1].float())
        seen.append(out.dtype)
        return out.float().sum(), len(micro)

    with train.session() as run:
        model, _ = set_up(run)
        for step in run.steps(run.batches(dataset, global_batch=4), until=1):
            step.backward(model, watched)
    assert seen == [torch.bfloat16]


def test_values_of_the_job_file_may_not_be_contradicted(
    dataset: data.TokenDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_SESSION", '{"global_batch": 8, "sequence": 9}')
    wrong = pytest.raises(Contradiction, match="sequence=8, the job file says 9")
    with train.session() as run, wrong:
        run.batches(dataset)
    monkeypatch.setenv("HEADRACE_SESSION", '{"global_batch": 8, "sequence": 8}')
    with train.session() as run:
        assert run.batches(dataset).global_batch == 8
        with pytest.raises(Contradiction, match="global_batch=4, the job file says 8"):
            run.batches(dataset, global_batch=4)


def test_a_batch_size_must_come_from_somewhere(dataset: data.TokenDataset) -> None:
    with train.session() as run, pytest.raises(MissingValue, match="global_batch"):
        run.batches(dataset)


def test_other_data_than_the_checkpoints_is_refused(
    dataset: data.TokenDataset, tmp_path: Path
) -> None:
    with train.session() as run:
        learn(run, dataset, 2)
    half = data.open(tmp_path / "text.tokens", split=(0.0, 0.5))
    with train.session() as run, pytest.raises(StateMismatch, match="fingerprint"):
        learn(run, half, 4)


def test_track_comes_once_and_before_steps(dataset: data.TokenDataset) -> None:
    with train.session() as run:
        with pytest.raises(OutOfOrder, match=r"run\.steps came before run\.track"):
            run.steps(run.batches(dataset, global_batch=4), until=1)
        set_up(run)
        with pytest.raises(OutOfOrder, match=r"run\.track was called twice"):
            run.track()


def test_a_run_directory_that_is_a_file_is_refused_at_once(run_dir: Path) -> None:
    run_dir.write_text("")
    with train.session() as run, pytest.raises(RunDirUnusable, match="Not a directory"):
        set_up(run)


def test_a_session_starts_from_an_imported_model_and_then_from_its_own_checkpoints(
    dataset: data.TokenDataset, tmp_path: Path
) -> None:
    from safetensors.torch import save_file

    from headrace.checkpoint.hugging_face import import_model

    weight = torch.full((1, 8), 0.5)
    save_file({"weight": weight, "bias": torch.ones(1)}, tmp_path / "model.safetensors")
    made = import_model(tmp_path / "model.safetensors", tmp_path / "start")
    for start in (made, tmp_path / "start"):
        with train.session(start=start) as run:
            model, optimizer = set_up(run)
            assert torch.equal(model.state_dict()["weight"], weight)
            assert not optimizer.state
            assert run.step == 0
    with train.session(start=made) as run:
        first = learn(run, dataset, 2)
    with train.session(start=made) as run:
        model, optimizer = set_up(run)
        assert run.step == 2
        assert optimizer.state
        assert not torch.equal(model.state_dict()["weight"], weight)
    assert len(first) == 2


def test_a_start_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFound), train.session(start=tmp_path / "absent") as run:
        set_up(run)
