"""``headrace data`` on real files."""

import json
import os
import signal
from pathlib import Path

import pytest
from typer.testing import CliRunner

from headrace.cli.data import app
from headrace.data.atomic import written
from headrace.data.errors import BatchesRefused, NoSuchSample, PackRefused

TEXT = b"It is a truth universally acknowledged, that a single man in possession of a good fortune"


def run(*words: object, status: int = 0) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == status, done.output
    return done.stdout


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    (tmp_path / "text" / "deep").mkdir(parents=True)
    (tmp_path / "text" / "a.txt").write_bytes(TEXT)
    (tmp_path / "text" / "deep" / "b.txt").write_bytes(TEXT)
    (tmp_path / "text" / "c.md").write_bytes(TEXT)
    out = tmp_path / "out.tokens"
    said = json.loads(run("pack", tmp_path / "text", "--out", out, "--window", 8, "--json"))
    assert (said["schema"], said["documents"], said["windows"]) == (1, 2, 22)
    return out


def test_pack_takes_files_and_a_pattern_and_says_what_it_made(tmp_path: Path) -> None:
    (tmp_path / "c.md").write_bytes(TEXT)
    (tmp_path / "d.txt").write_bytes(TEXT)
    out = tmp_path / "out.tokens"
    said = run("pack", tmp_path, tmp_path / "d.txt", "--glob", "*.md", "--out", out, "--window", 8)
    assert said == (
        f"{out}: 22 samples of 8 tokens from 2 documents, 0 skipped, 3 tokens left over, "
        f"{out.stat().st_size:,} bytes\n"
    )


def test_show_describes_a_data_set(packed: Path) -> None:
    facts = json.loads(run("show", packed, "--json"))
    assert (facts["schema"], facts["samples"], facts["window"], facts["vocab"]) == (1, 22, 8, 257)
    assert "samples          22\n" in run("show", packed)


def test_show_prints_the_text_of_a_sample_and_where_it_comes_from(packed: Path) -> None:
    assert run("show", packed, "--sample", 1) == "truth uni\n"
    said = json.loads(run("show", packed, "--sample", 1, "--json"))
    assert said["origin"] == [{"source": "a.txt", "start": 8, "stop": 17}]
    assert bytes(said["tokens"]) == TEXT[8:17]


def test_a_sample_that_is_not_there_is_refused_with_the_range(packed: Path) -> None:
    with pytest.raises(NoSuchSample) as caught:
        run("show", packed, "--sample", 22)
    assert str(caught.value) == (
        f"error HR-DATA-009: {packed}: there is no sample 22\n"
        "  why: the data set (or the split of it) has 22 samples, counted from 0\n"
        "  fix: give a number from 0 to 21"
    )


def test_which_samples_repeats_what_a_step_of_training_drew(packed: Path) -> None:
    from headrace import data

    with data.batches(data.open(packed), global_batch=5, seed=7) as stream:
        drawn = [next(stream).indices.tolist() for _ in range(6)]
    options = ("--global-batch", 5, "--seed", 7)
    for step, indices in enumerate(drawn, start=1):
        said = json.loads(run("which-samples", packed, "--step", step, *options, "--json"))
        assert [sample["sample"] for sample in said["samples"]] == indices
    assert {sample["epoch"] for sample in said["samples"]} == {1}
    lines = run("which-samples", packed, "--step", 1, *options).splitlines()
    assert [int(line.split()[0]) for line in lines] == drawn[0]


def test_which_samples_of_a_step_behind_all_that_is_counted_is_refused(packed: Path) -> None:
    with pytest.raises(BatchesRefused) as caught:
        run("which-samples", packed, "--step", 10**19 - 1, "--global-batch", 5, "--seed", 7)
    assert str(caught.value) == (
        "error HR-DATA-007: step 9999999999999999999 ends after 49999999999999999995 samples\n"
        "  why: no run draws more than 9007199254740992\n"
        "  fix: give an earlier step"
    )


