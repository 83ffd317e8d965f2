"""The tree of accounts, with the users' associations in them as leaves. Built once a cluster."""

from collections.abc import Iterator, Sequence

from headrace.schedule.cluster import Account

ROOT = "root"


class Association:
    """A node of the tree. ``record``: what the site says; for the root, whatever it says of it."""

    __slots__ = ("children", "parent", "record")

    def __init__(self, record: Account, parent: "Association | None") -> None:
        self.record = record
        self.parent = parent
        self.children: list[Association] = []

    def upward(self) -> Iterator["Association"]:
        """Itself, its account, the account above, ... the root."""
        node: Association | None = self
        while node is not None:
            yield node
            node = node.parent


class Associations:
    """``accounts`` in any order. An account that only has users in it stands under the root.

    Raise ``ValueError`` when an account is among its own parents.
    """

    def __init__(self, accounts: Sequence[Account]) -> None:
        records = {one.name: one for one in accounts if one.user is None}
        for one in accounts:
            if one.user is not None:
                records.setdefault(one.name, Account(name=one.name))
        self.root = Association(records.pop(ROOT, Account(name=ROOT)), None)
        self.accounts: dict[str, Association] = {ROOT: self.root}
        self.users: dict[tuple[str, str], Association] = {}
        self._first: dict[str, Association] = {}
        for name in records:
            self._add(name, records, ())
        for one in accounts:
            if one.user is not None:
                self._add_user(one, one.user)

    def find(self, account: str, user: str) -> Association | None:
        """The user's association in the account; in no account: the first that the user has."""
        if account:
            return self.users.get((account, user))
        return self._first.get(user)

    def _add(self, name: str, records: dict[str, Account], below: tuple[str, ...]) -> Association:
        if name in self.accounts:
            return self.accounts[name]
        if name in below:
            raise ValueError(f"account {name} is among its own parents: {', '.join(below)}")
        record = records[name]
        parent = self.root
        if record.parent in records:
            parent = self._add(record.parent, records, (*below, name))
        node = self.accounts[name] = _child(record, parent)
        return node

    def _add_user(self, record: Account, user: str) -> None:
        node = self.users[record.name, user] = _child(record, self.accounts[record.name])
        self._first.setdefault(user, node)


def _child(record: Account, parent: Association) -> Association:
    node = Association(record, parent)
    parent.children.append(node)
    return node
