"""The promises of fair share, for trees, shares and usage that Hypothesis draws."""

from fractions import Fraction
from math import inf

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.schedule.cluster import Account
from headrace.schedule.fairtree import Equals, FairTree, Seat, fair_tree
from headrace.schedule.ledger import Ledger
from headrace.schedule.multifactor import own_order
from headrace.schedule.queue import Queued
from headrace.schedule.request import Request

Level = Fraction | float
shares = st.sampled_from((0, 1, 1, 2, 3, None))


@st.composite
def sites(draw: st.DrawFn) -> tuple[list[Account], dict[Seat, float]]:
    """Small whole numbers: many ties."""
    accounts: list[Account] = []
    usage: dict[Seat, float] = {}
    for number in range(draw(st.integers(1, 6))):
        parent = draw(st.sampled_from([None, *(one.name for one in accounts if not one.user)]))
        accounts.append(Account(name=f"a{number}", parent=parent, shares=draw(shares)))
    for account in list(accounts):
        for number in range(draw(st.integers(0, 3))):
            user = Account(name=account.name, user=f"u{number}", shares=draw(shares))
            accounts.append(user)
            usage[user.name, f"u{number}"] = float(draw(st.integers(0, 4)))
    return accounts, usage


class Exact:
    """Fair Tree as Slurm's page words it, on fractions, group by group of equal siblings."""

    def __init__(self, accounts: list[Account], usage: dict[Seat, float]) -> None:
        self.accounts, self.usage = accounts, usage
        self.users = [one for one in accounts if one.user]
        self.rank = len(self.users)
        self.ranks: dict[Seat, int] = {}

    def children(self, name: str | None) -> list[Account]:
        found = [one for one in self.users if one.name == name]
        for one in self.accounts:
            if one.user is None and one.parent == name:
                found += self.children(one.name) if one.shares is None else [one]
        return found

    def used(self, one: Account) -> Fraction:
        if one.user:
            return Fraction(self.usage.get((one.name, one.user), 0.0))
        return sum(map(self.used, self.children(one.name)), Fraction(0))

    def count(self, one: Account) -> int:
        return 1 if one.user else sum(map(self.count, self.children(one.name)))

    def levels(self, siblings: list[Account]) -> dict[int, Level]:
        shares = sum(one.shares or 0 for one in siblings)
        used = sum(map(self.used, siblings), Fraction(0))
        levels: dict[int, Level] = {}
        for one in siblings:
            mine = self.used(one)
            if one.shares is None:
                levels[id(one)] = inf
            elif one.shares == 0:
                levels[id(one)] = Fraction(0)
            else:
                levels[id(one)] = Fraction(one.shares, shares) / (mine / used) if mine else inf
        return levels

    def visit(self, families: list[list[Account]], tied: int | None) -> None:
        levels = {key: level for one in families for key, level in self.levels(one).items()}
        siblings = [one for family in families for one in family if self.count(one)]
        for level in sorted({levels[id(one)] for one in siblings}, reverse=True):
            equal = [one for one in siblings if levels[id(one)] == level]
            users = [one for one in equal if one.user]
            rank = self.rank if tied is None else tied
            for one in users:
                assert one.user
                self.ranks[one.name, one.user] = rank
            self.rank -= len(users)
            below = [self.children(one.name) for one in equal if not one.user]
            if below:
                self.visit(below, rank if users or tied is not None else None)
            tied = None


@given(sites())
@settings(max_examples=300)
def test_ranks_are_those_of_the_rules_on_exact_numbers(
    site: tuple[list[Account], dict[Seat, float]],
) -> None:
    accounts, usage = site
    exact = Exact(accounts, usage)
    exact.visit([exact.children(None)], None)
    users = len(exact.users)
    assert fair_tree(accounts, usage) == {seat: rank / users for seat, rank in exact.ranks.items()}


@given(sites())
def test_every_user_of_the_account_that_is_ahead_is_ahead_of_every_user_of_its_sibling(
    site: tuple[list[Account], dict[Seat, float]],
) -> None:
    accounts, usage = site
    exact, factors = Exact(accounts, usage), fair_tree(accounts, usage)

    def users(one: Account) -> list[Seat]:
        if one.user:
            return [(one.name, one.user)]
        return [seat for child in exact.children(one.name) for seat in users(child)]

    for parent in [None, *(one.name for one in accounts if not one.user and one.shares)]:
        siblings = exact.children(parent)
        levels = exact.levels(siblings)
        for ahead in siblings:
            for behind in siblings:
                if levels[id(ahead)] > levels[id(behind)]:
                    for seat in users(ahead):
                        assert all(factors[seat] > factors[other] for other in users(behind))


@given(sites())
def test_a_factor_says_how_many_users_are_strictly_ahead(
    site: tuple[list[Account], dict[Seat, float]],
) -> None:
    factors = fair_tree(*site)
    for factor in factors.values():
        assert 0 < factor <= 1
        ahead = sum(other > factor for other in factors.values())
        assert factor == (len(factors) - ahead) / len(factors)


@given(sites(), st.data())
def test_the_order_of_the_input_does_not_matter(
    site: tuple[list[Account], dict[Seat, float]], data: st.DataObject
) -> None:
    accounts, usage = site
    shuffled = data.draw(st.permutations(accounts))
    turned = dict(data.draw(st.permutations(list(usage.items()))))
    scaled = {seat: used * 0.1 for seat, used in turned.items()}
    assert fair_tree(shuffled, turned) == fair_tree(accounts, usage)
    again = {seat: used * 0.1 for seat, used in usage.items()}
    assert fair_tree(shuffled, scaled) == fair_tree(accounts, again)


