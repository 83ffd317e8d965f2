"""The machine's daemon under fire: killed at random moments while many users' runs come and go.

Needs root. ``make chaos`` kills 200 times, ``make slow`` 20 times.
"""

import json
import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
from tests.integration.machine import Machine, User, machine_of

from headrace.core.events import Ended
from headrace.engines.local.journal import Journal, entries_of
from headrace.engines.local.spells import Spell, spells

SHARES = (1, 1, 2)
SITE = """
[local]
cpus = 2
[weights]
fairshare = 100000
half_life = "1d"
calc_period = "1s"
"""
PROGRAM = ("sh", "-c", 'echo "$HEADRACE_RUN_ID" >> ~/ran; sleep 0.2')


class Killer(threading.Thread):
    """Kills the daemon and starts it again, ``times`` times, at moments of chance."""

    def __init__(self, machine: Machine, times: int, seed: int) -> None:
        super().__init__()
        self._machine, self._times = machine, times
        self._chance = random.Random(seed)
        self.killed = 0

    def run(self) -> None:
        for _ in range(self._times):
            time.sleep(self._chance.uniform(0.0, 2.5))
            self._machine.kill()
            self._machine.start()
            self.killed += 1


@pytest.mark.parametrize(
    ("runs", "kills", "within"),
    [
        pytest.param(300, 20, 0.1, marks=pytest.mark.slow),
        pytest.param(300, 200, 0.1, marks=[pytest.mark.chaos, pytest.mark.timeout(3600)]),
    ],
)
def test_no_run_is_lost_or_run_twice_and_shares_are_kept_however_the_daemon_dies(
    runs: int, kills: int, within: float
) -> None:
    with machine_of("ada", "bob", "cleo") as machine:
        accounts = zip(machine.users, SHARES, strict=True)
        machine.configure(
            SITE
            + "".join(
                f'[accounts.lab{user.uid}]\nshares = {share}\nusers = ["{user.name}"]\n'
                for user, share in accounts
            )
        )
        machine.start()
        killer = Killer(machine, kills, seed=20_261_125)
        killer.start()
        with ThreadPoolExecutor(len(SHARES)) as pool:
            counts = [runs * share // sum(SHARES) for share in SHARES]
            submitted = list(pool.map(submit_many, [machine] * 3, machine.users, counts))
        killer.join()
        for user, ids in zip(machine.users, submitted, strict=True):
            deadline_s = time.monotonic() + 1200
            while waiting(machine, user):
                assert time.monotonic() < deadline_s, machine.log()[-5000:]
                time.sleep(1.0)
            rows = json.loads(machine.as_user(user, "ps", "--all", "--json").stdout)["runs"]
            mine = [row for row in rows if row["user"] == user.name]
            assert Counter(row["state"] for row in mine) == {"COMPLETED": len(ids)}
            assert Counter((user.home / "ran").read_text().split()) == Counter(ids)
        machine.stop()
        assert killer.killed == kills
        assert not twice_at_once(machine)
        for share, wanted in zip(shares(machine, machine.users), SHARES, strict=True):
            assert share == pytest.approx(wanted / sum(SHARES), rel=within)


def submit_many(machine: Machine, user: User, count: int) -> list[str]:
    """Most of them as an array, some alone, all while the daemon dies and comes back."""
    alone = 5
    array = machine.submit(
        user, "--array", f"0-{count - alone - 1}", "--name", "many", "--", *PROGRAM
    )
    ids = [f"{array}_{index}" for index in range(count - alone)]
    return ids + [machine.submit(user, "--name", "one", "--", *PROGRAM) for _ in range(alone)]


def waiting(machine: Machine, user: User) -> bool:
    rows = json.loads(machine.as_user(user, "ps", "--json").stdout)["runs"]
    return any(row["user"] == user.name for row in rows)


def held(machine: Machine) -> list[tuple[str, Spell]]:
    """(user, place held) of all runs, by the journal."""
    found: list[tuple[str, Spell]] = []
    for asked, entries in entries_of(Journal(machine.state)):
        assert isinstance(entries[-1].event, Ended)
        found.extend((asked.user, spell) for spell in spells(entries))
    return found


def twice_at_once(machine: Machine) -> list[tuple[Spell, Spell]]:
    """Spells that overlap on a CPU."""
    by_cpu: dict[int, list[Spell]] = {}
    for _, spell in held(machine):
        for cpu in spell.placed[0].cpus:
            by_cpu.setdefault(cpu, []).append(spell)
    return [
        (one, other)
        for found in by_cpu.values()
        for one, other in pairwise(sorted(found, key=lambda spell: spell.start_s))
        if one.end_s is None or other.start_s < one.end_s
    ]


def shares(machine: Machine, users: list[User]) -> list[float]:
    """Parts of the held time until the first of ``users`` has no run that waits any more.

    From the very start: fair share makes up for what one had before the others came.
    """
    spans = held(machine)
    end_s = min(max(s.start_s for name, s in spans if name == user.name) for user in users)
    used_s = dict.fromkeys((user.name for user in users), 0.0)
    for name, spell in spans:
        assert spell.end_s is not None
        used_s[name] += max(0.0, min(spell.end_s, end_s) - spell.start_s)
    print(f"{len(spans)} places held, shares {used_s}")
    return [used_s[user.name] / sum(used_s.values()) for user in users]
