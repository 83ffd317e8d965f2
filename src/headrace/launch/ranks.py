"""Where each rank of an attempt goes and what environment it starts under. Pure.

The environment is torchrun's, so that any torchrun script runs unchanged, with Slurm's names beside
it, so that programs that look for those find the same numbers under every engine. Sources: the
torchrun manual (Environment Variables) and srun(1) (OUTPUT ENVIRONMENT VARIABLES).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from headrace.core.events import Placed
from headrace.core.order import Order, Placement, RankPlace
from headrace.core.records import encode, replace
from headrace.core.rundir import RunDir

_DROPPED_PREFIXES = ("HEADRACE_", "SLURM_", "TORCHELASTIC_", "OMPI_", "PMI_", "PMIX_")


def place_ranks(order: Order, placed: Sequence[Placed], attempt: int) -> Placement:
    """Ranks in node order. Each gets neighbouring CPUs of its node; all see all of its GPUs.

    GPUs are not split between ranks: a rank picks its own by LOCAL_RANK, as torch scripts do, and
    peer-to-peer copies between GPUs of a node stay possible.
    """
    ranks: list[RankPlace] = []
    for node_rank, node in enumerate(placed):
        shares = split(node.cpus, order.ranks_per_node)
        for local_rank, cpus in enumerate(shares):
            ranks.append(
                RankPlace(
                    rank=len(ranks),
                    local_rank=local_rank,
                    node=node.node,
                    node_rank=node_rank,
                    cpus=cpus,
                    gpus=node.gpus,
                )
            )
    return Placement(
        attempt=attempt, world_size=len(ranks), nodes=tuple(placed), ranks=tuple(ranks)
    )


def bind_near(
    places: Sequence[RankPlace],
    numa_of_gpu: Mapping[int, int | None],
    numa_of_cpu: Mapping[int, int],
) -> list[RankPlace]:
    """The ranks of one node on CPUs beside their GPUs, as many each as they were given.

    A rank's GPU is the one that it picks by LOCAL_RANK. Ranks take CPUs of their GPU's memory node
    first and then what is left; where GPUs, memory nodes or CPUs for each rank are wanting, all
    stays as it was. The GPUs stay in view of every rank (not ``--gpu-bind``, which takes
    peer-to-peer copies away).
    """
    cpus = {cpu for place in places for cpu in place.cpus}
    gpus = [place.gpus[place.local_rank : place.local_rank + 1] for place in places]
    wanted = [numa_of_gpu.get(gpu[0]) if gpu else None for gpu in gpus]
    if None in wanted or len(cpus) < sum(len(place.cpus) for place in places):
        return list(places)
    free = sorted(cpus)
    taken: list[list[int]] = []
    for place, numa in zip(places, wanted, strict=True):
        near = [cpu for cpu in free if numa_of_cpu.get(cpu) == numa][: len(place.cpus)]
        taken.append(near)
        free = [cpu for cpu in free if cpu not in near]
    bound = []
    for place, near in zip(places, taken, strict=True):
        more = len(place.cpus) - len(near)
        bound.append(replace(place, cpus=tuple(sorted(near + free[:more]))))
        free = free[more:]
    return bound


def split(cpus: Sequence[int], parts: int) -> list[tuple[int, ...]]:
    """Contiguous shares whose sizes differ by at most one; all ``cpus`` for each if too few."""
    if len(cpus) < parts:
        return [tuple(cpus)] * parts
    size, extra = divmod(len(cpus), parts)
    starts = [part * size + min(part, extra) for part in range(parts + 1)]
    return [tuple(cpus[starts[part] : starts[part + 1]]) for part in range(parts)]


def rank_environment(
    *,
    order: Order,
    placement: Placement,
    place: RankPlace,
    master_address: str,
    master_port: int,
    run_dir: Path,
    submitter: Mapping[str, str],
    found: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The whole environment of one rank: the submitter's, then ours, then the job file's.

    ``found``: what a batch system has set on this node, such as the GPUs that it shows; None where
    the order says all.
    """
    node = placement.nodes[place.node_rank]
    local_world_size = sum(other.node == place.node for other in placement.ranks)
    environment = {
        name: value for name, value in submitter.items() if not name.startswith(_DROPPED_PREFIXES)
    }
    environment |= {
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": str(max(1, len(place.cpus))),
    }
    gpus = ",".join(map(str, node.gpus))
    environment |= {"CUDA_VISIBLE_DEVICES": gpus} if found is None else found
    if node.gpus:
        environment |= _flight_recorder(RunDir(run_dir).node(placement.attempt, place.node))
    environment |= order.env
    environment |= {
        "RANK": str(place.rank),
        "WORLD_SIZE": str(placement.world_size),
        "LOCAL_RANK": str(place.local_rank),
        "LOCAL_WORLD_SIZE": str(local_world_size),
        "GROUP_RANK": str(place.node_rank),
        "GROUP_WORLD_SIZE": str(len(placement.nodes)),
        "ROLE_RANK": str(place.rank),
        "ROLE_WORLD_SIZE": str(placement.world_size),
        "MASTER_ADDR": master_address,
        "MASTER_PORT": str(master_port),
        "TORCHELASTIC_RUN_ID": order.run_id,
        "TORCHELASTIC_RESTART_COUNT": str(placement.attempt),
        "TORCHELASTIC_MAX_RESTARTS": str(order.restart.max),
        "HEADRACE_RUN_ID": order.run_id,
        "HEADRACE_RUN_DIR": str(run_dir),
        "HEADRACE_ATTEMPT": str(placement.attempt),
        "HEADRACE_NODE": place.node,
        "HEADRACE_SESSION": encode(order.session).decode(),
    }
    twins = _slurm_twins(order, placement, place, node, local_world_size)
    environment |= twins | order.job_env
    if len(placement.nodes) < len(order.placed):  # it has lost some that its job still speaks of
        environment |= {name: twins[name] for name in ("SLURM_JOB_NUM_NODES", "SLURM_JOB_NODELIST")}
    return environment


