from pathlib import Path

from headrace.core.events import Placed
from headrace.core.order import Order, RankPlace, RestartPolicy, SessionSettings
from headrace.launch.ranks import bind_near, place_ranks, rank_environment, split


def order(**changes: object) -> Order:
    fields: dict[str, object] = {
        "run_id": "gpt-12_3",
        "name": "gpt",
        "attempt": 0,
        "placed": (
            Placed(node="a", address="10.0.0.1", cpus=(0, 1, 2, 3), gpus=(0, 1)),
            Placed(node="b", address="10.0.0.2", cpus=(4, 5, 6, 7), gpus=(0, 1)),
        ),
        "ranks_per_node": 2,
        "cpus_per_rank": 2,
        "framework": "torch",
        "command": ("true",),
        "workdir": "/work",
        "env": {},
        "environment_file": "/nowhere",
        "session": SessionSettings(global_batch=64),
        "setup": None,
        "time_limit_s": None,
        "time_used_s": 0.0,
        "stop_grace_s": 5.0,
        "kill_wait_s": 1.0,
        "hang_s": None,
        "restart": RestartPolicy(),
        "restarts_used": 0,
    }
    return Order(**(fields | changes))  # type: ignore[arg-type]


def environment(rank: int, given: Order, **submitter: str) -> dict[str, str]:
    placement = place_ranks(given, given.placed, attempt=2)
    return rank_environment(
        order=given,
        placement=placement,
        place=placement.ranks[rank],
        master_address="10.0.0.1",
        master_port=4711,
        run_dir=Path("/runs/gpt-12_3"),
        submitter=submitter,
    )


def test_ranks_go_in_node_order_with_neighbouring_cpus() -> None:
    placement = place_ranks(order(), order().placed, attempt=0)
    assert [(p.rank, p.local_rank, p.node, p.cpus) for p in placement.ranks] == [
        (0, 0, "a", (0, 1)),
        (1, 1, "a", (2, 3)),
        (2, 0, "b", (4, 5)),
        (3, 1, "b", (6, 7)),
    ]


def test_cpus_are_shared_where_there_are_fewer_than_ranks() -> None:
    assert split((3,), 2) == [(3,), (3,)]
    assert split((0, 1, 2), 2) == [(0, 1), (2,)]


def test_a_rank_finds_torchruns_and_slurms_names() -> None:
    found = environment(3, order())
    wanted = {
        "RANK": "3",
        "WORLD_SIZE": "4",
        "LOCAL_RANK": "1",
        "LOCAL_WORLD_SIZE": "2",
        "GROUP_RANK": "1",
        "MASTER_ADDR": "10.0.0.1",
        "MASTER_PORT": "4711",
        "TORCHELASTIC_RUN_ID": "gpt-12_3",
        "TORCHELASTIC_RESTART_COUNT": "2",
        "OMP_NUM_THREADS": "2",
        "CUDA_VISIBLE_DEVICES": "0,1",
        "SLURM_JOB_ID": "12",
        "SLURM_PROCID": "3",
        "SLURM_LOCALID": "1",
        "SLURM_NODEID": "1",
        "SLURM_NTASKS": "4",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_GPUS_ON_NODE": "2",
        "HEADRACE_RUN_ID": "gpt-12_3",
        "HEADRACE_ATTEMPT": "2",
    }
    assert {name: found[name] for name in wanted} == wanted
    assert '"global_batch":64' in found["HEADRACE_SESSION"]


def test_the_job_files_words_win_over_ours_but_not_over_the_rank_contract() -> None:
    found = environment(0, order(env={"OMP_NUM_THREADS": "7", "RANK": "9"}))
    assert found["OMP_NUM_THREADS"] == "7"
    assert found["RANK"] == "0"


def test_a_launchers_variables_of_the_submitting_shell_do_not_leak_in() -> None:
    found = environment(0, order(), SLURM_JOB_UID="1", HEADRACE_SITE="x", PMI_RANK="4", HOME="/h")
    assert not {"SLURM_JOB_UID", "HEADRACE_SITE", "PMI_RANK"} & found.keys()
    assert found["HOME"] == "/h"


def test_a_run_without_gpus_sees_none() -> None:
    placed = (Placed(node="a", address="127.0.0.1", cpus=(0,)),)
    assert environment(0, order(placed=placed, ranks_per_node=1))["CUDA_VISIBLE_DEVICES"] == ""


def four_ranks(*cpus: tuple[int, ...]) -> list[RankPlace]:
    return [
        RankPlace(rank=n, local_rank=n, node="a", node_rank=0, cpus=mine, gpus=(0, 1, 2, 3))
        for n, mine in enumerate(cpus)
    ]


SOCKETS = {cpu: cpu // 4 for cpu in range(8)}


def test_ranks_get_cpus_beside_the_gpu_that_local_rank_picks() -> None:
    given = four_ranks((0, 1), (2, 3), (4, 5), (6, 7))
    bound = bind_near(given, {0: 1, 1: 0, 2: 1, 3: 0}, SOCKETS)
    assert [place.cpus for place in bound] == [(4, 5), (0, 1), (6, 7), (2, 3)]


def test_ranks_whose_memory_node_is_full_take_what_is_left_and_nobody_gets_less() -> None:
    given = four_ranks((0, 1), (2, 3), (4, 5), (6, 7))
    bound = bind_near(given, {0: 1, 1: 1, 2: 1, 3: 0}, SOCKETS)
    assert [place.cpus for place in bound] == [(4, 5), (6, 7), (2, 3), (0, 1)]


def test_cpus_stay_as_they_were_where_the_memory_node_of_a_gpu_is_not_known() -> None:
    given = four_ranks((0, 1), (2, 3), (4, 5), (6, 7))
    assert bind_near(given, {0: 1, 1: 0, 2: None, 3: 0}, SOCKETS) == given
    assert bind_near(given, {}, SOCKETS) == given


def test_cpus_that_ranks_share_stay_shared() -> None:
    given = four_ranks((0, 1), (0, 1), (0, 1), (0, 1))
    assert bind_near(given, dict.fromkeys(range(4), 0), SOCKETS) == given


def test_torch_is_told_where_to_write_what_collectives_were_last_when_there_are_gpus() -> None:
    told = environment(2, order())
    assert told["TORCH_FR_DUMP_TEMP_FILE"] == "/runs/gpt-12_3/attempts/2/nodes/b/flight/rank-"
    without = order(placed=(Placed(node="a", address="10.0.0.1", cpus=(0, 1)),))
    assert "TORCH_FR_DUMP_TEMP_FILE" not in environment(0, without)
    own = order(env={"TORCH_FR_BUFFER_SIZE": "0"})
    assert environment(0, own)["TORCH_FR_BUFFER_SIZE"] == "0"
