"""The limits in force on a run, and how much of them is used, as slurmctld itself sees it. Pure.

From ``scontrol show assoc_mgr``: "GrpTRES=cpu=5(3),node=N(2)" is at most 5 CPUs of which 3 are in
use, and no limit on nodes, of which 2 are. Names are those of sacctmgr(1).
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from headrace.core.records import Record
from headrace.engines.slurm.rows import parse_fields, parse_memory, whole
from headrace.schedule.explain import Entitlement
from headrace.schedule.reason import LimitHit

_NAMES = {
    **{f"{scope}Jobs": f"{scope}Jobs" for scope in ("Grp", "Max")},
    **{f"{scope}SubmitJobs": f"{scope}SubmitJobs" for scope in ("Grp", "Max")},
    **{name: name for name in ("GrpWall", "GrpTRES", "GrpTRESMins", "GrpTRESRunMins")},
    **{"MaxWallPJ": "MaxWall", "MaxTRESPJ": "MaxTRES", "MaxTRESMinsPJ": "MaxTRESMins"},
    "MaxTRESPN": "MaxTRESPerNode",
    **{f"{name}PU": f"{name}PerUser" for name in ("MaxJobs", "MaxSubmitJobs", "MaxTRES")},
    **{f"{name}PA": f"{name}PerAccount" for name in ("MaxJobs", "MaxSubmitJobs", "MaxTRES")},
}
_AMOUNT = re.compile(r"^(?:([\w/:]+)=)?(\d+)(?:\((\d+(?:\.\d+)?)\))?$")
_PARTS = re.compile(r"([\w.@-]+)(?:\((\d+)\))?=\{([^}]*)\}")
_WORD = re.compile(
    r"^(Assoc|QOS)?(Grp|Max)(Jobs?|SubmitJobs?|Wall(?:Duration)?|CPU|Cpu|Mem(?:ory)?|Node|GRES|"
    r"Billing|License|BB|Energy)(RunMinutes|Minutes)?(?:Per(User|Account|Job|Node))?(?:Limit)?$"
)
_RESOURCES = {
    **{"CPU": "cpu", "Cpu": "cpu", "Mem": "memory", "Memory": "memory", "Node": "node"},
    **{"GRES": "gpu", "Billing": "billing"},
}
_MINUTE_S = 60.0
_MIB = 1 << 20


class Grade(Record, frozen=True, kw_only=True):
    """An account, a user's part of it (``user``), or with ``qos`` what that QOS sets.

    ``promised``, ``used``: its parts of the shares and of the usage of its level; None where fair
    share does not go by it. ``limits``: what is needed is 0.
    """

    account: str = ""
    user: str = ""
    qos: str = ""
    parent: str = ""
    promised: float | None = None
    used: float = 0.0
    limits: tuple[LimitHit, ...] = ()


def parse_grades(text: str, user: str, uid: int) -> list[Grade]:
    """``user``: whose parts of QOS are taken, beside those of accounts."""
    found = []
    for line in text.splitlines():
        own, _, parts = line.partition(" Account Limits=")
        for fields in parse_fields(own):
            if "QOS" in fields:
                found.append(_qos(fields, parts, user, uid))
            elif "Account" in fields:
                found.append(_association(fields))
    return found


def _association(fields: Mapping[str, str]) -> Grade:
    account, user = fields["Account"], _before(fields.get("UserName", ""))
    owner = f"{user} in account {account}" if user else f"account {account}"
    shares = fields.get("SharesRaw/Norm/Level/Factor", "0/0/0/0").split("/")
    usage = fields.get("UsageRaw/Norm/Efctv", "0/0/0").split("/")
    parents = whole(shares[0]) >= 0x7FFFFFFF
    return Grade(
        account=account,
        user=user,
        parent=_before(fields.get("ParentAccount", "")),
        promised=None if parents else float(shares[1]),
        used=float(usage[-1]),
        limits=tuple(_limits(fields, owner)),
    )


def _qos(fields: Mapping[str, str], parts: str, user: str, uid: int) -> Grade:
    """``parts``: what it sets for accounts, then for users, each in braces."""
    name = _before(fields["QOS"])
    limits = list(_limits(fields, f"QOS {name}"))
    of_accounts, _, of_users = parts.partition(" User Limits=")
    for account, _, part in _PARTS.findall(of_accounts):
        limits += _limits(_items(part), f"account {account} in QOS {name}")
    for who, number, part in _PARTS.findall(of_users):
        if str(uid) in (who, number):
            limits += _limits(_items(part), f"{user} in QOS {name}")
    return Grade(qos=name, limits=tuple(limits))


def _items(part: str) -> dict[str, str]:
    pairs = (item.partition("=") for item in part.split())
    return {key: value for key, _, value in pairs}


def _limits(fields: Mapping[str, str], owner: str) -> Iterator[LimitHit]:
    for key, name in _NAMES.items():
        for item in filter(None, fields.get(key, "").split(",")):
            found = _AMOUNT.match(item.strip())
            if found is None:
                continue
            resource, size = _resource(found[1] or "")
            if "Wall" in name:
                size = _MINUTE_S
            yield LimitHit(
                limit=name,
                resource=resource,
                owner=owner,
                allowed=float(found[2]) * size,
                used=float(found[3] or 0) * size,
                needed=0.0,
            )


def _resource(name: str) -> tuple[str, float]:
    """Our word, and how much one of Slurm's units is."""
    if name == "mem":
        return "memory", float(_MIB)
    return name.removeprefix("gres/"), 1.0


