"""A decider kept in step with records over many decisions."""

from headrace.core.events import Placed
from headrace.schedule.capacity import Capacity, Cpu, Gpu
from headrace.schedule.cluster import Cluster, Reservation
from headrace.schedule.decide import Decider, natural
from headrace.schedule.machine import Machine
from headrace.schedule.policies import policy
from headrace.schedule.queue import Queued, Running
from headrace.schedule.reason import OnHold, Resources
from headrace.schedule.request import Request

HOST = Capacity(
    name="box",
    address="127.0.0.1",
    cpus=tuple(Cpu(id=cpu) for cpu in range(4)),
    memory_bytes=1 << 30,
    divisible=True,
)


def decider(*nodes: Capacity) -> Decider:
    return Decider(Machine(nodes or (HOST,)), rules=Cluster(nodes=()), policy=policy("easy"))


def job(run_id: str, cpus: int = 1, **fields: object) -> Queued:
    request = Request(cpus_per_rank=cpus)
    return Queued(id=run_id, request=request, submitted_s=0.0, **fields)  # type: ignore[arg-type]


def test_what_starts_gets_cpus_that_nobody_has() -> None:
    a, b = job("a", 2), job("b", 2)
    made = decider()
    made.keep_step({"a": a, "b": b}, {}, 0.0)
    first, second = made.decide(0.0).starts
    assert {*first.placed[0].cpus, *second.placed[0].cpus} == {0, 1, 2, 3}


def test_a_run_that_waits_again_is_started_again() -> None:
    a = job("a")
    made = decider()
    for now_s in (0.0, 1.0, 2.0):
        made.keep_step({"a": a}, {}, now_s)
        assert [start.id for start in made.decide(now_s).starts] == ["a"]


def test_a_place_is_free_again_when_its_run_is_in_no_record() -> None:
    a, b = job("a", 4), job("b", 4)
    made = decider()
    made.keep_step({"a": a, "b": b}, {}, 0.0)
    (start,) = made.decide(0.0).starts
    running = {"a": Running(job=a, started_s=0.0, placed=start.placed)}
    made.keep_step({"b": b}, running, 1.0)
    assert isinstance(made.decide(1.0).reasons["b"], Resources)
    made.keep_step({"b": b}, {}, 2.0)
    assert [start.id for start in made.decide(2.0).starts] == ["b"]


def test_a_record_that_changed_counts_as_it_is_now() -> None:
    made = decider()
    made.keep_step({"a": job("a", held=True)}, {}, 0.0)
    assert isinstance(made.decide(0.0).reasons["a"], OnHold)
    made.keep_step({"a": job("a")}, {}, 1.0)
    assert [start.id for start in made.decide(1.0).starts] == ["a"]


def test_a_run_that_was_cancelled_while_it_waited_is_forgotten() -> None:
    made = decider()
    made.keep_step({"a": job("a", 4), "b": job("b", 4)}, {}, 0.0)
    made.decide(0.0)
    made.keep_step({}, {}, 1.0)
    decided = made.decide(1.0)
    assert not decided.starts
    assert not decided.reasons


def test_an_adopted_run_keeps_its_place_whoever_placed_it() -> None:
    placed = Placed(node="box-0", address="127.0.0.1", cpus=(1, 2, 3))
    running = {"old": Running(job=job("old", 3), started_s=0.0, placed=(placed,))}
    made = decider()
    made.keep_step({"new": job("new")}, running, 5.0)
    (start,) = made.decide(5.0).starts
    assert start.placed[0].cpus == (0,)


def test_reservations_made_later_keep_their_nodes() -> None:
    made = decider()
    kept = Reservation(name="r", start_s=0.0, end_s=100.0, nodes=("box",), users=("ada",))
    made.reserve([kept])
    made.keep_step({"a": job("a", limit_s=10.0)}, {}, 1.0)
    assert not made.decide(1.0).starts
    assert made.decide(1.0).wake_s == 100.0
    made.reserve([])
    made.keep_step({"a": job("a", limit_s=10.0)}, {}, 2.0)
    assert [start.id for start in made.decide(2.0).starts] == ["a"]


def test_gpus_are_pinned_by_type_as_they_were_granted() -> None:
    gpus = (Gpu(id=0, kind="A100"), Gpu(id=1, kind="H100"), Gpu(id=2, kind="A100"))
    node = Capacity(
        name="n", address="h", cpus=HOST.cpus, gpus=gpus, memory_bytes=1, divisible=True
    )
    typed = Queued(id="t", request=Request(gpus_per_node=1, gpu_type="a100"), submitted_s=1.0)
    plain = Queued(id="p", request=Request(gpus_per_node=1), submitted_s=0.0)
    made = decider(node)
    made.keep_step({"t": typed, "p": plain}, {}, 2.0)
    found = {start.id: start.placed[0].gpus for start in made.decide(2.0).starts}
    assert found["p"] == (1,), "the scarcest type, so that typed requests keep the rest"
    assert found["t"] in ((0,), (2,))


def test_ids_are_ordered_as_people_count() -> None:
    assert sorted(["gpt-10", "gpt-9", "gpt-9_2"], key=natural) == ["gpt-9", "gpt-9_2", "gpt-10"]
