"""Command lines of Apptainer, enroot and pyxis beside golden ones; the images that are refused."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

import headrace.spec
from headrace.spec import make
from headrace.spec.image import in_image, in_step, refusal_of
from headrace.spec.job import JobSpec


def job(**fields: Any) -> JobSpec:  # noqa: ANN401
    given = {"command": ("python", "train.py", "--lr", "3e-4")} | fields
    return make(name="gpt", cwd=Path("/home/ada/gpt"), **given)


GOLDEN = {
    "model.sif": (
        "apptainer exec --bind /lustre/ada/runs --bind /home/ada/gpt --pwd /home/ada/gpt "
        "/home/ada/gpt/model.sif python train.py --lr 3e-4"
    ),
    "/apps/images/torch": (
        "apptainer exec --bind /lustre/ada/runs --bind /home/ada/gpt --pwd /home/ada/gpt "
        "/apps/images/torch python train.py --lr 3e-4"
    ),
    "model.sqsh": (
        '/bin/bash -c exec enroot start "$@" <&"$HEADRACE_CHANNEL_FD" enroot --conf CONF '
        "--mount /lustre/ada/runs:/lustre/ada/runs:none:x-create=auto,rbind "
        "--mount /home/ada/gpt:/home/ada/gpt:none:x-create=auto,rbind "
        "/home/ada/gpt/model.sqsh /home/ada/gpt python train.py --lr 3e-4"
    ),
}
CONF = str(Path(headrace.spec.__file__).with_name("enroot.conf"))
STEPS = {
    None: "srun python train.py --lr 3e-4",
    "model.sif": "srun " + GOLDEN["model.sif"],
    "model.sqsh": (
        "srun --container-image=/home/ada/gpt/model.sqsh --container-mounts="
        "/lustre/ada/runs:/lustre/ada/runs,/home/ada/gpt:/home/ada/gpt "
        "--container-workdir=/home/ada/gpt --no-container-remap-root --no-container-entrypoint "
        "python train.py --lr 3e-4"
    ),
}


@pytest.mark.parametrize("image", GOLDEN)
def test_a_rank_is_started_in_the_image_where_it_would_run_without_it(image: str) -> None:
    spec = job(image=image)
    assert refusal_of(spec) is None
    found = in_image(spec, spec.argv, run=Path("/lustre/ada/runs/gpt-7"), gpus=0)
    assert " ".join(found).replace(CONF, "CONF") == GOLDEN[image]


@pytest.mark.parametrize("image", STEPS)
def test_ranks_of_mpi_are_started_by_srun_in_an_image_of_enroots_by_pyxis(
    image: str | None,
) -> None:
    spec = job(image=image, framework="mpi")
    found = in_step(spec, spec.argv, run=Path("/lustre/ada/runs/gpt-7"), gpus=0)
    assert " ".join(found) == STEPS[image]


def test_gpus_and_data_reach_the_container() -> None:
    spec = job(image="model.sif", data=["/data/corpus", "hf://books"])
    words = in_image(spec, spec.argv, run=Path("/lustre/ada/runs/gpt-7"), gpus=8)
    assert words[2] == "--nv"
    assert words[words.index("/data/corpus") - 1] == "--bind"
    assert "hf://books" not in words
    spec = job(image="model.sqsh", data=["/data/corpus", "hf://books"])
    words = in_image(spec, spec.argv, run=Path("/lustre/ada/runs/gpt-7"), gpus=8)
    assert words[words.index("NVIDIA_VISIBLE_DEVICES=all") - 1] == "--env"
    mount = words.index("/data/corpus:/data/corpus:none:x-create=auto,rbind")
    assert words[mount - 1] == "--mount"


def test_bash_understands_the_configuration_for_enroot() -> None:
    subprocess.run(["bash", "-n", CONF], check=True)


def test_without_an_image_the_program_is_started_as_it_is() -> None:
    spec = job()
    assert refusal_of(spec) is None
    assert in_image(spec, spec.argv, run=Path("/runs/gpt-7"), gpus=8) == spec.argv


@pytest.mark.parametrize(
    ("image", "remedy"),
    [
        ("~/model.sif", "write the whole path"),
        (
            "docker://python:3.12",
            "apptainer pull python.sif docker://python:3.12, then image: python.sif; or "
            "enroot import -o python.sqsh docker://python:3.12, then image: python.sqsh",
        ),
        (
            "nvcr.io/nvidia/pytorch:25.01-py3",
            "apptainer pull pytorch.sif docker://nvcr.io/nvidia/pytorch:25.01-py3, "
            "then image: pytorch.sif; or enroot import -o pytorch.sqsh "
            "docker://nvcr.io#nvidia/pytorch:25.01-py3, then image: pytorch.sqsh",
        ),
        (
            "nvcr.io#nvidia/pytorch:25.01-py3",
            "apptainer pull pytorch.sif docker://nvcr.io/nvidia/pytorch:25.01-py3, "
            "then image: pytorch.sif; or enroot import -o pytorch.sqsh "
            "docker://nvcr.io#nvidia/pytorch:25.01-py3, then image: pytorch.sqsh",
        ),
    ],
)
def test_a_reference_is_refused_with_the_command_that_makes_a_file_of_it(
    image: str, remedy: str
) -> None:
    refusal = refusal_of(job(image=image))
    assert refusal is not None
    assert refusal.remedy == remedy
