import pytest

from headrace.spec.job import JobSpec
from headrace.spec.naming import name_of


@pytest.mark.parametrize(
    ("program", "name"),
    [
        ({"run": "python train.py --lr 3e-4"}, "train"),
        ({"run": "cd src\npython -m pkg.Fine_Tune --x"}, "fine_tune"),
        ({"run": "LR=1 torchrun --nproc-per-node 8 scripts/Pre Train.py"}, "train"),
        ({"run": "./simulate input.nml"}, "simulate"),
        ({"run": "echo 'open"}, "echo"),
        ({"command": ["python3.11", "train.py"]}, "train"),
        ({"command": ("mpirun", "lmp", "-in", "x")}, "lmp"),
        ({"python": "pkg.jobs:Train"}, "train"),
        ({"script": "/home/a/job.sbatch"}, "job"),
        ({"run": "!!!"}, "run"),
        ({}, "run"),
    ],
)
def test_a_run_is_named_after_its_program(program: dict[str, object], name: str) -> None:
    assert name_of(program) == name


def test_a_name_that_is_given_stays() -> None:
    assert JobSpec(run="python train.py", name="gpt").name == "gpt"