@given(st.lists(st.sampled_from((0.0, 1.0, 2.0)), max_size=6))
def test_without_accounts_ranks_follow_usage_and_newcomers_are_never_behind(
    used: list[float],
) -> None:
    share = Equals()
    factors = share.factors({("", f"u{number}"): one for number, one in enumerate(used)})
    for number, mine in enumerate(used):
        assert 0 < factors["", f"u{number}"] <= share.newcomer
        for other, theirs in enumerate(used):
            ahead = factors["", f"u{number}"] > factors["", f"u{other}"]
            assert ahead == (mine < theirs)


times = st.floats(0.0, 1e7)
rates = st.floats(0.0, 1e4)
half_lives = st.sampled_from((0.0, 3600.0, 604_800.0))
SEAT = ("lab", "ada")


def close(left: float, right: float, scale: float = 1.0) -> bool:
    return abs(left - right) <= 1e-9 * max(scale, abs(left), abs(right))


@given(half_lives, st.lists(st.tuples(times, times, rates), max_size=6), times, times)
def test_usage_does_not_depend_on_when_anybody_looked_or_in_which_order_runs_were_told(
    half_life_s: float, runs: list[tuple[float, float, float]], first: float, second: float
) -> None:
    end_s = max([first, second, *(at_s for run in runs for at_s in run[:2])])
    events = []
    for one, other, rate in runs:
        events += [(min(one, other), 0, rate), (max(one, other), 1, rate)]
    watched, unwatched = Ledger(half_life_s), Ledger(half_life_s)
    for at_s, is_end, rate in sorted(events):
        tell = watched.end if is_end else watched.start
        tell(at_s, *SEAT, rate)
        for look_s in (first, second):
            watched.usage(look_s)
    for one, other, rate in reversed(runs):
        unwatched.start(min(one, other), *SEAT, rate)
    for one, other, rate in runs:
        unwatched.end(max(one, other), *SEAT, rate)
    if runs:
        told, backwards = watched.usage(end_s)[SEAT], unwatched.usage(end_s)[SEAT]
        ever_under_way = end_s * sum(rate for _, _, rate in runs)  # what backwards is rounded at
        assert told >= 0
        assert backwards >= 0
        assert close(told, backwards, max(1.0, ever_under_way))


@given(half_lives.filter(bool), st.floats(0.0, 1e9), times, times)
def test_usage_halves_in_every_half_life_and_may_be_stored_at_any_time(
    half_life_s: float, usage: float, at_s: float, later_s: float
) -> None:
    ledger = Ledger(half_life_s)
    ledger.put(at_s, *SEAT, usage)
    assert close(ledger.usage(at_s + half_life_s)[SEAT], usage / 2)
    stored = Ledger(half_life_s)
    stored.put(at_s + later_s, *SEAT, ledger.usage(at_s + later_s)[SEAT])
    end_s = at_s + later_s + half_life_s
    assert close(stored.usage(end_s)[SEAT], ledger.usage(end_s)[SEAT])


@given(st.lists(st.integers(1, 5), min_size=2, max_size=4), st.integers(20, 60))
@settings(max_examples=25, deadline=None)
def test_a_starved_account_catches_up_and_use_comes_to_follow_shares(
    parts: list[int], starved: int
) -> None:
    """All have work; one runs at a time, a unit each; the first got nothing at the beginning."""
    accounts = [Account(name=f"a{number}", shares=part) for number, part in enumerate(parts)]
    accounts += [Account(name=one.name, user="u") for one in list(accounts)]
    tree, ledger = FairTree(accounts), Ledger(1000.0)
    ran: list[str] = []
    for now in range(1500):
        factors = tree.factors(ledger.usage(float(now)))
        if now < starved:
            factors.pop(("a0", "u"))
        best, _ = max(factors, key=lambda seat: (factors[seat], seat))
        ran.append(best)
        ledger.start(float(now), best, "u", 1.0)
        ledger.end(now + 1.0, best, "u", 1.0)
    usage = ledger.usage(1500.0)
    whole = sum(usage.values())
    for number, part in enumerate(parts):
        assert abs(usage[f"a{number}", "u"] / whole - part / sum(parts)) < 0.03
    catching_up = int(0.9 * starved * parts[0] / sum(parts[1:])) - 2
    assert set(ran[starved : starved + max(0, catching_up)]) <= {"a0"}


queues = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(("low", "high")), st.integers(-2, 2)),
    max_size=12,
)


@given(queues)
def test_nobody_gains_on_others_by_a_priority_of_his_own(
    drawn: list[tuple[str, str, int]],
) -> None:
    queue = [
        Queued(id=str(number), request=Request(), submitted_s=0.0, user=user, qos=qos, priority=own)
        for number, (user, qos, own) in enumerate(drawn)
    ]
    ordered = own_order(queue)
    assert sorted(job.id for job in ordered) == sorted(job.id for job in queue)
    assert [(job.user, job.qos) for job in ordered] == [(job.user, job.qos) for job in queue]
    for user, qos in {(job.user, job.qos) for job in queue}:
        mine = [job for job in ordered if (job.user, job.qos) == (user, qos)]
        assert mine == sorted(mine, key=lambda job: (-job.priority, int(job.id)))
