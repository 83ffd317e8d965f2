"""From one job description to the runs it stands for. Pure."""

from collections.abc import Iterator
from pathlib import Path

from headrace.engines.contract import Caller
from headrace.engines.local.site import Site
from headrace.engines.local.submission import Element, Submission, WaitsFor
from headrace.schedule.request import Request
from headrace.spec.family import element_spec, expand
from headrace.spec.job import JobSpec
from headrace.spec.write import to_yaml


def elements_of(
    spec: JobSpec,
    *,
    number: int,
    request: Request,
    after: tuple[WaitsFor, ...],
    host: str,
    who: Caller,
    runs: Path,
    site: Site,
    token: str,
    now_s: float,
) -> list[Element]:
    """Ids are ``<name>-<number>``, for elements of an array or a sweep ``<name>-<number>_<i>``."""
    family = f"{spec.name}-{number}"
    account = spec.account or next(iter(site.accounts_of(who.name)), "")
    return [
        Element(
            submission=Submission(
                host=host,
                run_id=family if index is None else f"{family}_{index}",
                number=number,
                name=spec.name,
                user=who.name,
                token=token,
                submitted_s=now_s,
                priority=spec.priority,
                request=request,
                after=after,
                array_id=None if index is None else family,
                array_index=index,
                array_throttle=spec.array.throttle if spec.array else None,
                restarts_max=spec.restart.max,
                restart_on=tuple(spec.restart.on),
                limit_s=spec.time_s,
                account=account,
                qos=spec.qos or site.default_qos(account, who.name),
                partitions=tuple(spec.partition.split(",")) if spec.partition else (),
                constraint=spec.constraint,
                reservation=spec.reservation,
                uid=who.uid,
                runs=str(runs),
            ),
            job=to_yaml(member),
        )
        for index, member in _members(spec)
    ]


def _members(spec: JobSpec) -> Iterator[tuple[int | None, JobSpec]]:
    elements = expand(spec)
    if not elements:
        yield None, spec
    for element in elements:
        yield element.index, element_spec(spec, element)
