"""One live scheduling decision: 10,000 runs wait, 2,000 run on 500 nodes of 8 GPUs.

A decision is what an engine does when a run has ended and another has come: bring the scheduler in
step with the records of all runs, walk the queue, and say of every run that waits why it does. The
first one, which takes everything in, is shown beside it.

Budget: 50 ms on one core, under each policy that an engine may use. The machine is full but for
some holes, so every queue has something to start; a decision that starts nothing decides nothing.
"""

import gc
import random
import statistics
import time

from headrace.core.events import Placed
from headrace.core.records import replace
from headrace.schedule.capacity import Capacity, Cpu, Gpu
from headrace.schedule.cluster import Account, Cluster, Weights
from headrace.schedule.decide import Decider, Decisions
from headrace.schedule.limits import Limiter
from headrace.schedule.machine import Machine
from headrace.schedule.policies import policy
from headrace.schedule.queue import Queued, Running
from headrace.schedule.request import Request

NODES, GPUS, CPUS = 500, 8, 64
QUEUED, RUNNING = 10_000, 2_000
BUDGET_MS = 50.0
ROUNDS = 15


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


class Engine:
    """The records of an engine, and what it decides by."""

    def __init__(self, name: str) -> None:
        nodes, rules = nodes_of_machine(), site()
        queue, running = state(nodes)
        self.queue = {job.id: job for job in queue}
        self.running = {run.job.id: run for run in running}
        limiter = Limiter(rules, charging=False)
        self.decider = Decider(Machine(nodes), rules=rules, policy=policy(name), gate=limiter)
        self.now_s = 20_000.0

    def decision(self) -> tuple[float, Decisions]:
        """Milliseconds of CPU, and what was decided; the records then follow the decision."""
        began_s = time.process_time()
        self.decider.keep_step(self.queue, self.running, self.now_s)
        decided = self.decider.decide(self.now_s)
        spent_ms = 1000 * (time.process_time() - began_s)
        assert len(decided.starts) + len(decided.reasons) == len(self.queue)
        for start in decided.starts:
            job = self.queue.pop(start.id)
            self.running[job.id] = Running(job=job, started_s=self.now_s, placed=start.placed)
        return spent_ms, decided

    def go_on(self, number: int) -> None:
        """A run ends and another like those that wait comes."""
        self.now_s += 1.0
        del self.running[next(iter(self.running))]
        like = next(iter(self.queue.values()))
        job = replace(like, id=f"new-{number}", submitted_s=self.now_s)
        self.queue[job.id] = job


def main() -> None:
    print(f"{QUEUED} queued, {RUNNING} running, {NODES} nodes; median of {ROUNDS}, CPU time")
    for name in ("fifo", "easy", "easy-fairshare"):
        engine = Engine(name)
        gc.freeze()
        first_ms, decided = engine.decision()
        assert decided.starts or name == "fifo", "a decision that starts nothing decides nothing"
        times_ms, started = [], 0
        for number in range(ROUNDS):
            engine.go_on(number)
            spent_ms, decided = engine.decision()
            times_ms.append(spent_ms)
            started += len(decided.starts)
        middle_ms = statistics.median(times_ms)
        print(
            f"{name:<14} {middle_ms:6.1f} ms, {middle_ms / BUDGET_MS:4.2f} of the budget of "
            f"{BUDGET_MS:.0f} ms; the first {first_ms:.0f} ms; {started} started in {ROUNDS}"
        )


if __name__ == "__main__":
    main()
