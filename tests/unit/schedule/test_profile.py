"""``headrace.schedule.profile``: what will be free, and the first time a run fits."""

from math import inf

from headrace.schedule.cluster import Cluster, NodeSpec, Reservation
from headrace.schedule.policies import policy
from headrace.schedule.pool import Grant, Grants, nodes_of, numbers
from headrace.schedule.profile import Booking, Profile
from headrace.schedule.queue import Queued
from headrace.schedule.request import Request
from headrace.schedule.scheduler import Scheduler
from headrace.schedule.state import Waiting

NODES = tuple(NodeSpec(name=f"n{i}", cpus=1) for i in range(3))


def scheduler(*reservations: Reservation) -> Scheduler:
    return Scheduler(Cluster(nodes=NODES, reservations=reservations), policy("conservative"))


def hold(*nodes: int) -> Grants:
    return (Grant(sum(1 << node for node in nodes), 1, (1, 0)),)


def profile_of(one: Scheduler, *held: tuple[float, Grants]) -> Profile:
    for _, grants in held:
        one.pool.take(grants)
    return Profile(one.pool, 0.0, held)


def waiting(one: Scheduler, nodes: int, limit_s: float | None) -> Waiting:
    request = Request(nodes_min=nodes, nodes_max=nodes)
    job = Queued(id="j", request=request, submitted_s=0.0, limit_s=limit_s)
    return Waiting(job, one.demand(job), 0.0)


def test_a_run_fits_when_enough_that_runs_has_ended() -> None:
    one = scheduler()
    profile = profile_of(one, (10.0, hold(0)), (20.0, hold(1)))
    booking = profile.first_fit(waiting(one, 2, 5.0), one)
    assert booking is not None
    assert (booking.start_s, booking.end_s, numbers(nodes_of(booking.grants))) == (10, 15, [0, 2])


def test_a_run_fits_only_where_it_can_stay_for_its_limit() -> None:
    one = scheduler()
    profile = profile_of(one, (10.0, hold(0, 1)))
    profile.book(Booking(10.0, 30.0, hold(0, 1, 2)))
    short, long = (profile.first_fit(waiting(one, 1, limit), one) for limit in (10.0, 11.0))
    assert short is not None
    assert long is not None
    assert (short.start_s, long.start_s) == (0.0, 30.0)


def test_the_same_nodes_must_be_free_throughout() -> None:
    """One node is free at any time, but none of them long enough."""
    one = scheduler()
    profile = profile_of(one, (10.0, hold(0)))
    profile.book(Booking(0.0, 10.0, hold(2)))
    profile.book(Booking(10.0, 30.0, hold(1)))
    profile.book(Booking(10.0, 30.0, hold(2)))
    booking = profile.first_fit(waiting(one, 1, 20.0), one)
    assert booking is not None
    assert (booking.start_s, numbers(nodes_of(booking.grants))) == (10.0, [0])


def test_what_is_cancelled_is_free_again() -> None:
    one = scheduler()
    profile = profile_of(one)
    booking = Booking(5.0, 15.0, hold(0, 1, 2))
    profile.book(booking)
    profile.cancel(booking)
    assert all(pool.levels == one.pool.levels for pool in profile.pools)


def test_the_past_is_forgotten_and_a_booking_under_way_can_be_cancelled() -> None:
    one = scheduler()
    profile = profile_of(one)
    booking = Booking(5.0, 15.0, hold(0))
    profile.book(booking)
    profile.advance(10.0)
    assert profile.times_s == [10.0, 15.0]
    profile.cancel(booking)
    assert all(pool.levels == one.pool.levels for pool in profile.pools)


def test_a_run_without_a_limit_never_ends() -> None:
    one = scheduler()
    profile = profile_of(one, (inf, hold(0)))
    assert profile.first_fit(waiting(one, 3, 5.0), one) is None
    booking = profile.first_fit(waiting(one, 2, None), one)
    assert booking is not None
    profile.book(booking)
    assert profile.first_fit(waiting(one, 1, 5.0), one) is None


def test_a_run_is_put_before_a_reservation_for_others_or_after_it() -> None:
    kept = Reservation(name="r", start_s=10.0, end_s=20.0, nodes=("n0", "n1", "n2"), users=("ada",))
    one = scheduler(kept)
    profile = profile_of(one)
    profile.split_at(one.calendar.edges_s())
    short, long = (profile.first_fit(waiting(one, 1, limit), one) for limit in (10.0, 11.0))
    assert short is not None
    assert long is not None
    assert (short.start_s, long.start_s) == (0.0, 20.0)


def test_a_run_that_fits_too_late_is_not_booked() -> None:
    one = scheduler()
    profile = profile_of(one, (100.0, hold(0, 1, 2)))
    assert profile.first_fit(waiting(one, 1, 5.0), one, latest_s=99.0) is None
    assert profile.first_fit(waiting(one, 1, 5.0), one, latest_s=100.0) is not None


def test_steps_that_say_nothing_are_merged_and_split_again() -> None:
    """One run follows another on the same nodes; what is cancelled between them merges the two."""
    one = scheduler()
    profile = profile_of(one)
    first, second = Booking(0.0, 10.0, hold(0, 1, 2)), Booking(10.0, 20.0, hold(0, 1, 2))
    profile.book(first)
    profile.book(second)
    profile.cancel(Booking(10.0, 20.0, hold(0)))
    profile.book(Booking(10.0, 20.0, hold(0)))
    profile.cancel(first)
    booking = profile.first_fit(waiting(one, 1, 15.0), one)
    assert booking is not None
    assert booking.start_s == 20.0
    assert len(profile.times_s) <= 3
