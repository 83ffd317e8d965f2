"""From what all agents saw on their nodes to findings: what, on which nodes, what to do. Pure.

A note is for the record; a warning is said, and the run starts; a hard finding means that a run
would fail on the node, so it is given up when there are others (``elsewhere``).
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from headrace.core.events import NodeFinding
from headrace.core.records import Record
from headrace.launch.facts import NodeFacts

_MIB, _GIB = 1 << 20, 1 << 30
_SHM_MIN_BYTES = 8 * _MIB  # a rank; NCCL's and gloo's buffers for one neighbour need as much
_SHM_LOW_BYTES = 256 * _MIB
_MEMLOCK_MIN_BYTES = _GIB
_CLOCK_WARN_S, _CLOCK_HARD_S = 1.0, 30.0
_GPU_LOW_BYTES, _GPU_HARD_RATIO = _GIB, 0.1
_SHOWN = 4
_WHY_EQUAL = {
    "headrace": "hard",
    "torch": "hard",
    "NCCL": "hard",
    "Python": "warning",
    "NVIDIA driver": "warning",
}

Unreached = Mapping[str, Mapping[str, str]]


class Setting(Record, frozen=True, kw_only=True):
    """``nodes``: in order, that of rank 0 first. ``elsewhere``: the run can have other nodes."""

    nodes: tuple[str, ...]
    ranks_per_node: int
    elsewhere: bool


def judge(
    facts: Mapping[str, NodeFacts], unreached: Unreached, setting: Setting
) -> list[NodeFinding]:
    """``unreached``: node -> the nodes that it could not reach -> what happened.

    What several nodes have alike is one finding.
    """
    found: dict[tuple[str, str, str], NodeFinding] = {}
    for one in _all(facts, unreached, setting):
        key = (one.check, one.level, one.text)
        known = found.get(key)
        nodes = one.nodes if known is None else (*known.nodes, *one.nodes)
        level = "warning" if one.level == "hard" and not setting.elsewhere else one.level
        found[key] = NodeFinding(
            nodes=nodes, check=one.check, level=level, text=one.text, remedy=one.remedy
        )
    return list(found.values())


def given_up(findings: Sequence[NodeFinding]) -> dict[str, str]:
    """Nodes that the run cannot use, each with the first reason."""
    bad: dict[str, str] = {}
    for finding in findings:
        if finding.level == "hard":
            for node in finding.nodes:
                bad.setdefault(node, finding.text)
    return bad


def _all(
    facts: Mapping[str, NodeFacts], unreached: Unreached, setting: Setting
) -> Iterator[NodeFinding]:
    for node in setting.nodes:
        one = facts[node]
        yield from _memlock(node, one, several=len(setting.nodes) > 1)
        yield from _shm(node, one, setting.ranks_per_node)
        yield from _clock(node, one)
        yield from _left_over(node, one)
        yield from _gpus(node, one)
    yield from _versions(facts, setting.nodes)
    yield from _reach(facts, unreached, setting.nodes)


def _memlock(node: str, facts: NodeFacts, *, several: bool) -> Iterator[NodeFinding]:
    limit = facts.memlock_bytes
    if not facts.rdma or limit is None or limit >= _MEMLOCK_MIN_BYTES:
        return
    yield NodeFinding(
        nodes=(node,),
        check="memlock",
        level="hard" if several else "warning",
        text=f"only {limit / _MIB:.1f} MiB of memory may be locked, and {facts.rdma[0]} needs it "
        "locked: transfers fail with 'Cannot allocate memory'",
        remedy="LimitMEMLOCK=infinity in slurmd.service, and PropagateResourceLimitsExcept=MEMLOCK "
        "in slurm.conf; until then ulimit -l unlimited before you submit",
    )


def _shm(node: str, facts: NodeFacts, ranks: int) -> Iterator[NodeFinding]:
    size, free = facts.shm_bytes, facts.shm_free_bytes
    if size is None or free is None or free >= _SHM_LOW_BYTES * ranks:
        return
    yield NodeFinding(
        nodes=(node,),
        check="shm",
        level="hard" if free < _SHM_MIN_BYTES * ranks else "warning",
        text=f"/dev/shm has {free / _MIB:.0f} MiB free of {size / _MIB:.0f} MiB for {ranks} "
        f"rank{'s' if ranks > 1 else ''}; NCCL, gloo and data loaders share memory there",
        remedy="ls -l /dev/shm shows what is left in it; mount -o remount,size=50% /dev/shm makes "
        "it larger, --shm-size=8g that of a container",
    )


def _clock(node: str, facts: NodeFacts) -> Iterator[NodeFinding]:
    sure_s = abs(facts.clock_ahead_s) - facts.clock_within_s
    if sure_s < _CLOCK_WARN_S:
        return
    way = "ahead of" if facts.clock_ahead_s > 0 else "behind"
    yield NodeFinding(
        nodes=(node,),
        check="clock",
        level="hard" if sure_s >= _CLOCK_HARD_S else "warning",
        text=f"its clock is {abs(facts.clock_ahead_s):.1f} s {way} that of the first node; a "
        "deadline to save by is missed by as much",
        remedy="chronyc tracking, or timedatectl: the node's clock is not synchronised",
    )


def _left_over(node: str, facts: NodeFacts) -> Iterator[NodeFinding]:
    if facts.survivors:
        pids = ", ".join(map(str, facts.survivors[:_SHOWN]))
        yield NodeFinding(
            nodes=(node,),
            check="processes",
            level="hard",
            text=f"processes of an earlier attempt cannot be killed: {pids}",
            remedy="they wait in the kernel for a file system or a driver (state D in ps); the "
            "node has to be rebooted",
        )


def _gpus(node: str, facts: NodeFacts) -> Iterator[NodeFinding]:
    for gpu in facts.gpus:
        if gpu.used_bytes < max(_GPU_LOW_BYTES, gpu.total_bytes // 50):
            continue
        who = ", ".join(
            f"{user.pid} ({user.name}{', yours' if user.ours else ''})"
            for user in gpu.users[:_SHOWN]
        )
        yield NodeFinding(
            nodes=(node,),
            check="gpu",
            level="hard" if gpu.used_bytes > _GPU_HARD_RATIO * gpu.total_bytes else "warning",
            text=f"{gpu.used_bytes / _GIB:.1f} of {gpu.total_bytes / _GIB:.1f} GiB of GPU "
            f"{gpu.name} are taken before the run starts"
            + (f", by process {who}" if who else "; no process is seen on it"),
            remedy="end what is yours there; the rest is for an admin: nvidia-smi shows it, "
            "and memory without a process wants nvidia-smi --gpu-reset",
        )


def _versions(facts: Mapping[str, NodeFacts], nodes: Sequence[str]) -> Iterator[NodeFinding]:
    for what, level in _WHY_EQUAL.items():
        have = {node: facts[node].versions.get(what, "none") for node in nodes}
        counts = Counter(have.values())
        most = max(counts.values())
        usual = next(have[node] for node in nodes if counts[have[node]] == most)
        for node in nodes:
            if have[node] != usual:
                like = [other for other in nodes if have[other] == usual]
                yield NodeFinding(
                    nodes=(node,),
                    check="versions",
                    level=level,
                    text=f"{what} is {have[node]} here and {usual} on {_listed(like)}",
                    remedy="one environment on a file system that all nodes see, or one image, "
                    "keeps them equal"
                    if what != "NVIDIA driver"
                    else "the node was missed by an update of its driver",
                )


def _reach(
    facts: Mapping[str, NodeFacts], unreached: Unreached, nodes: Sequence[str]
) -> Iterator[NodeFinding]:
    """Blame the fewest nodes that explain all that failed; of two alike, the later one."""
    failed = {(here, there) for here, those in unreached.items() for there in those}
    while failed:
        into, out = Counter(there for _, there in failed), Counter(here for here, _ in failed)
        bad = max(nodes, key=lambda node: (into[node] + out[node], into[node], nodes.index(node)))
        vain = [here for here in nodes if (here, bad) in failed]
        lost = [there for there in nodes if (bad, there) in failed]
        yield _unreachable(bad, facts[bad], vain, lost, unreached)
        failed = {pair for pair in failed if bad not in pair}


def _unreachable(
    node: str, facts: NodeFacts, vain: Sequence[str], lost: Sequence[str], unreached: Unreached
) -> NodeFinding:
    at = f"{facts.address}" + (f" ({facts.interface})" if facts.interface else "")
    parts = []
    if vain:
        parts.append(f"{_listed(vain)} cannot reach it at {at}: {unreached[vain[0]][node]}")
    if lost:
        parts.append(f"it cannot reach {_listed(lost)}: {unreached[node][lost[0]]}")
    return NodeFinding(
        nodes=(node,),
        check="network",
        level="hard",
        text="; ".join(parts),
        remedy="scontrol show node tells its NodeAddr; ports between compute nodes have to be open "
        "in its firewall",
    )


def _listed(nodes: Sequence[str]) -> str:
    more = len(nodes) - _SHOWN
    return ", ".join(nodes[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
