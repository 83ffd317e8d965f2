"""A job file with ``stage_python`` on a cluster."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.contract.places import Place, place_of

from headrace.engines.packed_python import NoEnvironment
from headrace.engines.slurm.errors import NotOnSlurm

SHOW = "import sys; print('prefix', sys.prefix)"


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place_of("fake-22.05", tmp_path_factory.mktemp("p"), None) as found:
        yield found


def test_all_elements_of_an_array_import_from_copies_of_one_archive(
    cluster: Place, tmp_path: Path
) -> None:
    venv, near = tmp_path / "venv", tmp_path / "nvme"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    cluster.environ["PATH"] = f"{venv}/bin:{cluster.environ['PATH']}"
    where = {"HEADRACE_CACHE": str(near)}
    asked = ("python", "-c", SHOW)
    family = cluster.submit(*asked, stage_python="nvme", env=where, array="0-1", nodes=2)
    assert any(note.startswith(f"nodes get a copy of {venv}") for note in family.notes)
    for row in cluster.end(family.id):
        assert row.state == "COMPLETED", cluster.log(row.id)
        assert cluster.log(row.id).count(f"prefix {near}/") == 2
    runs = Path(cluster.door.runs_folder())
    assert len(list(runs.glob(".python/*.tar"))) == 1


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"image": "model.sif"}, "the Python of an image is in its one file already"),
        ({"framework": "mpi"}, "srun starts these ranks itself"),
    ],
)
def test_what_cannot_have_a_copy_is_refused(
    cluster: Place, fields: dict[str, str], why: str
) -> None:
    with pytest.raises(NotOnSlurm) as caught:
        cluster.submit("python", "train.py", stage_python="nvme", **fields)
    assert caught.value.field == "stage_python"
    assert caught.value.why.startswith(why)


def test_a_job_without_an_environment_leaves_no_run_behind(cluster: Place) -> None:
    with pytest.raises(NoEnvironment):
        cluster.submit("python", "train.py", stage_python="nvme", env={"PATH": "/usr/bin:/bin"})
    assert cluster.door.runs(ended=True) == []
