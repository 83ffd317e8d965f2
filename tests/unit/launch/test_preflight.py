"""The rounds of checks: nobody goes on before all have answered, and a new agent begins anew."""

from pathlib import Path

from headrace.core.events import Placed
from headrace.core.order import Order, RestartPolicy, SessionSettings
from headrace.core.records import replace
from headrace.launch.facts import NodeFacts
from headrace.launch.preflight import Preflight

NODES = ("n1", "n2")
GOOD = NodeFacts(
    address="10.0.0.1", port=4000, memlock_bytes=None, shm_bytes=1 << 36, shm_free_bytes=1 << 36
)
FULL = replace(GOOD, shm_free_bytes=0)


def order(folder: Path, *, agents_by: tuple[str, ...] = ("srun",), **env: str) -> Order:
    return Order(
        run_id="job-1",
        name="job",
        attempt=0,
        placed=tuple(Placed(node=node, address="10.0.0.1", cpus=()) for node in NODES),
        ranks_per_node=1,
        cpus_per_rank=1,
        framework="torch",
        command=("true",),
        workdir=str(folder),
        env=env,
        environment_file="",
        session=SessionSettings(),
        setup=None,
        time_limit_s=None,
        time_used_s=0.0,
        stop_grace_s=1.0,
        kill_wait_s=1.0,
        hang_s=None,
        restart=RestartPolicy(),
        restarts_used=0,
        agents_by=agents_by,
    )


def test_on_one_host_nodes_pass_when_all_have_looked(tmp_path: Path) -> None:
    checks = Preflight(order(tmp_path, agents_by=()))
    checks.looked("n1", GOOD)
    assert checks.findings(NODES) is None
    checks.looked("n2", GOOD)
    assert checks.whom_to_reach(NODES) == {}
    assert (checks.findings(NODES), checks.passed) == ([], True)


def test_on_several_hosts_they_have_to_reach_each_other_first(tmp_path: Path) -> None:
    checks = Preflight(order(tmp_path))
    for node in NODES:
        checks.looked(node, GOOD)
    asked = checks.whom_to_reach(NODES)
    assert {node: [one.node for one in others] for node, others in asked.items()} == {
        "n1": ["n2"],
        "n2": ["n1"],
    }
    assert checks.whom_to_reach(NODES) == {}
    checks.reached("n1", {})
    assert checks.findings(NODES) is None
    checks.reached("n2", {})
    assert (checks.findings(NODES), checks.passed) == ([], True)


def test_a_new_agent_begins_a_new_round(tmp_path: Path) -> None:
    checks = Preflight(order(tmp_path))
    for _ in range(2):
        for node in NODES:
            checks.looked(node, GOOD)
        assert set(checks.whom_to_reach(NODES)) == set(NODES)
        for node in NODES:
            checks.reached(node, {})
        assert checks.findings(NODES) == []
        checks.lost("n2")
        assert not checks.passed
        assert checks.findings(NODES) is None


def test_the_nodes_that_are_left_pass_without_the_lost_one(tmp_path: Path) -> None:
    checks = Preflight(order(tmp_path))
    for node in NODES:
        checks.looked(node, GOOD)
    checks.lost("n2")
    assert checks.whom_to_reach(["n1"]) == {"n1": ()}
    checks.reached("n1", {})
    assert checks.findings(["n1"]) == []


def test_what_has_been_said_is_not_said_again(tmp_path: Path) -> None:
    checks = Preflight(order(tmp_path, agents_by=()))
    said = []
    for _ in range(2):
        for node in NODES:
            checks.looked(node, FULL)
        said.append(len(checks.findings(NODES) or ()))
    assert said == [1, 0]


def test_a_job_may_ask_to_be_warned_only(tmp_path: Path) -> None:
    checks = Preflight(order(tmp_path, HEADRACE_CHECKS="warn"))
    for node in NODES:
        checks.looked(node, FULL)
    for node in NODES:
        checks.reached(node, {})
    assert [one.level for one in checks.findings(NODES) or ()] == ["warning"]
