"""Reservations as scontrol shows them, and which one a run would run into."""

from headrace.core.records import replace
from headrace.engines.slurm.reservations import in_the_way, parse_reservations

TEXT = (
    "ReservationName=upkeep StartTime=2026-11-25T14:40:45 EndTime=2026-11-25T15:40:45 "
    "Duration=01:00:00 Nodes=n[1-2] NodeCnt=2 CoreCnt=4 Features=(null) PartitionName=(null) "
    "Flags=MAINT,IGNORE_JOBS,SPEC_NODES,ALL_NODES TRES=cpu=4 Users=root,ada Groups=(null) "
    "Accounts=(null) Licenses=(null) State=INACTIVE BurstBuffer=(null) Watts=n/a\n"
)


def test_a_maintenance_is_read_with_its_nodes_and_users() -> None:
    (found,) = parse_reservations(TEXT)
    assert (found.name, found.nodes, found.users) == ("upkeep", ("n1", "n2"), ("root", "ada"))
    assert (found.maintenance, found.end_s - found.start_s) == (True, 3600.0)
    assert parse_reservations("No reservations in the system\n") == []


def test_only_one_that_begins_before_the_run_would_end_on_its_nodes_is_in_the_way() -> None:
    (upkeep,) = parse_reservations(TEXT)
    now_s = upkeep.start_s - 1800.0
    later = replace(upkeep, name="later", start_s=upkeep.start_s + 60.0)
    found = in_the_way([later, upkeep], {"n2", "n3"}, 7200.0, now_s)
    assert found is not None
    assert (found.reservation, found.nodes, found.count) == ("upkeep", ("n2",), 1)
    assert in_the_way([upkeep], {"n2"}, 1800.0, now_s) is None
    assert in_the_way([upkeep], {"n3"}, 7200.0, now_s) is None
    assert in_the_way([upkeep], {"n2"}, None, now_s) is not None
    assert in_the_way([upkeep], {"n2"}, None, upkeep.end_s) is None
