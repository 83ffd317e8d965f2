from pathlib import Path

import pytest

from headrace.spec.errors import SpecError
from headrace.spec.job import AfterSpec, ArraySpec, GpuRequest, JobSpec, NodeRange
from headrace.spec.load import load_file


def load(folder: Path, *lines: str, first: str = "#!/bin/bash") -> JobSpec:
    (folder / "job.sbatch").write_text("\n".join([first, *lines, "srun python train.py", ""]))
    return load_file(Path("job.sbatch"), cwd=folder)


def test_a_script_of_daily_life_becomes_a_spec(tmp_path: Path) -> None:
    spec = load(
        tmp_path,
        "#SBATCH --job-name=gpt --account=lab1 --partition gpu",
        "#SBATCH --nodes=2 --ntasks-per-node=8 --cpus-per-task=12",
        "#SBATCH --gres=gpu:h100:8",
        "#SBATCH --mem=400G --time=1-12:00:00 --qos=normal",
        "#SBATCH --reservation=course --constraint='a100&nvlink'",
        "#SBATCH --array=0-9:3%2",
        "#SBATCH --signal=B:USR1@300",
        "#SBATCH --output=log-%j.out --mail-type=END --exclusive",
    )
    assert spec.name == "gpt"
    assert (spec.account, spec.partition, spec.qos) == ("lab1", "gpu", "normal")
    assert (spec.reservation, spec.constraint) == ("course", "a100&nvlink")
    assert spec.nodes == NodeRange(min=2, max=2)
    assert (spec.ranks_per_node, spec.cpus_per_rank) == (8, 12)
    assert spec.gpus_per_node == GpuRequest(count=8, type="h100")
    assert (spec.memory_bytes, spec.time_s) == (400 << 30, 129_600)
    assert spec.array == ArraySpec(indices=(0, 3, 6, 9), throttle=2)
    assert spec.checkpoint.grace_s == 300
    assert spec.slurm.sbatch == {"output": "log-%j.out", "mail-type": "END", "exclusive": ""}
    assert spec.script_semantics
    assert spec.argv == ("/bin/bash", str(tmp_path / "job.sbatch"))
    assert spec.notes == ()


def test_short_forms_mean_the_same(tmp_path: Path) -> None:
    spec = load(
        tmp_path,
        "#SBATCH -N2 -n 16 -t 90 -J x -p gpu -A lab1 -q high",
        "#SBATCH -c 4 -a 1,3 -d afterany:7",
    )
    assert (spec.nodes.min, spec.ranks_per_node, spec.time_s) == (2, 8, 5_400)
    assert (spec.name, spec.partition, spec.account, spec.qos) == ("x", "gpu", "lab1", "high")
    assert spec.cpus_per_rank == 4
    assert spec.array == ArraySpec(indices=(1, 3))
    assert spec.after == AfterSpec(any=("7",))


def test_lines_after_the_first_command_are_noted_and_not_read(tmp_path: Path) -> None:
    spec = load(
        tmp_path, "", "# a comment", "#SBATCH --nodes=2", "module load cuda", "#SBATCH --time=5"
    )
    assert (spec.nodes.min, spec.time_s) == (2, None)
    assert spec.notes == ("job.sbatch:6: after the first command, so sbatch ignores it",)


def test_a_comment_that_looks_like_an_option_is_noted(tmp_path: Path) -> None:
    spec = load(tmp_path, "# SBATCH --nodes=2", "##SBATCH --nodes=3")
    assert spec.nodes.min == 1
    assert spec.notes == ("job.sbatch:2: a comment: sbatch reads only lines that start #SBATCH",)


def test_a_comment_after_an_option_ends_the_line(tmp_path: Path) -> None:
    assert load(tmp_path, "#SBATCH --nodes=2 # --time=0").time_s is None


def test_the_last_of_an_option_counts(tmp_path: Path) -> None:
    assert load(tmp_path, "#SBATCH -N 2", "#SBATCH --nodes=4").nodes.min == 4


def test_an_unambiguous_beginning_of_an_option_is_enough(tmp_path: Path) -> None:
    assert load(tmp_path, "#SBATCH --job=x").name == "x"


def test_a_job_name_that_is_no_name_here_is_changed_and_noted(tmp_path: Path) -> None:
    spec = load(tmp_path, "#SBATCH -J Train_GPT")
    assert (spec.name, spec.notes) == (
        "train_gpt",
        ("job.sbatch:2: Train_GPT is named train_gpt here",),
    )


def test_the_first_line_says_what_runs_the_script(tmp_path: Path) -> None:
    script = str(tmp_path / "job.sbatch")
    assert load(tmp_path, first="#!/bin/bash -l").argv == ("/bin/bash", "-l", script)
    assert load(tmp_path, first="#!/usr/bin/env python3").argv == (
        "/usr/bin/env",
        "python3",
        script,
    )


