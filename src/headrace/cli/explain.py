"""``headrace explain RUN``: why it waits, when it starts, and what would start it sooner."""

from collections.abc import Iterator, Sequence
from datetime import tzinfo
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from headrace.schedule.explain import Entitlement, Explanation, Sooner, Standing
    from headrace.schedule.forecast import Forecast
    from headrace.schedule.multifactor import Factors
    from headrace.schedule.reason import LimitHit

_LIMITS = 6
app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def explain(
    run: Annotated[str, typer.Argument(help="Run id or number that waits.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print for a program.")] = False,
) -> None:
    """Show why RUN waits, who is before it, when it starts if nothing changes, and the smallest
    change that would start it sooner. A change is meant as a run submitted now, instead of RUN."""
    from headrace.cli.connection import connect

    found = connect().explain(run)
    if as_json:
        from headrace.core.records import encode, to_builtins

        told = to_builtins(found)
        assert isinstance(told, dict)
        typer.echo(encode({"schema": 1, **told}).decode())
        return
    from headrace.cli.table import columns

    typer.echo(columns(list(facts(found, None))))


def facts(found: "Explanation", zone: tzinfo | None) -> Iterator[tuple[str, str]]:
    """The rows of the answer, with times of ``zone``; None is this machine's."""
    from headrace.cli.clock import clock
    from headrace.schedule.reason import sentence

    yield "run", found.run
    for index, reason in enumerate(found.reasons):
        said = sentence(reason, lambda time_s: clock(time_s, found.now_s, zone))
        yield ("also" if index else "why"), said
    if found.word:
        yield "slurm", found.word
    if found.standing is not None:
        yield "place", place(found.standing)
    if found.factors is not None:
        yield "priority", priority(found.factors)
    if found.shares:
        yield "shares", "; ".join(map(shares, found.shares))
    for index, one in enumerate(found.limits[:_LIMITS]):
        yield ("" if index else "limits"), limit(one)
    yield "starts", expected(found.run, found.forecast, found.now_s, zone)
    for index, said in enumerate(advice(found, zone)):
        yield ("" if index else "sooner"), said
    for index, note in enumerate(found.notes):
        yield ("" if index else "note"), note


def shares(one: "Entitlement") -> str:
    """ "account lab1 has 60 % of the shares and 94 % of the usage"; of its level of the tree."""
    used = f"{100 * one.used:.0f} % of the usage"
    if one.user is not None:
        return f"{100 * one.used:.0f} % of that is {one.user}'s"
    promised = "" if one.promised is None else f"{100 * one.promised:.0f} % of the shares and "
    return f"account {one.account} has {promised}{used}"


def limit(hit: "LimitHit") -> str:
    """ "account lab1: GrpTRES gpu 12 of 16 in use, this run needs 8"."""
    from headrace.schedule.reason import amount

    name = f"{hit.limit} {hit.resource}".rstrip()
    used, allowed, needed = (amount(hit, one) for one in (hit.used, hit.allowed, hit.needed))
    each = hit.limit in ("MaxWall", "MaxTRES", "MaxTRESMins", "MaxTRESPerNode")
    held = f"at most {allowed}" if each else f"{used} of {allowed} in use"
    return f"{hit.owner}: {name} {held}, this run needs {needed}"


def place(standing: "Standing") -> str:
    if not standing.before:
        return f"{standing.place} of {standing.of} that wait"
    names = ", ".join(standing.before)
    more = standing.place - 1 - len(standing.before)
    rest = f" and {more} more" if more else ""
    return f"{standing.place} of {standing.of} that wait, behind {names}{rest}"


def priority(factors: "Factors") -> str:
    """ "10234: fairshare 8000, age 1200, nice -10": what adds something, the most first."""
    parts = {
        name: getattr(factors, name).weighted
        for name in ("age", "assoc", "fairshare", "job_size", "partition", "qos", "site")
    }
    parts |= {name: factor.weighted for name, factor in factors.tres.items()}
    parts["nice"] = -factors.nice
    said = [
        f"{name.replace('_', ' ')} {round(value)}"
        for name, value in sorted(parts.items(), key=lambda item: -item[1])
        if round(value)
    ]
    return f"{factors.total}: {', '.join(said)}" if said else str(factors.total)


def expected(run: str, forecast: "Forecast", now_s: float, zone: tzinfo | None) -> str:
    """ "tomorrow 03:00, in 12h50m, on n0, n1, if nothing changes"."""
    from headrace.cli.clock import clock
    from headrace.cli.table import ago
    from headrace.schedule.forecast import unknown_sentence

    if forecast.start_s is None:
        assert forecast.unknown is not None, "a start that is not known has a reason"
        return "not known: " + unknown_sentence(
            run, forecast.unknown, lambda time_s: clock(time_s, now_s, zone)
        )
    if forecast.start_s <= now_s:
        return "at once, as far as Slurm knows" if forecast.bound else "now"
    nodes = f", on {', '.join(forecast.nodes[:4])}" if forecast.nodes else ""
    more = f" and {len(forecast.nodes) - 4} more" if len(forecast.nodes) > 4 else ""
    when, wait = clock(forecast.start_s, now_s, zone), ago(now_s, forecast.start_s)
    if forecast.bound:
        return f"not before {when}, in {wait}{nodes}{more}"
    return f"{when}, in {wait}{nodes}{more}, if nothing changes"


def advice(found: "Explanation", zone: tzinfo | None) -> Iterator[str]:
    """One line for each start that can be had: "with 6 nodes or 11h it starts at 14:10 ..."."""
    from headrace.cli.clock import at, clock
    from headrace.schedule.change import words

    now_s = found.now_s
    groups: dict[str, list[Sooner]] = {}
    for one in found.sooner:
        groups.setdefault(at(one.start_s, now_s, zone), []).append(one)
    old_s = found.forecast.start_s
    instead = "" if old_s is None else f" instead of {clock(old_s, now_s, zone)}"
    for when, same in groups.items():
        starts = "starts" if not found.word or when == "now" else "starts not before"
        when = when.removeprefix("at ") if starts != "starts" else when
        yield f"with {_either([words(one.change) for one in same])} it {starts} {when}{instead}"
        instead = ""


def _either(options: Sequence[str]) -> str:
    *first, last = options
    return f"{', '.join(first)} or {last}" if first else last
