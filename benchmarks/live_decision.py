"""One live scheduling decision: 10,000 runs wait, 2,000 run on 500 nodes of 8 GPUs.

Budget: 50 ms on one core, under each policy that an engine may use. The machine is full but for
some holes, so every queue has something to start; a decision that starts nothing decides nothing.
"""

import random
import statistics
import time
from collections.abc import Callable

from headrace.core.events import Placed
from headrace.schedule.capacity import Capacity, Cpu, Gpu
from headrace.schedule.cluster import Account, Cluster, Weights
from headrace.schedule.decide import Decisions, decide
from headrace.schedule.limits import Limiter
from headrace.schedule.machine import Machine
from headrace.schedule.policies import policy
from headrace.schedule.queue import Queued, Running
from headrace.schedule.request import Request

NODES, GPUS, CPUS = 500, 8, 64
QUEUED, RUNNING = 10_000, 2_000
BUDGET_MS = 50.0
ROUNDS = 7


def nodes_of_machine() -> tuple[Capacity, ...]:
    return tuple(
        Capacity(
            name=f"n{number}",
            address=f"10.0.{number // 250}.{number % 250}",
            cpus=tuple(Cpu(id=cpu, numa=cpu // 32) for cpu in range(CPUS)),
            gpus=tuple(Gpu(id=gpu, kind="NVIDIA H100", numa=gpu // 4) for gpu in range(GPUS)),
            memory_bytes=1 << 40,
        )
        for number in range(NODES)
    )


def site() -> Cluster:
    accounts = [Account(name=f"lab{i}", shares=1 + i % 3) for i in range(20)]
    users = [Account(name=f"lab{i % 20}", user=f"u{i}") for i in range(200)]
    weights = Weights(age=1000, fairshare=10_000, job_size=100, calc_period_s=300.0)
    return Cluster(nodes=(), accounts=(*accounts, *users), weights=weights)


def state(nodes: tuple[Capacity, ...]) -> tuple[list[Queued], list[Running]]:
    """All but one GPU in twenty is held, two at a time."""
    rng = random.Random(7)
    pairs = [(node, gpu) for node in nodes for gpu in range(0, GPUS, 2)]
    requests = [
        Request(nodes_min=n, nodes_max=n, ranks_per_node=g, cpus_per_rank=4, gpus_per_node=g)
        for n, g in ((1, 1), (1, 2), (1, 4), (1, 8), (2, 8), (4, 8), (16, 8))
    ]

    def job(kind: str, number: int, request: Request) -> Queued:
        user = rng.randrange(200)
        return Queued(
            id=f"{kind}-{number}",
            request=request,
            submitted_s=float(number),
            limit_s=3600.0 * rng.choice((1, 4, 12, 24)),
            user=f"u{user}",
            account=f"lab{user % 20}",
        )

    running = [
        Running(
            job=job("r", number, requests[1]),
            started_s=float(number),
            placed=(
                Placed(
                    node=node.name,
                    address=node.address,
                    cpus=tuple(range(gpu * 8, gpu * 8 + 8)),
                    gpus=(gpu, gpu + 1),
                ),
            ),
        )
        for number, (node, gpu) in enumerate(rng.sample(pairs, int(RUNNING * 0.95)))
    ]
    weights = (30, 20, 15, 20, 8, 5, 2)
    queue = [job("q", n, rng.choices(requests, weights)[0]) for n in range(QUEUED)]
    return queue, running


def median_ms(decision: Callable[[], Decisions]) -> tuple[float, Decisions]:
    times = []
    for _ in range(ROUNDS):
        began_s = time.process_time()
        decided = decision()
        times.append(1000 * (time.process_time() - began_s))
    return statistics.median(times), decided


def main() -> None:
    nodes, rules = nodes_of_machine(), site()
    queue, running = state(nodes)
    machine = Machine(nodes)
    limiter = Limiter(rules, charging=False)

    def decision(name: str) -> Decisions:
        limiter.reset()
        return decide(
            queue, running, machine, 20_000.0, rules=rules, policy=policy(name), gate=limiter
        )

    print(f"{QUEUED} queued, {len(running)} running, {NODES} nodes; median of {ROUNDS}, CPU time")
    for name in ("fifo", "easy", "easy-fairshare"):
        spent_ms, decided = median_ms(lambda name=name: decision(name))  # type: ignore[misc]
        assert decided.starts or name == "fifo", "a decision that starts nothing decides nothing"
        assert len(decided.starts) + len(decided.reasons) == QUEUED
        print(
            f"{name:<14} {spent_ms:6.1f} ms  {spent_ms / BUDGET_MS:5.2f} of the budget of "
            f"{BUDGET_MS:.0f} ms  {len(decided.starts)} start"
        )


if __name__ == "__main__":
    main()