@pytest.mark.parametrize(
    ("option", "after"),
    [
        ("afterok:1:2", AfterSpec(ok=("1", "2"))),
        ("afterok:1,afternotok:3", AfterSpec(ok=("1",), notok=("3",))),
        ("afterany:4,afterany:5,singleton", AfterSpec(any=("4", "5"), singleton=True)),
    ],
)
def test_dependencies_become_after(tmp_path: Path, option: str, after: AfterSpec) -> None:
    assert load(tmp_path, f"#SBATCH --dependency={option}").after == after


def test_a_dependency_only_slurm_knows_is_kept_and_noted(tmp_path: Path) -> None:
    spec = load(tmp_path, "#SBATCH -d aftercorr:7")
    assert spec.slurm.sbatch == {"dependency": "aftercorr:7"}
    assert spec.notes == ("job.sbatch:2: only Slurm understands this dependency",)


def test_requeue_restarts_after_what_slurm_requeues_after(tmp_path: Path) -> None:
    spec = load(tmp_path, "#SBATCH --requeue")
    assert (spec.restart.on, spec.restart_given) == (("preempt", "node"), True)
    assert load(tmp_path, "#SBATCH --no-requeue").restart.max == 0
    assert not load(tmp_path).restart_given


@pytest.mark.parametrize(
    ("options", "nodes", "ranks"),
    [
        ("--ntasks=16 --nodes=2", 2, 8),
        ("--ntasks=16 --ntasks-per-node=8", 2, 8),
        ("--ntasks=16 --ntasks-per-node=8 --nodes=2", 2, 8),
        ("--ntasks=16", 1, 16),
    ],
)
def test_tasks_are_divided_over_nodes(tmp_path: Path, options: str, nodes: int, ranks: int) -> None:
    spec = load(tmp_path, f"#SBATCH {options}")
    assert (spec.nodes.min, spec.ranks_per_node) == (nodes, ranks)


@pytest.mark.parametrize(
    ("options", "gpus"),
    [
        ("--gpus-per-node=h100:8", GpuRequest(count=8, type="h100")),
        ("--gres=gpu", GpuRequest(count=1)),
        ("--gres=gpu:a100", GpuRequest(count=1, type="a100")),
        ("--gres=gpu:4(S:0-1)", GpuRequest(count=4)),
        ("--nodes=2 -G 16", GpuRequest(count=8)),
        ("--nodes=2 --gpus=h100:16", GpuRequest(count=8, type="h100")),
        ("--ntasks-per-node=4 --gpus-per-task=2", GpuRequest(count=8)),
        ("--ntasks-per-node=4 --gpus-per-task=a100:1", GpuRequest(count=4, type="a100")),
    ],
)
def test_gpus_become_gpus_a_node(tmp_path: Path, options: str, gpus: GpuRequest) -> None:
    assert load(tmp_path, f"#SBATCH {options}").gpus_per_node == gpus


def test_other_generic_resources_stay_with_slurm(tmp_path: Path) -> None:
    assert load(tmp_path, "#SBATCH --gres=gpu:2,nvme:1").slurm.sbatch == {"gres": "nvme:1"}


@pytest.mark.parametrize(
    ("options", "gib"),
    [
        ("--mem=4096", 4),
        ("--ntasks-per-node=8 --cpus-per-task=2 --mem-per-cpu=4G", 64),
        ("--gpus-per-node=8 --mem-per-gpu=16G", 128),
    ],
)
def test_memory_becomes_memory_a_node(tmp_path: Path, options: str, gib: int) -> None:
    assert load(tmp_path, f"#SBATCH {options}").memory_bytes == gib << 30


def test_all_memory_of_a_node_is_kept_for_slurm(tmp_path: Path) -> None:
    spec = load(tmp_path, "#SBATCH --mem=0")
    assert (spec.memory_bytes, spec.slurm.sbatch) == (None, {"mem": "0"})


def test_an_unknown_option_is_kept_as_it_is(tmp_path: Path) -> None:
    spec = load(tmp_path, "#SBATCH --site-plugin=fast --other 3")
    assert spec.slurm.sbatch == {"site-plugin": "fast", "other": "3"}


def test_a_container_image_of_pyxis_is_the_image(tmp_path: Path) -> None:
    image = "nvcr.io#nvidia/pytorch:25.01-py3"
    assert load(tmp_path, f"#SBATCH --container-image={image}").image == image


