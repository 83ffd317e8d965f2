import os
from pathlib import Path

import pytest

from headrace.spec.errors import SpecError
from headrace.spec.job import (
    CheckpointSpec,
    DataSource,
    Every,
    GpuRequest,
    JobSpec,
    NodeRange,
    TrainSpec,
    Until,
)
from headrace.spec.load import from_flags, load_file, load_text, make, read_submitted
from headrace.spec.write import to_yaml


def refused(folder: Path, name: str) -> str:
    with pytest.raises(SpecError) as caught:
        load_file(Path(name), cwd=folder)
    assert caught.value.exit_status == 2
    return str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path, "job.yaml") == (
        "error HR-SPEC-001: job.yaml: is not there\n"
        "  why: the job file is read before anything\n"
        "  fix: check the path, or run without a file: headrace run -- python train.py"
    )


def test_a_folder_instead_of_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    assert refused(tmp_path, "jobs") == (
        "error HR-SPEC-001: jobs: is a folder\n  why: a job file is a file\n  fix: jobs/job.yaml"
    )


@pytest.mark.skipif(os.getuid() == 0, reason="root may read every file")
def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("run: a\n")
    (tmp_path / "job.yaml").chmod(0)
    assert refused(tmp_path, "job.yaml") == UNREADABLE


def test_what_the_kernel_does_not_let_us_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", denied)
    assert refused(tmp_path, "job.yaml") == UNREADABLE


UNREADABLE = (
    "error HR-SPEC-001: job.yaml: may not be read\n"
    "  why: your user has no permission\n"
    "  fix: chmod u+r job.yaml"
)


@pytest.mark.parametrize("data", [b"run: a\0b\n", b"PK\x03\x04\x00\x00"])
def test_a_binary_file_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "job.yaml").write_bytes(data)
    assert refused(tmp_path, "job.yaml") == (
        "error HR-SPEC-001: job.yaml: is not text\n"
        "  why: a job file is text, and text has no NUL\n"
        "  fix: name a YAML file or a batch script"
    )


def test_a_file_that_is_not_utf8_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_bytes("run: a\nname: é\n".encode("latin-1"))
    assert refused(tmp_path, "job.yaml") == (
        "error HR-SPEC-001: job.yaml: is not text\n"
        "  why: byte 13 (line 2) is not UTF-8\n"
        "  fix: save job.yaml as UTF-8"
    )


def test_a_file_over_one_mebibyte_is_refused(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_bytes(b"#" * (10 << 20))
    assert refused(tmp_path, "job.yaml") == (
        "error HR-SPEC-001: job.yaml: is too large\n"
        "  why: a job file is at most 1 MiB\n"
        "  fix: name the job file, not the data it uses"
    )


@pytest.mark.parametrize("text", ["", " \n\n", "# only a comment\n", "---\n", "~\n"])
def test_an_empty_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "job.yaml").write_text(text)
    assert refused(tmp_path, "job.yaml") == (
        "error HR-SPEC-001: job.yaml: is empty\n"
        "  why: a run needs a command\n"
        "  fix: run: python train.py"
    )


def test_a_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_bytes(b"\xef\xbb\xbfrun: a\n")
    assert load_file(Path("job.yaml"), cwd=tmp_path).run == "a"


