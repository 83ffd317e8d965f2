"""Fair share: how far each user is from what the shares promise, as a factor; 1 is first.

``FairTree`` is Slurm's default: users are ranked by walking the tree of accounts, at each level
those with the highest shares / usage first, so all users of an account that is ahead of its sibling
are ahead of all users of that sibling. Siblings that are equal share a rank; a user that equals
an account shares the rank of the account's best user; accounts that are equal are walked as one.
(Slurm documents the last rule, but its code never finds two accounts equal, and walks one after
the other.)

``Classic`` is Slurm's NO_FAIR_TREE: 2 to the power of -(effective usage / shares / dampening).

Without accounts everybody is equal: one seat for each user, whatever the account is called.
"""

from collections.abc import Mapping, Sequence
from math import fsum, inf
from typing import Protocol

from headrace.schedule.associations import Association, Associations
from headrace.schedule.cluster import Account

Seat = tuple[str, str]
Usage = Mapping[Seat, float]


class FairShare(Protocol):
    """``factors`` is the hot call. ``newcomer``: the factor of a seat that is not among them."""

    newcomer: float

    def seat(self, account: str, user: str) -> Seat: ...

    def factors(self, usage: Usage) -> dict[Seat, float]: ...


class _Shares:
    """The tree as fair share sees it, in arrays: node 0 is the root, parents before children.

    An account with fairshare=parent is not in it: its children hang on the account above. Children
    are in the order of a tie: users, then accounts. ``level``: the shares of a node and its
    siblings together. ``walk``: the children, less the accounts that no user is in.
    """

    def __init__(self, accounts: Sequence[Account]) -> None:
        tree = Associations(accounts)
        self._find = tree.find
        self.parents = [0]
        self.shares: list[int | None] = [None]
        self.seats: list[Seat | None] = [None]
        self.children: list[list[int]] = [[]]
        self.index: dict[str, int] = {}
        self._hang(tree.root, 0)
        self.level = [
            sum(self.shares[sibling] or 0 for sibling in self.children[parent])
            for parent in self.parents
        ]
        self.users = {seat: node for node, seat in enumerate(self.seats) if seat is not None}
        peopled = set(self.users.values())
        for node in range(len(self.parents) - 1, 0, -1):
            if node in peopled:
                peopled.add(self.parents[node])
        self.walk = [[one for one in under if one in peopled] for under in self.children]

    def seat(self, account: str, user: str) -> Seat:
        if not account and (found := self._find(account, user)) is not None:
            return found.record.name, user
        return account, user

    def totals(self, usage: Usage) -> list[float]:
        """Usage of each node and all below it. What a former user has used stays the account's."""
        parts: list[list[float]] = [[] for _ in self.parents]
        for seat, used in usage.items():
            if used:
                node = self.users.get(seat)
                parts[self.index.get(seat[0], 0) if node is None else node].append(used)
        totals = [0.0] * len(parts)
        for node in range(len(parts) - 1, 0, -1):
            if parts[node]:
                totals[node] = total = fsum(parts[node])
                parts[self.parents[node]].append(total)
        totals[0] = fsum(parts[0])
        return totals

    def _hang(self, account: Association, node: int) -> None:
        self.index[account.record.name] = node
        below = sorted(self._below(account, node), key=lambda one: one.record.user is None)
        for one in below:
            self.children[node].append(len(self.parents))
            self.parents.append(node)
            self.shares.append(one.record.shares)
            self.children.append([])
            user = one.record.user
            self.seats.append(None if user is None else (one.record.name, user))
            if user is None:
                self._hang(one, len(self.parents) - 1)

    def _below(self, account: Association, node: int) -> list[Association]:
        found = []
        for one in account.children:
            if one.record.user is None and one.record.shares is None:
                self.index[one.record.name] = node
                found += self._below(one, node)
            else:
                found.append(one)
        return found


class FairTree:
    def __init__(self, accounts: Sequence[Account]) -> None:
        self._tree = _Shares(accounts)
        self.seat = self._tree.seat
        self.newcomer = 0.0

    def factors(self, usage: Usage) -> dict[Seat, float]:
        """By seat: the user's rank from the last, over the number of users."""
        tree = self._tree
        totals = tree.totals(usage)
        levels = [0.0] * len(totals)
        for node in range(1, len(totals)):
            levels[node] = _level(
                tree.shares[node], tree.level[node], totals[node], totals[tree.parents[node]]
            )
        ranks = _Ranks(tree.walk, tree.seats, levels, len(tree.users))
        ranks.visit(tree.walk[0], tied=False)
        return ranks.factors


def fair_tree(accounts: Sequence[Account], usage: Usage) -> dict[Seat, float]:
    """Fair Tree's factors once; keep a ``FairTree`` to have them often."""
    return FairTree(accounts).factors(usage)