def test_which_samples_of_an_empty_split_is_refused(packed: Path) -> None:
    with pytest.raises(NoSuchSample, match="there is no sample 0"):
        run(
            "which-samples", packed, "--step", 1, "--global-batch", 5, "--seed", 7,
            "--split", 0.5, 0.5,
        )  # fmt: skip


def test_verify_lists_every_damaged_sample_and_exits_with_1(packed: Path) -> None:
    assert run("verify", packed) == f"{packed}: 22 samples, 0 damaged places\n"
    for sample in (3, 17):
        with packed.open("r+b") as file:
            file.seek(4096 + sample * 18 + 2)
            file.write(b"\xff")
    said = json.loads(run("verify", packed, "--json", status=1))
    assert [one["index"] for one in said["damage"]] == [3, 17]
    assert said["damage"][0]["why"] == "the checksum differs"
    lines = run("verify", packed, status=1).splitlines()
    assert lines == [
        f"sample 3: {packed} bytes 4150 to 4168: the checksum differs",
        f"sample 17: {packed} bytes 4402 to 4420: the checksum differs",
        f"{packed}: 22 samples, 2 damaged places",
    ]


def test_stat_measures_samples(packed: Path) -> None:
    said = json.loads(run("stat", packed, "--json"))
    assert (said["samples"], said["least_bytes"], said["most_bytes"]) == (22, 18, 18)
    assert said["sizes"] == [{"low_bytes": 16, "high_bytes": 32, "samples": 22}]
    assert "bytes per sample: least 18, mean 18, most 18" in run("stat", packed)


def test_which_samples_of_a_run_knows_every_step_and_source(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headrace import data
    from headrace.data.errors import NoPlan

    whole, part = data.open(packed), data.open(packed, split=(0.5, 1.0))
    mixed = data.mix(all=whole, half=part)
    folder = tmp_path / "run"
    folder.mkdir()
    with pytest.raises(NoPlan) as caught:
        run("which-samples", f"{folder}/", "--step", 1)
    assert str(caught.value) == (
        f"error HR-DATA-016: {folder}: there is no plan of the data to be read\n"
        "  why: data.json is not there: the run has drawn no batches from run.batches yet\n"
        "  fix: for a loop of your own give the data set with --global-batch and --seed"
    )
    weights = {0: {"all": 1}, 2: {"half": 1}}
    asked = data.ask(mixed, global_batch={0: 5, 1: 30}, seed=7, weights=weights)
    with data.batches(mixed, global_batch={0: 5, 1: 30}, seed=7, weights=weights) as stream:
        drawn = [next(stream).indices.tolist() for _ in range(4)]
    data.record(folder / "data.json", mixed, data.planned(asked))
    for step, indices in enumerate(drawn, start=1):
        said = json.loads(run("which-samples", f"{folder}/", "--step", step, "--json"))["samples"]
        shift = {"all": 0, "half": 22}
        assert [one["sample"] + shift[one["source"]] for one in said] == indices
        assert {one["source"] for one in said} == ({"all"} if step <= 2 else {"half"})
    assert said[0]["epoch"] == 2
    assert said[0]["origin"] == run_origin(packed, said[0]["sample"] + 11)
    lines = run("which-samples", f"{folder}/", "--step", 1).splitlines()
    assert lines[0].split()[:2] == [str(drawn[0][0]), "all"]
    packed.unlink()
    assert run("which-samples", f"{folder}/", "--step", 1).split()[:2] == lines[0].split()[:2]


def test_packs_are_made_before_a_program_asks_for_them(tmp_path: Path) -> None:
    from headrace import data

    path = tmp_path / "c.jsonl"
    path.write_text('{"ids": [1, 2, 3]}\n{"ids": [4, 5]}\n')
    data.index_path(path)
    said = json.loads(run("packs", path, "--window", 9, "--field", "ids", "--json"))
    assert (said["packs"], said["documents"], said["fill"]) == (1, 2, 0.5)
    before = Path(said["table"]).stat().st_mtime_ns
    assert len(data.in_packs(data.open(path), window=9, field="ids")) == 1
    assert Path(said["table"]).stat().st_mtime_ns == before
    assert run("packs", path, "--window", 9, "--field", "ids") == (
        f"{path}: 1 packs of 9 tokens from 2 documents, 50.0% filled; {said['table']}\n"
    )


def test_which_samples_of_packs_names_documents(tmp_path: Path) -> None:
    from headrace import data

    (tmp_path / "c.jsonl").write_text('{"ids": [1, 2, 3]}\n{"ids": [4, 5]}\n')
    data.index_path(tmp_path / "c.jsonl")
    corpus = data.in_packs(data.open(tmp_path / "c.jsonl"), window=9, field="ids")
    asked = data.ask(corpus, global_batch=1, seed=7)
    data.record(tmp_path / "data.json", corpus, data.planned(asked))
    said = run("which-samples", f"{tmp_path}/", "--step", 1)
    assert said.split() == ["0", "c.jsonl#0[0:3],", "c.jsonl#1[0:2]"]
    (tmp_path / "c.jsonl").unlink()
    assert run("which-samples", f"{tmp_path}/", "--step", 1).split() == ["0", "#0[0:3],", "#1[0:2]"]


def run_origin(packed: Path, sample: int) -> object:
    return json.loads(run("show", packed, "--sample", sample, "--json"))["origin"]


def test_a_data_set_is_indexed_shown_and_packed_into_one_file(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"n": n, "text": "ab" * n}) + "\n" for n in range(50)))
    said = json.loads(run("index", rows, "--json"))
    assert (said["samples"], said["format"], said["index"]) == (50, "jsonl", f"{rows}.hrindex")
    assert "50 samples of jsonl in 1 files" in run("index", rows, "--format", "jsonl")
    assert run("show", rows, "--sample", 3).splitlines() == [
        "n                3",
        "text             ababab",
    ]
    out = tmp_path / "rows.packed"
    said = run("pack", rows, "--out", out)
    assert said == f"{out}: 50 samples, {out.stat().st_size:,} bytes\n"
    content = json.loads(run("show", out, "--sample", 3, "--json"))["content"]
    assert content == {"n": 3, "text": "ababab"}
    assert run("verify", out) == f"{out}: 50 samples, 0 damaged places\n"
    assert json.loads(run("pack", rows, "--out", out, "--json"))["samples"] == 50