def test_every_field_of_the_design_is_read(tmp_path: Path) -> None:
    text = """\
name: gpt-small
run: python train.py --lr 3e-4
framework: torch
nodes: 2-8
gpus-per-node: H100:8
ranks_per_node: auto
cpus_per_rank: 12
memory: 400G
time: 4h
account: lab1
partition: gpu
qos: normal
reservation: null
workdir: .
setup: |
  module load cuda
env: {A: yes, B: 010, C: 1:30}
secrets: [WANDB_API_KEY]
image: model.sif
data: [{source: /lustre/corpus, stage: nvme}]
checkpoint: {every: 500 steps, keep: 2, grace: 5m}
restart: {max: 3, on: [preempt, oom], never_on_exit: [2]}
after: {ok: [r1], any: r2}
sweep: {lr: [1e-3, 3e-4]}
slurm: {sbatch: {mail-type: END, exclusive: true, hold: }}
train:
  model: catalog:llama3-8b
  optimizer: adamw
  precision: bf16
  global_batch: 512
  sequence: 2048
  until: 3B tokens
  layout: {dp: 2, micro-batch: 4, recompute: selective}
"""
    spec = load_text(text, cwd=tmp_path)
    assert spec.argv == ("/bin/bash", "-c", "python train.py --lr 3e-4")
    assert spec.nodes == NodeRange(min=2, max=8)
    assert spec.nodes.elastic
    assert spec.gpus_per_node == GpuRequest(count=8, type="H100")
    assert (spec.ranks_per_node, spec.cpus_per_rank) == (None, 12)
    assert (spec.memory_bytes, spec.time_s) == (400 << 30, 14_400)
    assert spec.reservation is None
    assert spec.workdir == tmp_path
    assert spec.env == {"A": "yes", "B": "010", "C": "1:30"}
    assert spec.data == (DataSource(source="/lustre/corpus", stage="nvme"),)
    assert spec.checkpoint == CheckpointSpec(every=Every(steps=500), keep=2, grace_s=300)
    assert (spec.restart.on, spec.restart.never_on_exit) == (("preempt", "oom"), (2,))
    assert (spec.after.ok, spec.after.any) == (("r1",), ("r2",))
    assert spec.sweep == {"lr": ("1e-3", "3e-4")}
    assert spec.slurm.sbatch["mail-type"] == "END"
    assert spec.slurm.sbatch["hold"] == ""
    assert spec.train == TrainSpec(
        model="catalog:llama3-8b",
        optimizer="adamw",
        precision="bf16",
        global_batch=512,
        sequence=2_048,
        until=Until(tokens=3_000_000_000),
        layout={"dp": 2, "micro_batch": 4, "recompute": "selective"},
    )
    session = spec.session()
    assert (session.checkpoint_every_steps, session.checkpoint_keep) == (500, 2)
    assert (session.until_tokens, session.until_steps) == (3_000_000_000, None)
    assert read_submitted(to_yaml(spec)) == spec


@pytest.mark.parametrize(
    ("line", "seconds"),
    [("1:30:00", 5_400), ("90", 5_400), ("90:00", 5_400), ("1-0", 86_400), ("'45s'", 45)],
)
def test_a_time_means_what_slurm_means_and_not_what_yaml_means(
    tmp_path: Path, line: str, seconds: int
) -> None:
    assert load_text(f"run: a\ntime: {line}\n", cwd=tmp_path).time_s == seconds


def test_numbers_are_read_as_they_are_written(tmp_path: Path) -> None:
    assert load_text("run: a\nnodes: 010\n", cwd=tmp_path).nodes.min == 10


def test_the_key_on_is_not_a_truth_value(tmp_path: Path) -> None:
    assert load_text("run: a\nrestart:\n  on: [hang]\n", cwd=tmp_path).restart.on == ("hang",)


def test_a_description_that_says_null_has_said_nothing(tmp_path: Path) -> None:
    spec = load_text("run: a\nname: ~\nrestart: null\nenv:\n", cwd=tmp_path)
    assert (spec.name, spec.restart_given, spec.env) == ("a", False, {})


