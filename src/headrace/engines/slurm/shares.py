"""The tree of accounts with its shares, as slurmctld goes by it. Pure.

From ``scontrol show assoc_mgr``: "SharesRaw/Norm/Level/Factor=3/0.60/5/0.00" is 3 of the 5 shares
of its level, "UsageRaw/Norm/Efctv=3471.64/1.00/0.94" what fair share goes by, in seconds that the
site weighs and lets fade, and "GrpTRESMins=cpu=N(57)" minutes of CPUs that fade as well.
"""

import re
from collections.abc import Iterator, Sequence

from headrace.core.records import Record
from headrace.engines.contract import Share
from headrace.engines.slurm.rows import parse_fields, whole

_PARENTS = 0x7FFFFFFF
_MINUTES = re.compile(r"([\w/:]+)=(?:N|\d+)\((\d+(?:\.\d+)?)\)")
_ROOT = "root"


class _Association(Record, frozen=True, kw_only=True):
    """``part``: of the shares of its level; None where it has its parent's."""

    account: str
    user: str
    above: str
    shares: int | None
    part: float | None
    usage: float
    cpu_hours: float
    gpu_hours: float


def parse_shares(text: str, user: str) -> list[Share]:
    """All accounts below root, parents first, and ``user`` in them."""
    known = [_association(fields) for fields in parse_fields(text) if "Account" in fields]
    everything = sum(one.usage for one in known if (one.account, one.user) == (_ROOT, ""))
    shown = [one for one in known if one.account != _ROOT and one.user in ("", user)]
    return list(_below(_ROOT, shown, 0, 1.0, everything))


def _below(
    above: str, known: Sequence[_Association], depth: int, part: float, everything: float
) -> Iterator[Share]:
    for one in known:
        if one.above != above:
            continue
        promised = part if one.part is None else part * one.part
        yield Share(
            account=one.account,
            user=one.user or None,
            depth=depth,
            shares=one.shares,
            promised=None if one.part is None else promised,
            used=one.usage / everything if everything else 0.0,
            cpu_hours=one.cpu_hours,
            gpu_hours=one.gpu_hours,
        )
        if not one.user:
            yield from _below(one.account, known, depth + 1, promised, everything)


def _association(fields: dict[str, str]) -> _Association:
    shares, _, level, *_ = fields.get("SharesRaw/Norm/Level/Factor", "0/0/0/0").split("/")
    usage = fields.get("UsageRaw/Norm/Efctv", "0").partition("/")[0]
    minutes = dict(_MINUTES.findall(fields.get("GrpTRESMins", "")))
    user = fields.get("UserName", "").partition("(")[0]
    parents = whole(shares) >= _PARENTS
    return _Association(
        account=fields["Account"],
        user=user,
        above=fields["Account"] if user else fields.get("ParentAccount", "").partition("(")[0],
        shares=None if parents else whole(shares),
        part=None if parents else whole(shares) / max(1, whole(level)),
        usage=float(usage),
        cpu_hours=float(minutes.get("cpu", 0.0)) / 60,
        gpu_hours=float(minutes.get("gres/gpu", 0.0)) / 60,
    )