def _before(text: str) -> str:
    """ "hxada(1001)" is hxada."""
    return text.partition("(")[0]


# --- what is in the way ----------------------------------------------------------------------


class Need(Record, frozen=True, kw_only=True):
    """What one run takes. ``amounts``: by our words for resources; ``limit_s``: None is no end.

    ``qos``: its own, and those of its partitions.
    """

    account: str
    qos: tuple[str, ...]
    user: str
    amounts: dict[str, float]
    limit_s: float | None


def amounts_of(text: str) -> dict[str, float]:
    """ "cpu=2,mem=200M,node=2,gres/gpu=2" by our words: memory in bytes."""
    found = {}
    for item in text.split(","):
        name, equals, amount = item.partition("=")
        if not equals:
            continue
        resource, _ = _resource(name)
        found[resource] = float((parse_memory(amount) or 0) if name == "mem" else whole(amount))
    return found


def in_force(grades: Sequence[Grade], need: Need) -> list[LimitHit]:
    """Limits that this run comes under, with what it needs of each; the tightest first."""
    above = set(lineage(grades, need.account))
    found = []
    for grade in grades:
        if grade.qos:
            named = f"account {need.account} in QOS {grade.qos}"
            mine = grade.qos in need.qos
            limits = [
                one
                for one in grade.limits
                if mine and (not one.owner.startswith("account ") or one.owner == named)
            ]
        elif grade.user:
            mine = (grade.user, grade.account) == (need.user, need.account)
            limits = list(grade.limits) if mine else []
        else:
            limits = list(grade.limits) if grade.account in above else []
        found += [_needed(one, need) for one in limits]
    return sorted(found, key=_tightness, reverse=True)


def lineage(grades: Iterable[Grade], account: str) -> list[str]:
    """The account and those above it."""
    parents = {one.account: one.parent for one in grades if one.account and not one.user}
    found: list[str] = []
    while account and account not in found:
        found.append(account)
        account = parents.get(account, "")
    return found


def _needed(limit: LimitHit, need: Need) -> LimitHit:
    amount = need.amounts.get(limit.resource, 0.0) if limit.resource else 1.0
    minutes = (need.limit_s or 0.0) / _MINUTE_S
    if limit.limit.endswith("Mins"):
        amount *= minutes
    elif limit.limit.endswith("Wall"):
        amount = need.limit_s or 0.0
    elif limit.limit == "MaxTRESPerNode":
        amount /= max(1.0, need.amounts.get("node", 1.0))
    return LimitHit(
        limit=limit.limit,
        resource=limit.resource,
        owner=limit.owner,
        allowed=limit.allowed,
        used=limit.used,
        needed=amount,
    )


def _tightness(limit: LimitHit) -> float:
    taken = limit.used + limit.needed
    return taken / limit.allowed if limit.allowed else float("inf") if taken else 0.0


def is_limit(word: str) -> bool:
    """Whether a reason of squeue names a limit of accounting."""
    return _WORD.match(word) is not None


def hits(word: str, limits: Iterable[LimitHit]) -> list[LimitHit]:
    """The limits that squeue's word means, of those in force; those that are in the way first.

    Slurm stops at the first that it meets, and names only that.
    """
    found = _WORD.match(word)
    if found is None:
        return []
    return [one for one in limits if _means(found, one) and one.used + one.needed > one.allowed]


def exceeded(limits: Iterable[LimitHit]) -> list[LimitHit]:
    """Those that the run cannot meet now. Submit limits let it in already."""
    return [
        one for one in limits if one.used + one.needed > one.allowed and "Submit" not in one.limit
    ]


def _means(word: "re.Match[str]", limit: LimitHit) -> bool:
    owner, scope, thing, minutes, per = word.groups()
    if not limit.limit.startswith(scope) or (owner == "QOS") != ("QOS " in limit.owner):
        return owner is None and thing_of(limit) == thing and (per or "") in limit.limit
    if per in ("User", "Account", "Node") and f"Per{per}" not in limit.limit:
        return False
    if (minutes == "Minutes") != limit.limit.endswith("TRESMins"):
        return False
    if (minutes == "RunMinutes") != limit.limit.endswith("RunMins"):
        return False
    return thing_of(limit) == _plain(thing)


def thing_of(limit: LimitHit) -> str:
    if limit.resource:
        return "gpu" if limit.resource.startswith("gpu") else limit.resource
    return next(thing for thing in ("Submit", "Jobs", "Wall") if thing in limit.limit)


def _plain(thing: str) -> str:
    for start, plain in (("Submit", "Submit"), ("Job", "Jobs"), ("Wall", "Wall")):
        if thing.startswith(start):
            return plain
    return _RESOURCES.get(thing, thing.lower())


def entitlements(grades: Sequence[Grade], need: Need) -> tuple[Entitlement, ...]:
    """The account's part of the shares and of the usage, those above it, and the user's own."""
    above = lineage(grades, need.account)
    accounts = {one.account: one for one in grades if one.account and not one.user}
    mine = (need.user, need.account)
    own = [one for one in grades if (one.user, one.account) == mine and one.account != "root"]
    chain = [accounts[name] for name in reversed(above) if name in accounts and name != "root"]
    return tuple(
        Entitlement(
            account=one.account, user=one.user or None, promised=one.promised, used=one.used
        )
        for one in [*chain, *own]
    )