def test_flags_override_the_file(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(
        "run: a\nnodes: 2\ncheckpoint: {every: 10m, keep: 5}\nenv: {A: 1, B: 2}\narray: 0-3\n"
    )
    spec = load_file(
        Path("job.yaml"),
        overrides={
            "nodes": 4,
            "time": 240,
            "qos": None,
            "checkpoint.every": "5m",
            "env": {"B": "3"},
            "sweep": {"lr": ["1", "2"]},
            "python": "pkg.jobs:train",
        },
        cwd=tmp_path,
    )
    assert (spec.nodes.min, spec.time_s) == (4, 14_400)
    assert spec.checkpoint == CheckpointSpec(every=Every(duration_s=300), keep=5)
    assert spec.env == {"A": "1", "B": "3"}
    assert (spec.array, spec.sweep) == (None, {"lr": ("1", "2")})
    assert (spec.run, spec.python) == (None, "pkg.jobs:train")
    assert spec.argv == ("python", "-m", "headrace.launch.call", "pkg.jobs:train")


def test_an_error_in_a_flag_names_the_flag_and_not_the_file(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("run: a\ngpus_per_node: 2\n")
    with pytest.raises(SpecError) as caught:
        load_file(Path("job.yaml"), overrides={"gpus-per-node": "H100:0"}, cwd=tmp_path)
    assert str(caught.value) == (
        'error HR-SPEC-003: --gpus-per-node: "H100:0" is not a number of GPUs\n'
        "  why: a type of GPU needs 1 or more of them\n"
        "  fix: --gpus-per-node H100:1"
    )


def test_a_command_line_needs_no_file(tmp_path: Path) -> None:
    spec = from_flags(["python", "train.py", ""], overrides={"nodes": "2:4"}, cwd=tmp_path)
    assert spec.argv == ("python", "train.py", "")
    assert (spec.name, spec.nodes) == ("train", NodeRange(min=2, max=4))
    assert spec.workdir == tmp_path


def test_a_command_line_without_a_command_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        from_flags([], cwd=tmp_path)
    assert str(caught.value) == (
        "error HR-SPEC-005: there is no command\n"
        "  why: what to run follows --\n"
        "  fix: headrace run -- python train.py"
    )


def test_two_commands_on_one_command_line_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        from_flags(["a"], overrides={"run": "b"}, cwd=tmp_path)
    assert str(caught.value) == (
        "error HR-SPEC-005: --run and a command after -- both say what to run\n"
        "  why: a run has exactly one of run, python, command, script\n"
        "  fix: leave --run out, or end the line before --"
    )


def test_python_values_are_read_as_in_a_file_by_make_and_with_units_by_the_type() -> None:
    assert make(run="a", time=240, memory="1G").time_s == 14_400
    assert JobSpec(run="a", time_s=240).time_s == 240
    assert make(run="a", nodes="2-8") == JobSpec(run="a", nodes=NodeRange(min=2, max=8))


def test_python_values_meet_the_same_errors() -> None:
    with pytest.raises(SpecError) as caught:
        make(run="a", nodes="8-2")
    assert str(caught.value) == (
        'error HR-SPEC-003: nodes: "8-2" is not a node count\n'
        "  why: the smaller number comes first\n"
        "  fix: nodes: 2-8"
    )


def test_a_script_named_in_a_job_file_must_be_there_and_says_what_runs_it(tmp_path: Path) -> None:
    text = "script: job.sh\n"
    with pytest.raises(SpecError) as caught:
        load_text(text, file="job.yaml", cwd=tmp_path)
    assert str(caught.value) == (
        f'error HR-SPEC-003: job.yaml:1: script: "{tmp_path}/job.sh" is not there\n'
        "  why: a script is there when it is submitted\n"
        "  fix: script: job.sbatch"
    )
    (tmp_path / "job.sh").write_text("#!/bin/sh -e\ntrue\n")
    spec = load_text(text, cwd=tmp_path)
    assert spec.argv == ("/bin/sh", "-e", str(tmp_path / "job.sh"))
    assert spec.script_semantics


@pytest.mark.parametrize("kind", ["3090", "2080ti", "1g.10gb", "H100"])
def test_a_type_of_gpu_may_begin_with_a_digit(tmp_path: Path, kind: str) -> None:
    for text in (
        f"run: a\ngpus_per_node: {kind}:8\n",
        to_yaml(make(run="a", gpus_per_node=f"{kind}:8", cwd=tmp_path)),
    ):
        spec = load_text(text, cwd=tmp_path)
        assert spec.gpus_per_node == GpuRequest(count=8, type=kind)


def test_a_submitted_job_is_read_again_after_its_folder_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    text = to_yaml(load_text("run: a\n", cwd=folder))
    folder.rmdir()
    assert read_submitted(text).workdir == folder


def test_what_is_kept_of_checkpoints_reaches_the_session(tmp_path: Path) -> None:
    text = "run: a\ncheckpoint: {keep: 2, keep_every: 1000, best: {mode: max}, memory: 2G}\n"
    session = load_text(text, cwd=tmp_path).session()
    assert session.checkpoint_keep == 2
    assert session.checkpoint_keep_every == 1000
    assert session.checkpoint_best == ("loss", "max")
    assert session.checkpoint_memory == 2 << 30
    off = load_text("run: a\ncheckpoint: {memory: off}\n", cwd=tmp_path)
    assert off.session().checkpoint_memory == 0
    auto = load_text("run: a\ncheckpoint: {memory: auto}\n", cwd=tmp_path)
    assert auto.session().checkpoint_memory is None