def test_text_without_a_window_is_refused(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("text")
    with pytest.raises(PackRefused) as caught:
        run("pack", tmp_path / "a.txt", tmp_path / "b.txt", "--out", tmp_path / "out")
    assert str(caught.value) == (
        "error HR-DATA-004: 2 paths cannot be packed without --window\n"
        "  why: text needs the length of a sample; a data set is packed alone\n"
        "  fix: give --window N to pack text, or one data set that has been indexed"
    )


def test_a_pack_never_replaces_its_source(packed: Path) -> None:
    before = packed.read_bytes()
    with pytest.raises(PackRefused, match="is both a source and the output"):
        run("pack", packed, "--out", packed)
    assert packed.read_bytes() == before


def test_a_pattern_that_can_match_nothing_below_a_folder_is_a_usage_error(tmp_path: Path) -> None:
    words = ("pack", tmp_path, "--glob", "/x", "--out", tmp_path / "out", "--window", 8)
    run(*words, status=2)


def test_a_command_that_is_asked_to_end_leaves_no_half_file(packed: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        run("verify", packed)
        with pytest.raises(KeyboardInterrupt), written(packed):
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert not list(packed.parent.glob(".*.tmp"))


def test_a_path_that_cannot_be_looked_at_is_skipped_with_a_reason(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(TEXT)
    names = (tmp_path / "a.txt", tmp_path / ("n" * 300))
    said = json.loads(run("pack", *names, "--out", tmp_path / "out", "--window", 8, "--json"))
    assert said["skipped"] == [{"source": "n" * 300, "reason": "File name too long"}]