CASES = {
    "--nodes=8-2": (
        'error HR-SPEC-003: job.sbatch:2: --nodes: "8-2" is not a node count\n'
        "  why: the smaller number comes first\n"
        "  fix: #SBATCH --nodes=2-8"
    ),
    "--time=soon": (
        'error HR-SPEC-003: job.sbatch:2: --time: "soon" is not a time limit\n'
        "  why: a duration is written 4h, 90m, 1h30m, 45s, HH:MM:SS or D-HH:MM:SS\n"
        "  fix: #SBATCH --time=4:00:00"
    ),
    "--gres=gpu:h100:0": (
        'error HR-SPEC-003: job.sbatch:2: --gres: "h100:0" is not a number of GPUs\n'
        "  why: a type of GPU needs 1 or more of them\n"
        "  fix: #SBATCH --gres=gpu:h100:8"
    ),
    "--ntask-per-node=8": (
        "error HR-SPEC-006: job.sbatch:2: --ntask-per-node: is not an option of sbatch\n"
        "  why: options are those of sbatch(1), by their long or short names\n"
        "  fix: #SBATCH --ntasks-per-node=..."
    ),
    "--tim=5": (
        "error HR-SPEC-006: job.sbatch:2: --tim: may mean several options\n"
        "  why: options are those of sbatch(1), by their long or short names\n"
        "  fix: #SBATCH --time=..."
    ),
    "--nodes": (
        "error HR-SPEC-006: job.sbatch:2: --nodes: has no value\n"
        "  why: options are those of sbatch(1), by their long or short names\n"
        "  fix: #SBATCH --nodes=..."
    ),
    "--requeue=yes": (
        "error HR-SPEC-006: job.sbatch:2: --requeue: takes no value\n"
        "  why: options are those of sbatch(1), by their long or short names\n"
        "  fix: #SBATCH --requeue"
    ),
    "-N 2 train.py": (
        "error HR-SPEC-006: job.sbatch:2: train.py: is not an option\n"
        "  why: options are those of sbatch(1), by their long or short names\n"
        "  fix: #SBATCH --nodes=2"
    ),
    "--comment='x": (
        "error HR-SPEC-006: job.sbatch:2: a quote is not closed\n"
        "  why: text that starts with a quote ends with one\n"
        "  fix: close the quote"
    ),
    "--nodes=2 --ntasks=15": (
        "error HR-SPEC-006: job.sbatch:2: --ntasks: 15 tasks do not divide over 2 nodes\n"
        "  why: each node runs the same number of ranks\n"
        "  fix: #SBATCH --ntasks=16"
    ),
    "--nodes=2 --ntasks=15 --ntasks-per-node=8": (
        "error HR-SPEC-006: job.sbatch:2: --ntasks: 15 tasks are not 2 nodes of 8\n"
        "  why: each node runs the same number of ranks\n"
        "  fix: #SBATCH --ntasks=16"
    ),
    "--nodes=2-4 --ntasks=16": (
        "error HR-SPEC-006: job.sbatch:2: --ntasks: 16 tasks on a range of nodes\n"
        "  why: ranks are a number a node\n"
        "  fix: #SBATCH --ntasks-per-node=8"
    ),
    "--nodes=3 --gpus=16": (
        "error HR-SPEC-006: job.sbatch:2: --gpus: 16 GPUs do not divide over 3 nodes\n"
        "  why: each node has the same number of GPUs\n"
        "  fix: #SBATCH --gpus-per-node=6"
    ),
    "--ntasks=many": (
        'error HR-SPEC-006: job.sbatch:2: --ntasks: "many" is not a number\n'
        "  why: it is 1 or more\n"
        "  fix: #SBATCH --ntasks=8"
    ),
    "--dependency=aferok:7": (
        'error HR-SPEC-006: job.sbatch:2: --dependency: "aferok" is no dependency\n'
        "  why: options are those of sbatch(1), by their long or short names\n"
        "  fix: #SBATCH --dependency=afterok:7"
    ),
    "--signal=@60": (
        'error HR-SPEC-006: job.sbatch:2: --signal: "@60" is not SIGNAL@SECONDS\n'
        "  why: options are those of sbatch(1), by their long or short names\n"
        "  fix: #SBATCH --signal=USR1@300"
    ),
}


@pytest.mark.parametrize(("line", "message"), CASES.items(), ids=CASES.keys())
def test_a_wrong_line_is_answered_in_full(line: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        load(tmp_path, f"#SBATCH {line}")
    assert str(caught.value) == message


def test_dos_line_ends_are_refused_with_the_command_that_removes_them(tmp_path: Path) -> None:
    (tmp_path / "job.sbatch").write_bytes(b"#!/bin/bash\r\n#SBATCH -N 2\r\n")
    with pytest.raises(SpecError) as caught:
        load_file(Path("job.sbatch"), cwd=tmp_path)
    assert str(caught.value) == (
        "error HR-SPEC-001: job.sbatch: has DOS line ends\n"
        "  why: sbatch refuses them, and a shell reads the \\r as part of each command\n"
        "  fix: sed -i 's/\\r$//' job.sbatch"
    )
