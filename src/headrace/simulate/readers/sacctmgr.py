"""Accounts, users, QOS and limits: sacctmgr commands (``add account ...``), or ``sacctmgr dump``.

The last word counts, as if the commands had been given one after another. What a user does not have
of its own it has from its account, and an account from the cluster.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field

from headrace.core.records import replace
from headrace.schedule.cluster import Account, Limits, Qos, Tres
from headrace.simulate.errors import RowInvalid
from headrace.simulate.readers.remarks import BadField, Remarks, integer, number
from headrace.simulate.readers.site import SlurmSite
from headrace.simulate.readers.slurm_conf import lines
from headrace.simulate.readers.slurm_words import time_s, tres

Options = dict[str, str]
_VERBS = {"add": "add", "create": "add", "modify": "modify", "update": "modify", "remove": "remove"}
_VERBS |= {"delete": "remove"}
_DUMPED = re.compile(r"(Cluster|Parent|Account|User|QOS)\s*-\s*'?([^':]*)'?(.*)", re.IGNORECASE)
_DUMPED_OPTION = re.compile(r":([\w]+)=('[^']*'|[^:]*)")
_COUNTS = {
    "grpjobs": "grp_jobs",
    "grpsubmit": "grp_submit_jobs",
    "grpsubmitjobs": "grp_submit_jobs",
    "maxjobs": "max_jobs",
    "maxsubmit": "max_submit_jobs",
    "maxsubmitjobs": "max_submit_jobs",
    "maxjobspu": "max_jobs_pu",
    "maxjobsperuser": "max_jobs_pu",
    "maxsubmitpu": "max_submit_jobs_pu",
    "maxsubmitjobspu": "max_submit_jobs_pu",
    "maxsubmitjobsperuser": "max_submit_jobs_pu",
    "maxjobspa": "max_jobs_pa",
    "maxjobsperaccount": "max_jobs_pa",
    "maxsubmitpa": "max_submit_jobs_pa",
    "maxsubmitjobsperaccount": "max_submit_jobs_pa",
}
_TRES = {
    "grptres": "grp_tres",
    "grptresmins": "grp_tres_mins",
    "maxtres": "max_tres",
    "maxtrespj": "max_tres",
    "maxtresperjob": "max_tres",
    "maxtrespu": "max_tres_pu",
    "maxtresperuser": "max_tres_pu",
    "maxtrespa": "max_tres_pa",
    "maxtresperaccount": "max_tres_pa",
}
_TIMES = {"grpwall": "grp_wall_s", "maxwall": "max_wall_s", "maxwallpj": "max_wall_s"}
_TIMES |= {"maxwalldurationperjob": "max_wall_s"}
_OLD_TRES = {
    "grpcpus": ("grp_tres", "cpu"),
    "grpnodes": ("grp_tres", "node"),
    "grpcpumins": ("grp_tres_mins", "cpu"),
    "maxcpus": ("max_tres", "cpu"),
    "maxcpusperjob": ("max_tres", "cpu"),
    "maxnodes": ("max_tres", "node"),
    "maxnodesperjob": ("max_tres", "node"),
    "maxcpusperuser": ("max_tres_pu", "cpu"),
    "maxnodesperuser": ("max_tres_pu", "node"),
}


@dataclass
class _Association:
    """An account, or a user in one. ``qos`` None: as what is above it."""

    name: str
    user: str | None = None
    parent: str | None = None
    shares: int | None = 1
    limits: Limits = field(default_factory=Limits)
    default_qos: str | None = None
    qos: tuple[str, ...] | None = None


def onto_site(site: SlurmSite, text: str, *, name: str) -> SlurmSite:
    """The site with the accounts, users and QOS of this file. Raise ``RowInvalid``."""
    book = _Book(name)
    for line, command in lines(text):
        try:
            book.obey(command)
        except BadField as bad:
            raise RowInvalid(
                name, line=line, field=bad.field, value=bad.value, rule=bad.rule
            ) from None
    return book.onto(site)


class _Book:
    """All that the commands so far have made."""

    def __init__(self, name: str) -> None:
        self.remarks = Remarks(name)
        self.qos: dict[str, Qos] = {"normal": Qos(name="normal")}
        self.root = _Association("root")
        self.accounts: dict[str, _Association] = {}
        self.users: dict[tuple[str, str], _Association] = {}
        self.defaults: dict[str, str] = {}
        self._dumped_parent: str | None = None

    def obey(self, command: str) -> None:
        if found := _DUMPED.fullmatch(command):
            self._dumped(found[1].lower(), found[2], found[3])
            return
        try:
            words = shlex.split(command)
        except ValueError:
            raise BadField("command", command, "a quote is closed") from None
        while words and (words[0] == "sacctmgr" or words[0].startswith("-")):
            words.pop(0)
        if len(words) < 2 or words[0].lower() not in _VERBS:
            return  # list, show, exit
        verb, noun = _VERBS[words[0].lower()], words[1].lower()
        before, after = _clauses(words[2:])
        if noun in ("cluster", "clusters"):
            self._set(self.root, before | after)
        elif noun == "qos":
            self._qos(verb, before, after)
        elif noun in ("account", "accounts"):
            self._account(verb, before, after)
        elif noun in ("user", "users"):
            self._user(verb, before, after)
        else:
            self.remarks.say(f"sacctmgr {words[0]} {words[1]} is not modelled")

    def _qos(self, verb: str, before: Options, after: Options) -> None:
        for name in _listed(before, "name", "names", "qos") or list(self.qos):
            if verb == "remove":
                self.qos.pop(name, None)
            elif verb == "add" or name in self.qos:
                found = self.qos.get(name) or Qos(name=name)
                self.qos[name] = _qos_with(found, before | after)

    def _account(self, verb: str, before: Options, after: Options) -> None:
        for name in _listed(before, "name", "names", "account") or list(self.accounts):
            if name == "root":
                self._set(self.root, before | after)
            elif verb == "remove":
                self.accounts.pop(name, None)
            elif verb == "add" or name in self.accounts:
                account = self.accounts.setdefault(name, _Association(name))
                options = before | after
                if parent := options.get("parent"):
                    account.parent = None if parent == "root" else parent
                self._set(account, options)

    def _user(self, verb: str, before: Options, after: Options) -> None:
        names = _listed(before, "name", "names", "user") or sorted({user for _, user in self.users})
        options = before | after
        for user in names:
            accounts = _listed(before, "account", "accounts")
            if default := options.get("defaultaccount"):
                self.defaults[user] = default
            if verb == "add":
                for name in accounts or _listed(options, "defaultaccount"):
                    self.defaults.setdefault(user, name)
                    self.users.setdefault((name, user), _Association(name, user=user))
            known = [key for key in self.users if key[1] == user]
            for key in [key for key in known if not accounts or key[0] in accounts]:
                if verb == "remove":
                    del self.users[key]
                else:
                    self._set(self.users[key], options)

    def _dumped(self, noun: str, name: str, rest: str) -> None:
        options = {key.lower(): value.strip("'") for key, value in _DUMPED_OPTION.findall(rest)}
        parent = None if self._dumped_parent == "root" else self._dumped_parent
        if noun == "cluster":
            self._set(self.root, options)
        elif noun == "parent":
            self._dumped_parent = name
        elif noun == "account":
            account = self.accounts.setdefault(name, _Association(name))
            account.parent = parent
            self._set(account, options)
        elif noun == "user" and parent is not None:
            self.defaults[name] = options.get("defaultaccount", self.defaults.get(name, parent))
            user = self.users.setdefault((parent, name), _Association(parent, user=name))
            self._set(user, options)

    def _set(self, one: _Association, options: Options) -> None:
        if text := options.get("fairshare") or options.get("shares"):
            one.shares = None if text.lower() == "parent" else integer("Fairshare", text)
        for key in ("qos", "qoslevel"):
            if key in options:
                one.qos = _listed(options, key)
            if f"{key}+" in options:
                one.qos = (*(one.qos or self.root.qos or ()), *_listed(options, f"{key}+"))
            if f"{key}-" in options:
                gone = _listed(options, f"{key}-")
                one.qos = tuple(q for q in one.qos or self.root.qos or () if q not in gone)
        one.default_qos = options.get("defaultqos", one.default_qos) or None
        one.limits = _limits_with(one.limits, options)

    def onto(self, site: SlurmSite) -> SlurmSite:
        accounts = tuple(self._account_of(one) for one in self.accounts.values())
        users = tuple(
            self._account_of(one) for one in self.users.values() if one.name in self.accounts
        )
        qos = tuple(self.qos.values())
        if site.cluster.scheduling.preempt_type != "qos":
            qos = tuple(replace(one, preempts=()) for one in qos)
        notes = self.remarks.close(len(accounts) + len(qos))
        return replace(
            site,
            cluster=replace(site.cluster, accounts=accounts + users, qos=qos),
            default_accounts=self.defaults,
            notes=site.notes + notes,
        )

    def _account_of(self, one: _Association) -> Account:
        chain = [one, *self._above(one), self.root]
        return Account(
            name=one.name,
            parent=one.parent if one.parent in self.accounts else None,
            user=one.user,
            shares=one.shares,
            limits=one.limits,
            default_qos=next((up.default_qos for up in chain if up.default_qos), None),
            qos=next((up.qos for up in chain if up.qos is not None), ()),
        )

    def _above(self, one: _Association) -> Iterator[_Association]:
        """The accounts above it, the nearest first; a ring of parents ends where it closes."""
        seen: set[str] = set()
        name = one.name if one.user else one.parent
        while name in self.accounts and name not in seen:
            seen.add(name)
            yield self.accounts[name]
            name = self.accounts[name].parent


def _clauses(words: list[str]) -> tuple[Options, Options]:
    """What picks (before "set", or after "where") and what is set; keys in lower case."""
    picked: Options = {}
    given: Options = {}
    into = picked
    for word in words:
        key, equals, value = word.partition("=")
        if word.lower() == "set":
            into = given
        elif word.lower() == "where":
            into = picked
        elif equals:
            into[key.lower()] = value
        elif into is picked and "name" not in picked:
            picked["name"] = word
    return picked, given


def _listed(options: Options, *keys: str) -> tuple[str, ...]:
    for key in keys:
        if key in options:
            return tuple(filter(None, options[key].split(",")))
    return ()


def _qos_with(qos: Qos, options: Options) -> Qos:
    changes: dict[str, object] = {}
    for key, value in options.items():
        if key == "priority":
            changes["priority"] = integer("Priority", value)
        elif key == "preempt":
            changes["preempts"] = tuple(filter(None, value.split(",")))
        elif key == "gracetime":
            changes["grace_s"] = number("GraceTime", value)  # seconds, as sacctmgr reads it
        elif key == "preemptexempttime":
            changes["exempt_s"] = time_s("PreemptExemptTime", value) or 0.0
        elif key == "usagefactor":
            changes["usage_factor"] = number("UsageFactor", value)
        elif key in ("flags", "flags+"):
            changes["deny_on_limit"] = "denyonlimit" in value.lower()
    return replace(qos, limits=_limits_with(qos.limits, options), **changes)


def _limits_with(limits: Limits, options: Options) -> Limits:
    for key, value in options.items():
        unlimited = value in ("-1", "")
        if name := _COUNTS.get(key):
            count = None if unlimited else integer(key, value)
            limits = replace(limits, **{name: count})
        elif name := _TIMES.get(key):
            limits = replace(limits, **{name: None if unlimited else time_s(key, value)})
        elif name := _TRES.get(key):
            before: Tres = getattr(limits, name)
            limits = replace(limits, **{name: _tres_with(before, tres(key, value), value)})
        elif old := _OLD_TRES.get(key):
            amount = None if unlimited else number(key, value)
            before = getattr(limits, old[0])
            limits = replace(limits, **{old[0]: replace(before, **{old[1]: amount})})
    return limits


def _tres_with(before: Tres, given: Tres, text: str) -> Tres:
    """What a TRES list does not name stays; -1 takes a limit away."""
    named = {part.partition("=")[0].lower() for part in text.split(",")}
    words = {"cpu": "cpu", "mem": "memory", "node": "node", "billing": "billing"}
    changed = {field for word, field in words.items() if word in named}
    if any(word.startswith("gres/gpu") for word in named):
        changed.add("gpu")
    return replace(before, **{field: getattr(given, field) for field in changed})
