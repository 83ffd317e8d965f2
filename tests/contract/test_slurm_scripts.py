"""Batch scripts as people have them, unchanged: torchrun and MPI on two nodes of a real Slurm."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.contract.places import AGAIN_S, Place, place_of
from tests.integration.site import HEADRACE, until
from tests.integration.virtual import Virtual

from headrace.core.states import State
from headrace.spec.load import load_file
from headrace.spec.write import to_yaml

pytestmark = pytest.mark.slow
TRAIN = """\
import time
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

dist.init_process_group("gloo")
rank, world = dist.get_rank(), dist.get_world_size()
torch.manual_seed(0)
model = DistributedDataParallel(torch.nn.Linear(8, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
data = torch.Generator().manual_seed(rank)
for step in range(30):
    inputs = torch.randn(16, 8, generator=data)
    loss = ((model(inputs) - inputs.sum(1, keepdim=True)) ** 2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
mean = loss.detach().double() / world
dist.all_reduce(mean)
if rank == 0:
    print(f"ranks {world} final loss {float(mean)!r}", flush=True)
dist.destroy_process_group()
time.sleep(1)  # gloo's threads die of an interpreter that ends while they hold a tensor
"""
TORCHRUN = f"""\
#!/bin/bash
#SBATCH --job-name=ddp
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=2
#SBATCH --time=00:02:00
#SBATCH --output=slurm-%x-%j.out

export PATH={Path(sys.executable).parent}:$PATH
export OMP_NUM_THREADS=1
head_node=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n1)

srun torchrun \\
    --nnodes=$SLURM_NNODES \\
    --nproc-per-node=2 \\
    --rdzv-id=$SLURM_JOB_ID \\
    --rdzv-backend=c10d \\
    --rdzv-endpoint=$head_node:29500 \\
    train.py
"""
MPI = """\
#!/bin/bash
#SBATCH -J ring -N 2
#SBATCH --ntasks-per-node=2
#SBATCH -t 5

{launch} /usr/bin/python3 ring.py
"""
RING = """\
import os, time
from mpi4py import MPI

world = MPI.COMM_WORLD
print(f"rank {world.rank} of {world.size} on {MPI.Get_processor_name()}\\n", end="", flush=True)
passed = world.sendrecv(world.rank, dest=(world.rank + 1) % world.size)
assert passed == (world.rank - 1) % world.size
while not os.path.exists("open"):
    time.sleep(0.05)
total = world.allreduce(world.rank + 1)
if world.rank == 0:
    print(f"total {total}\\n", end="", flush=True)
"""
LAUNCHES = ["srun --mpi=pmix", "mpirun --allow-run-as-root"]


@pytest.fixture
def place(cluster: Virtual, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place_of("real", tmp_path_factory.mktemp("p"), cluster) as found:
        yield found


def run(place: Place, *words: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        words,
        cwd=place.folder,
        env=place.environ,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_a_torchrun_script_ends_with_the_loss_it_has_by_sbatch(place: Place) -> None:
    (place.folder / "train.sbatch").write_text(TORCHRUN)
    (place.folder / "train.py").write_text(TRAIN)
    said = run(place, HEADRACE, "run", "train.sbatch", "--wait")
    run_id = said.stdout.strip()
    assert "slurm.sbatch output is left out" in said.stderr
    ours = re.findall(r"ranks 4 final loss \S+", run(place, HEADRACE, "logs", run_id).stdout)
    assert place.row(run_id).state is State.COMPLETED
    job = run(place, "sbatch", "--parsable", "train.sbatch").stdout.strip()
    until(lambda: run(place, "squeue", "-hj", job).stdout == "", timeout_s=90)
    (output,) = place.folder.glob("slurm-ddp-*.out")
    theirs = re.findall(r"ranks 4 final loss \S+", output.read_text())
    assert len(ours) == 1
    assert ours == theirs


@pytest.mark.parametrize("launch", LAUNCHES)
def test_an_mpi_program_runs_its_ranks_on_both_nodes_and_starts_again_after_a_requeue(
    place: Place, launch: str
) -> None:
    script = place.folder / "ring.sbatch"
    script.write_text(MPI.format(launch=launch))
    (place.folder / "ring.py").write_text(RING)
    spec = load_file(script, cwd=place.folder)
    given = place.door.submit(to_yaml(spec), place.environ, script=script.read_text())
    with place.telling(given.id):
        until(lambda: place.log(given.id).count("rank") == 4)
        place.door.requeue(given.id)
        until(lambda: place.log(given.id).count("rank") == 8, timeout_s=AGAIN_S)
        (place.folder / "open").touch()
        (row,) = place.end(given.id)
    assert (row.state, row.attempts) == (State.COMPLETED, 2)
    said = re.findall(r"rank \d of 4 on n\d|total \d+", place.log(given.id))
    ranks = [f"rank {rank} of 4 on n{rank // 2 + 1}" for rank in range(4)]
    assert sorted(said) == sorted([*ranks, *ranks, "total 10"])


def test_a_job_file_starts_mpi_ranks_on_both_nodes(place: Place) -> None:
    (place.folder / "ring.py").write_text(RING)
    (place.folder / "open").touch()
    words = ("/usr/bin/python3", "ring.py")
    given = place.submit(*words, framework="mpi", nodes=2, ranks_per_node=2, cpus_per_rank=1)
    (row,) = place.end(given.id)
    assert row.state is State.COMPLETED
    said = re.findall(r"rank \d of 4 on n\d|total \d+", place.log(given.id))
    ranks = [f"rank {rank} of 4 on n{rank // 2 + 1}" for rank in range(4)]
    assert sorted(said) == sorted([*ranks, "total 10"])
