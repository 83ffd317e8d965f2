"""What explain says on Slurm comes true; sites that tell less are explained with what they tell."""

import getpass
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.contract.places import CPUS, Place, environ_of, place_of
from tests.integration.site import until
from tests.integration.virtual import Virtual

from headrace.control.cluster import cluster_door
from headrace.core.states import State
from headrace.engines.slurm.errors import NotDone
from headrace.schedule.change import Change
from headrace.schedule.explain import Explanation
from headrace.schedule.reason import LimitHit, Resources
from headrace.testing.fake_slurm import RELEASES, FakeSlurm

HOUR_S = 3600.0


@pytest.fixture
def real(cluster: Virtual, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place_of("real", tmp_path_factory.mktemp("p"), cluster) as found:
        yield found


def explained(place: Place, run_id: str) -> Explanation:
    """When backfill has reckoned its start."""
    until(lambda: place.door.explain(run_id, sooner=False).forecast.start_s is not None, 60.0)
    return place.door.explain(run_id)


@pytest.mark.slow
def test_a_start_is_promised_not_before_the_holder_ends_and_a_change_starts_at_once(
    real: Place,
) -> None:
    """One node is held for an hour, a run for both waits: what fits before it starts now."""
    hold = real.submit("sleep", "3600", time="1h", cpus_per_rank=CPUS, memory="500M").id
    real.until(hold, State.RUNNING)
    both = real.submit("true", nodes=2, cpus_per_rank=CPUS, memory="500M", time="20m").id
    found = explained(real, both)
    assert found.forecast.bound
    assert found.forecast.start_s == pytest.approx(time.time() + HOUR_S, abs=180.0)
    assert isinstance(found.reasons[0], Resources)
    assert found.factors is not None
    assert found.factors.total > 0
    assert [one.change for one in found.sooner] == [Change(nodes=1)]
    behind = real.submit("true", cpus_per_rank=CPUS, memory="500M", time="2h").id
    later = explained(real, behind)
    (short,) = [one for one in later.sooner if one.change == Change(limit_s=2700.0)]
    assert short.start_s <= time.time() + 5.0
    quick = real.submit("true", cpus_per_rank=CPUS, memory="500M", time="45m").id
    assert real.end(quick, timeout_s=60.0)[0].state is State.COMPLETED
    assert real.row(behind).state is State.PENDING


@pytest.mark.slow
def test_a_limit_of_an_account_is_told_with_its_owner_and_its_numbers(
    cluster: Virtual, real: Place
) -> None:
    def limit(value: int) -> None:
        cluster.slurm("sacctmgr", "-i", "modify", "qos", "low", "set", f"MaxJobsPU={value}")

    limit(1)
    try:
        first = real.submit("sleep", "600", memory="500M", qos="low").id
        real.until(first, State.RUNNING)
        second = real.submit("true", memory="500M", qos="low").id
        until(lambda: real.door.explain(second).word == "QOSMaxJobsPerUserLimit", 60.0)
        found = real.door.explain(second)
        (hit, *_) = found.reasons
        assert isinstance(hit, LimitHit)
        assert (hit.limit, hit.allowed, hit.used) == ("MaxJobsPerUser", 1, 1)
        assert hit.owner.endswith("in QOS low")
        assert found.sooner == ()
    finally:
        limit(-1)


@pytest.mark.slow
def test_explaining_asks_slurm_no_more_than_ten_times_and_not_again_at_once(
    cluster: Virtual, real: Place
) -> None:
    hold = real.submit("sleep", "600", nodes=2, cpus_per_rank=CPUS, memory="500M").id
    real.until(hold, State.RUNNING)
    waits = real.submit("true", nodes=2, cpus_per_rank=CPUS, memory="500M").id
    explained(real, waits)
    cluster.slurm("sdiag", "--reset")
    for _ in range(5):
        real.door.explain(waits)
    text = cluster.slurm("sdiag")
    assert "REQUEST_JOB_WILL_RUN" not in text


def test_a_site_without_accounting_and_priorities_says_what_is_missing(tmp_path: Path) -> None:
    slurm = FakeSlurm(tmp_path / "slurm", accounting=False, priority_type="priority/basic")
    environ = slurm.environ(environ_of(tmp_path))
    place = Place(tmp_path, cluster_door(environ, poll_s=0.1), environ, cpus=CPUS)
    hold = place.submit("sleep", "600", nodes=2, cpus_per_rank=CPUS, time="1h").id
    place.until(hold, State.RUNNING)
    waits = place.submit("true", nodes=2, cpus_per_rank=CPUS).id
    found = place.door.explain(waits)
    assert isinstance(found.reasons[0], Resources)
    assert (found.factors, found.shares, found.limits) == (None, (), ())
    assert any("no accounting" in note for note in found.notes)
    assert any("priority/basic" in note for note in found.notes)
    tests = [words for words in slurm.calls() if "--test-only" in words]
    assert 0 < len(tests) <= 5
    place.door.explain(waits)
    assert len([words for words in slurm.calls() if "--test-only" in words]) == len(tests)
    for run_id in (waits, hold):
        place.door.cancel(run_id, now=True)


@pytest.mark.parametrize("release", [RELEASES[0], RELEASES[-1]])
def test_accounts_are_shown_with_shares_and_usage(tmp_path: Path, release: str) -> None:
    slurm = FakeSlurm(tmp_path / "slurm", release=release)
    door = cluster_door(slurm.environ(environ_of(tmp_path)))
    account, own = door.accounts()
    assert (account.account, account.depth, account.shares, account.promised) == ("lab", 0, 3, 0.6)
    assert (own.user, own.depth, own.shares) == (getpass.getuser(), 1, None)
    assert own.cpu_hours == 1.5


def test_a_site_without_accounting_has_no_accounts_to_show(tmp_path: Path) -> None:
    slurm = FakeSlurm(tmp_path / "slurm", accounting=False)
    with pytest.raises(NotDone, match="this Slurm has no accounting"):
        cluster_door(slurm.environ(environ_of(tmp_path))).accounts()


@pytest.mark.slow
def test_accounts_of_a_real_site_are_a_tree_and_what_has_run_is_used(
    cluster: Virtual, real: Place
) -> None:
    cluster.slurm("sacctmgr", "-i", "add", "user", "root", "account=lab1", "fairshare=parent")
    real.end(real.submit("sleep", "2", memory="300M", account="lab1").id)

    def used() -> bool:
        lab1, own, lab2 = real.door.accounts()
        assert [(one.account, one.user) for one in (lab1, own, lab2)] == [
            ("lab1", None),
            ("lab1", "root"),
            ("lab2", None),
        ]
        assert (lab1.promised, own.promised, lab2.promised) == (0.6, None, 0.2)
        return own.used == lab1.used > 0.0

    until(used, 60.0)