def _level(shares: int | None, level: int, used: float, parent_used: float) -> float:
    """Shares over usage, each as a part of the level's. fairshare=parent comes first.

    One division, so that equal quotients of whole numbers are equal.
    """
    if shares is None:
        return inf
    if not shares:
        return 0.0
    return shares * parent_used / (level * used) if used else inf


class _Ranks:
    """One walk. ``rank``: the last that was given; ``next``: what it is without ties."""

    def __init__(
        self,
        walk: list[list[int]],
        seats: list[Seat | None],
        levels: list[float],
        users: int,
    ) -> None:
        self.walk = walk
        self.seats = seats
        self.levels = levels
        self.users = self.rank = self.next = users
        self.factors: dict[Seat, float] = {}

    def visit(self, siblings: list[int], tied: bool) -> None:
        """``tied``: the first of them shares the rank that was given last."""
        levels = self.levels
        ahead: float | None = None
        merged: list[int] = []
        for node in sorted(siblings, key=levels.__getitem__, reverse=True):
            level = levels[node]
            seat = self.seats[node]
            if merged and (seat is not None or level != ahead):
                self._descend(merged, tied)
                merged, tied = [], False
            if seat is None:
                tied = tied or (not merged and level == ahead)
                merged.append(node)
            else:
                if not (tied or level == ahead):
                    self.rank = self.next
                self.factors[seat] = self.rank / self.users
                self.next -= 1
                tied = False
            ahead = level
        if merged:
            self._descend(merged, tied)

    def _descend(self, accounts: list[int], tied: bool) -> None:
        walk = self.walk
        if len(accounts) == 1:
            self.visit(walk[accounts[0]], tied)
        else:
            below = [node for account in accounts for node in walk[account]]
            self.visit(sorted(below, key=lambda node: self.seats[node] is None), tied)


class Classic:
    def __init__(self, accounts: Sequence[Account], dampening: float = 1.0) -> None:
        self._tree = tree = _Shares(accounts)
        self._dampening = dampening
        self.seat = tree.seat
        self.newcomer = 0.0
        self._norms = [1.0] * len(tree.parents)
        for node in range(1, len(tree.parents)):
            part, parent = tree.shares[node], tree.parents[node]
            level = tree.level[node] or 1
            self._norms[node] = self._norms[parent] * (1.0 if part is None else part / level)

    def factors(self, usage: Usage) -> dict[Seat, float]:
        """By seat. With fairshare=parent a user has the factor of the account."""
        tree = self._tree
        totals = tree.totals(usage)
        whole = totals[0] or 1.0
        effective = [1.0] * len(totals)
        for node in range(1, len(totals)):
            parent, used = tree.parents[node], totals[node] / whole
            part, level = tree.shares[node], tree.level[node]
            if part is None or not level:
                effective[node] = effective[parent]
            elif parent == 0:
                effective[node] = used
            else:
                effective[node] = used + (effective[parent] - used) * part / level
        return {
            seat: fading(effective[node], self._norms[node], self._dampening)
            for seat, node in tree.users.items()
        }


def fading(usage: float, shares: float, dampening: float) -> float:
    """Classic fair share; ``usage`` and ``shares`` as parts of the whole."""
    return 2.0 ** -(usage / shares / dampening) if shares > 0 else 0.0


class Equals:
    """Nobody has an account: equal shares, and one seat more for whoever has used nothing yet."""

    def __init__(self, dampening: float | None = None) -> None:
        """``dampening``: None ranks as Fair Tree does; a number is that of the classic formula."""
        self._dampening = dampening
        self.newcomer = 1.0

    def seat(self, account: str, user: str) -> Seat:
        return "", user

    def factors(self, usage: Usage) -> dict[Seat, float]:
        parts: dict[str, list[float]] = {}
        for (_, user), used in usage.items():
            parts.setdefault(user, []).append(used)
        totals = {user: fsum(used) for user, used in parts.items()}
        seats = len(totals) + 1
        if self._dampening is not None:
            whole = fsum(totals.values()) or 1.0
            return {
                ("", user): fading(used / whole, 1 / seats, self._dampening)
                for user, used in totals.items()
            }
        factors: dict[Seat, float] = {}
        rank, place, ahead = seats, seats - 1, 0.0
        for user, used in sorted(totals.items(), key=lambda item: item[1]):
            if used != ahead:
                rank, ahead = place, used
            factors["", user] = rank / seats
            place -= 1
        return factors


def fair_share(
    accounts: Sequence[Account], *, tree: bool = True, dampening: float = 1.0
) -> FairShare:
    """What the site has chosen."""
    if not accounts:
        return Equals(None if tree else dampening)
    return FairTree(accounts) if tree else Classic(accounts, dampening)
