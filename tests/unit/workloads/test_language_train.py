"""The language workload from corpus to generated text, in this process and small."""

from pathlib import Path

import pytest
import torch

from headrace import data
from headrace.core.records import write_file
from headrace.workloads.language import generate, train
from headrace.workloads.language.corpus import (
    cache_folder,
    open_corpus,
    pack_standard_library,
    standard_library,
)
from headrace.workloads.language.train import warm_up_then_cosine

SMALL = ["--width", "32", "--layers", "1", "--heads", "2", "--global-batch", "4"]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    text = tmp_path / "text.py"
    text.write_text("def add(a, b):\n    return a + b\n\n\n" * 100)
    data.pack_text([text], tmp_path / "text.tokens", window=16)
    return tmp_path / "text.tokens"


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEADRACE_RUN_DIR", str(tmp_path / "run"))
    return tmp_path / "run"


def test_train_evaluate_and_generate(
    corpus: Path, run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main(["--corpus", str(corpus), "--steps", "20", "--evaluate", *SMALL]) == 0
    held_out, final = capsys.readouterr().out.splitlines()
    assert held_out.startswith("held-out loss ")
    loss, entropy = (float(part.split()[-2]) for part in final.split("; "))
    assert final == f"final loss {loss!r} nats/byte; unigram entropy {entropy!r} nats/byte"
    assert entropy < 3.2
    asked = [str(run_dir), "--prompt", "def ", "--tokens", "30", "--seed", "3"]
    texts = []
    for _ in range(2):
        assert generate.main(asked) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1]
    assert texts[0].startswith("def ")


def test_the_job_file_fills_in_what_the_command_line_leaves_out(
    corpus: Path, run_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HEADRACE_SESSION", '{"global_batch": 2, "until_steps": 3}')
    assert train.main(["--corpus", str(corpus), *SMALL[:-2]]) == 0
    assert "step 3/3" in capsys.readouterr().err


def test_a_bad_corpus_is_told_in_three_lines(
    tmp_path: Path, run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main(["--corpus", str(tmp_path / "absent.tokens")]) == 3
    assert capsys.readouterr().err.startswith("error HR-DATA-001: ")


def test_a_checkpoint_of_something_else_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from headrace import checkpoint

    saver = checkpoint.Saver(tmp_path)
    saver.stage(checkpoint.Snapshot(1, {"model/w": torch.zeros(1)}, {"objects": {}}))
    saver.close()
    assert generate.main([str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"error HR-WORKLOADS-001: {tmp_path}/step-000000001: not a checkpoint of the language"
        " workload\n"
        "  why: it holds no shape of a decoder, or tensors of another shape\n"
        "  fix: train one: python -m headrace.workloads.language.train --steps 300\n"
    )


def test_a_folder_without_checkpoints_is_not_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate.main([str(tmp_path)]) == 3
    assert capsys.readouterr().err.startswith("error HR-CKPT-001: ")


def test_the_standard_library_is_packed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / "lib"
    for name in ("a.py", "json/b.py", "test/c.py", "site-packages/d.py", "notes.txt"):
        (library / name).parent.mkdir(parents=True, exist_ok=True)
        write_file(library / name, b"x = 1\n" * 50)
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(library))
    names = [str(path.relative_to(library)) for path in standard_library()]
    assert names == ["a.py", "json/b.py"]
    assert len(standard_library(tests=True)) == 3
    first = pack_standard_library(tmp_path / "cache", window=8)
    stamp = first.stat().st_mtime_ns
    assert pack_standard_library(tmp_path / "cache", window=8) == first
    assert first.stat().st_mtime_ns == stamp
    write_file(library / "a.py", b"x = 2\n" * 60)
    assert pack_standard_library(tmp_path / "cache", window=8) != first
    parts = open_corpus(first)
    assert len(parts.train) + len(parts.held_out) == len(data.open(first))


def test_the_corpus_is_kept_in_the_cache_folder_of_the_user() -> None:
    assert cache_folder({"XDG_CACHE_HOME": "/c"}) == Path("/c/headrace/corpora")


def test_the_learning_rate_warms_up_and_falls_to_a_tenth() -> None:
    factors = [warm_up_then_cosine(step, warm_up=10, total=100) for step in range(101)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[9] == factors[10] == 1.0
    assert factors[-1] == pytest.approx(0.1)
    assert sorted(factors[10:], reverse=True) == factors[10:]