def _flight_recorder(node_folder: Path) -> dict[str, str]:
    """torch keeps the last collectives of each rank and writes them down when one times out, which
    shows who was missing (PyTorch, "Flight Recorder for Debugging Stuck Jobs"). torch adds the
    rank to the file's name."""
    return {
        "TORCH_FR_BUFFER_SIZE": "2000",
        "TORCH_FR_DUMP_TEMP_FILE": str(node_folder / "flight" / "rank-"),
        "TORCH_NCCL_DUMP_ON_TIMEOUT": "1",
    }


def _slurm_twins(
    order: Order, placement: Placement, place: RankPlace, node: Placed, local_world_size: int
) -> dict[str, str]:
    number = order.run_id.rsplit("-", 1)[-1].split("_")[0]
    twins = {
        "SLURM_JOB_ID": number,
        "SLURM_JOBID": number,
        "SLURM_JOB_NAME": order.name,
        "SLURM_SUBMIT_DIR": order.workdir,
        "SLURM_NNODES": str(len(placement.nodes)),
        "SLURM_JOB_NUM_NODES": str(len(placement.nodes)),
        "SLURM_JOB_NODELIST": ",".join(other.node for other in placement.nodes),
        "SLURM_NTASKS": str(placement.world_size),
        "SLURM_NTASKS_PER_NODE": str(order.ranks_per_node),
        "SLURM_TASKS_PER_NODE": f"{local_world_size}(x{len(placement.nodes)})",
        "SLURM_CPUS_PER_TASK": str(order.cpus_per_rank),
        "SLURM_CPUS_ON_NODE": str(len(node.cpus)),
        "SLURM_PROCID": str(place.rank),
        "SLURM_LOCALID": str(place.local_rank),
        "SLURM_NODEID": str(place.node_rank),
        "SLURMD_NODENAME": place.node,
        "SLURM_RESTART_COUNT": str(placement.attempt),
    }
    if node.gpus:
        twins["SLURM_GPUS_ON_NODE"] = str(len(node.gpus))
    if order.array_index is not None:
        twins["SLURM_ARRAY_TASK_ID"] = str(order.array_index)
        twins["SLURM_ARRAY_JOB_ID"] = (order.array_id or number).rsplit("-", 1)[-1]
    return twins
