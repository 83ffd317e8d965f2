"""Batsim's JSON workloads: jobs of whole one-CPU machines with profiles that say how long they run.

Profiles that are amounts of computing and communication need Batsim's model of a platform to become
seconds; they are refused.
"""

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from headrace.core.states import State
from headrace.schedule.cluster import Cluster, NodeSpec
from headrace.schedule.queue import Queued
from headrace.schedule.request import Request
from headrace.simulate.errors import RowInvalid
from headrace.simulate.readers.remarks import BadField, Remarks, finish, integer, number
from headrace.simulate.trace import Trace, TraceJob

_DELAYS = ("delay", "delayprofile")
_SEQUENCES = ("composed", "sequence", "sequential_composition", "sequenceprofile")
_MACHINES_MAX = 1_000_000
_DEPTH_MAX = 20


def read(text: str, *, name: str) -> Trace:
    """Raise ``RowInvalid``."""
    whole = _parse(text, name)
    remarks = Remarks(name)
    profiles = whole.get("profiles")
    entries = whole.get("jobs")
    if not isinstance(profiles, dict) or not isinstance(entries, list):
        raise RowInvalid(
            name,
            line=None,
            field="keys",
            value=", ".join(map(str, whole)),
            rule='a Batsim workload has "jobs" (a list) and "profiles" (by name)',
            remedy="check that this is the workload, not the platform or the result",
        )
    jobs = []
    for position, entry in enumerate(entries):
        try:
            jobs.append(_job(entry, profiles, remarks))
        except BadField as bad:
            remarks.damaged(None, BadField(f"jobs[{position}].{bad.field}", bad.value, bad.rule))
    return finish(jobs, remarks, cluster=_cluster(whole, jobs, remarks))


def _parse(text: str, name: str) -> dict[str, Any]:
    try:
        whole = json.loads(text)
    except json.JSONDecodeError as error:
        at, rule = error.lineno, error.msg
    except (ValueError, RecursionError) as error:
        at, rule = 1, str(error)
    else:
        if isinstance(whole, dict):
            return whole
        at, rule = 1, "a workload is one JSON object"
    raise RowInvalid(
        name,
        line=at,
        field="JSON",
        value=text.split("\n")[at - 1],
        rule=rule,
        remedy="check that the file was written to its end",
    )


def _cluster(whole: dict[str, Any], jobs: list[TraceJob], remarks: Remarks) -> Cluster:
    try:
        machines = integer("nb_res", whole.get("nb_res", 0))
        if machines > _MACHINES_MAX:
            raise BadField("nb_res", machines, f"it is {_MACHINES_MAX:,} at most")
    except BadField as bad:
        raise RowInvalid(
            remarks.name, line=None, field=bad.field, value=bad.value, rule=bad.rule
        ) from None
    if not machines:
        machines = max((one.job.request.nodes_min for one in jobs), default=1)
        remarks.say(f"no nb_res: the platform has {machines} machines, as the largest job")
    return Cluster(nodes=tuple(NodeSpec(name=str(i), cpus=1) for i in range(machines)))


def _job(entry: object, profiles: Mapping[str, Any], remarks: Remarks) -> TraceJob:
    if not isinstance(entry, dict):
        raise BadField("job", entry, "a job is a JSON object")
    identity = entry.get("id")
    if isinstance(identity, bool) or not isinstance(identity, int | str) or identity == "":
        raise BadField("id", identity, "it is a number or a text")
    machines = integer("res", entry.get("res"), least=1)
    if machines > _MACHINES_MAX:
        raise BadField("res", machines, f"it is {_MACHINES_MAX:,} at most")
    run_s = _duration_s(str(entry.get("profile")), profiles, _DEPTH_MAX)
    limit_s: float | None = number("walltime", entry.get("walltime", -1), least=-1)
    if limit_s is not None and limit_s < 0:
        limit_s = None
    state = State.COMPLETED
    if limit_s is not None and run_s > limit_s:
        remarks.job("ran past their walltime; stopped there, as Batsim does")
        run_s, state = limit_s, State.TIMEOUT
    return TraceJob(
        job=Queued(
            id=str(identity),
            request=_request(machines),
            submitted_s=number("subtime", entry.get("subtime")),
            limit_s=limit_s,
            user=str(entry.get("user", "")),
        ),
        run_s=run_s,
        state=state,
    )


def _duration_s(name: str, profiles: Mapping[str, Any], depth: int) -> float:
    profile = profiles.get(name)
    if not isinstance(profile, dict):
        raise BadField("profile", name, 'it is one of those under "profiles"')
    kind = str(profile.get("type")).lower()
    if kind in _DELAYS:
        return number(f"profiles.{name}.delay", profile.get("delay"))
    parts = profile.get("seq", profile.get("profiles"))
    if kind in _SEQUENCES and isinstance(parts, list) and len(parts) <= 1000 and depth:
        times = integer("repeat", profile.get("repeat", profile.get("nb", 1)))
        total_s = sum(_duration_s(str(part), profiles, depth - 1) for part in parts)
        return number(f"profiles.{name}", times * total_s)
    rule = "only delays, and sequences of them, last a known time; others need Batsim's platform"
    raise BadField(f"profiles.{name}.type", profile.get("type"), rule)


@cache
def _request(machines: int) -> Request:
    return Request(nodes_min=machines, nodes_max=machines)
