"""Reservations, dependencies and large families on a real Slurm cluster."""

import time
from collections.abc import Iterator
from datetime import datetime

import pytest
from tests.contract.places import CPUS, Place, place_of
from tests.integration.site import until
from tests.integration.virtual import Virtual

from headrace.core.errors import HeadraceError
from headrace.core.states import State
from headrace.schedule.reason import Dependency, OwnReservation, Reserved

pytestmark = pytest.mark.slow
SMALL = {"memory": "500M", "time": "5m"}


@pytest.fixture
def place(cluster: Virtual, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place_of("real", tmp_path_factory.mktemp("p"), cluster) as found:
        yield found


@pytest.fixture
def reserved(cluster: Virtual, place: Place) -> Iterator[float]:
    """All nodes are kept for a maintenance in half an hour, one for a course of root's now."""
    start_s = float(int(time.time()) + 1800)
    start = datetime.fromtimestamp(start_s).strftime("%Y-%m-%dT%H:%M:%S")
    make = ("scontrol", "create", "reservation")
    cluster.slurm(
        *(*make, "ReservationName=upkeep", f"StartTime={start}", "Duration=60"),
        *("Nodes=ALL", "Users=root", "Flags=MAINT,IGNORE_JOBS"),
    )
    yield start_s
    for row in place.door.runs(ended=False):
        place.door.cancel(row.id, now=True)
    until(lambda: place.door.runs(ended=False) == [], 60.0)
    cluster.slurm("scontrol", "delete", "ReservationName=upkeep")


def test_a_run_that_would_end_in_a_maintenance_is_told_how_short_it_must_be(
    place: Place, reserved: float
) -> None:
    (found,) = place.door.reservations()
    assert (found.name, found.start_s, found.maintenance) == ("upkeep", reserved, True)
    long = place.submit("true", nodes=2, cpus_per_rank=CPUS, memory="500M", time="4h").id
    until(lambda: place.door.explain(long).word == "ReqNodeNotAvail", 60.0)
    told = place.door.explain(long)
    (reason, *_) = told.reasons
    assert isinstance(reason, Reserved)
    assert (reason.reservation, reason.start_s, reason.count) == ("upkeep", reserved, 2)
    limits = [one.change.limit_s for one in told.sooner if one.change.nodes is None]
    assert limits
    assert limits[0] is not None
    quick = place.submit(
        "true", nodes=2, cpus_per_rank=CPUS, memory="500M", time=f"{int(limits[0])}s"
    ).id
    assert place.end(quick, timeout_s=60.0)[0].state is State.COMPLETED
    assert place.row(long).state is State.PENDING


def test_a_run_in_a_reservation_that_has_not_begun_waits_for_it(
    place: Place, reserved: float
) -> None:
    inside = place.submit("true", reservation="upkeep", **SMALL).id
    until(lambda: place.door.explain(inside).word == "Reservation", 60.0)
    (reason, *_) = place.door.explain(inside).reasons
    assert isinstance(reason, OwnReservation)
    assert (reason.reservation, reason.closed) == ("upkeep", "not begun")


def test_a_run_waits_for_all_elements_of_an_array(place: Place) -> None:
    array = place.submit("sleep", "2", array="0-2", **SMALL)
    after = place.submit("true", after={"ok": [array.id]}, **SMALL).id
    until(lambda: place.door.explain(after).word == "Dependency", 30.0)
    (reason,) = place.door.explain(after).reasons
    assert isinstance(reason, Dependency)
    assert {run.partition("_")[0] for run in reason.waits_for} == {array.id}
    (row,) = place.end(after, timeout_s=120.0)
    assert row.state is State.COMPLETED
    last_s = max(one.ended_s or 0.0 for one in place.door.find(array.id))
    assert row.started_s is not None
    assert row.started_s >= last_s - 1.0


def test_an_array_beyond_what_the_cluster_allows_is_refused_with_its_number(place: Place) -> None:
    with pytest.raises(HeadraceError) as error:
        place.submit("true", array="0,10001", **SMALL)
    assert error.value.code == "HR-SLURM-004"
    assert "10001" in error.value.why
    assert place.door.runs(ended=True) == []
    last = place.submit("true", array="10000", **SMALL)
    assert place.end(last.id, timeout_s=60.0)[0].state is State.COMPLETED
