"""``headrace.schedule.calendar``: when which nodes are kept from whom."""

import pytest

from headrace.core.records import replace
from headrace.schedule.calendar import Calendar
from headrace.schedule.cluster import Reservation
from headrace.schedule.queue import Queued
from headrace.schedule.request import Request

DAY = Reservation(name="class", start_s=100, end_s=200, nodes=(), users=("ada",), accounts=("ml",))
JOB = Queued(id="j", request=Request(), submitted_s=0.0, user="bob")
ALL = 0b1111
KEPT = 0b0011


def usable(job: Queued, start_s: float, end_s: float, one: Reservation = DAY) -> int:
    return Calendar([(one, KEPT)]).usable(job, ALL, start_s, end_s)


@pytest.mark.parametrize(
    ("start_s", "end_s", "expected"),
    [
        (0, 100, ALL),
        (0, 101, 0b1100),
        (120, 130, 0b1100),
        (199, 300, 0b1100),
        (200, 300, ALL),
        (0, float("inf"), 0b1100),
    ],
)
def test_others_may_not_overlap_a_reservation(start_s: float, end_s: float, expected: int) -> None:
    assert usable(JOB, start_s, end_s) == expected


@pytest.mark.parametrize("who", [{"user": "ada"}, {"user": "cy", "account": "ml"}])
def test_who_is_in_it_gets_its_nodes_only_and_may_outlast_it(who: dict[str, str]) -> None:
    job = replace(JOB, reservation="class", **who)
    assert usable(job, 100, 400) == KEPT
    assert usable(job, 99, 110) == 0
    assert usable(job, 200, 210) == 0


def test_who_is_not_let_in_gets_nothing() -> None:
    job = replace(JOB, reservation="class")
    assert usable(job, 120, 130) == 0
    insider = replace(job, user="ada")
    assert usable(insider, 120, 130, replace(DAY, maintenance=True)) == 0
    assert usable(replace(insider, reservation="gone"), 120, 130) == 0


def test_the_next_one_on_its_nodes_ends_it() -> None:
    later = Reservation(name="later", start_s=150, end_s=160, nodes=(), users=("bob",))
    calendar = Calendar([(DAY, KEPT), (later, 0b0001)])
    job = replace(JOB, user="ada", reservation="class")
    assert calendar.usable(job, ALL, 120, 150) == KEPT
    assert calendar.usable(job, ALL, 120, 151) == 0b0010


def test_it_is_open_to_those_let_in_while_it_is_under_way() -> None:
    calendar = Calendar([(DAY, KEPT)])
    insider = replace(JOB, user="ada", reservation="class")
    for now_s, is_open in ((99, False), (100, True), (200, False)):
        calendar.turn(now_s)
        assert calendar.is_open(insider) is is_open
        assert not calendar.is_open(replace(JOB, reservation="class"))


def test_its_edges_are_the_times_to_look_again() -> None:
    calendar = Calendar([(DAY, KEPT)])
    assert [calendar.next_edge_s(at_s) for at_s in (0, 100, 200)] == [100, 200, float("inf")]


def test_nodes_that_are_down_are_nobodys() -> None:
    calendar = Calendar()
    calendar.down = 0b0100
    assert calendar.usable(JOB, ALL, 0, 10) == 0b1011
