"""``headrace reserve [NAME ...]``: keep nodes for somebody or for maintenance; list; give back."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from headrace.schedule.cluster import Reservation

app = typer.Typer(rich_markup_mode=None, add_completion=False)

Names = list[str] | None


@app.command()
def reserve(
    name: Annotated[str | None, typer.Argument(help="Name; without one, list them all.")] = None,
    nodes: Annotated[Names, typer.Option(help="Node names, with commas; default all.")] = None,
    start: Annotated[str, typer.Option(help="now, +2h, or 2026-11-26T08:00 (local).")] = "now",
    duration: Annotated[str, typer.Option(help="How long: 4h, 1-12, 90m.")] = "1h",
    user: Annotated[Names, typer.Option(help="Users it is for.")] = None,
    account: Annotated[Names, typer.Option(help="Accounts it is for.")] = None,
    maintenance: Annotated[bool, typer.Option("--maintenance", help="For nobody.")] = False,
    delete: Annotated[bool, typer.Option("--delete", help="Give NAME back.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print for a program.")] = False,
) -> None:
    """Keep nodes from START for DURATION. Runs that would reach into that time wait."""
    import time

    from headrace.cli.connection import connect
    from headrace.schedule.cluster import Reservation

    client = connect()
    if name is None:
        found = client.reservations()
    elif delete:
        found = client.unreserve(name)
    else:
        start_s = _moment_s(start, time.time())
        asked = Reservation(
            name=name,
            start_s=start_s,
            end_s=start_s + _duration_s(duration, "--duration"),
            nodes=_words(nodes) or tuple(node.name for node in client.nodes()),
            users=_words(user),
            accounts=_words(account),
            maintenance=maintenance,
        )
        found = client.reserve(asked)
    _show(found, as_json=as_json)


def _words(given: Names) -> tuple[str, ...]:
    return tuple(word for text in given or () for word in text.split(",") if word)


def _duration_s(text: str, where: str) -> int:
    from headrace.core.units import parse_duration_s

    try:
        return parse_duration_s(text)
    except ValueError as error:
        raise typer.BadParameter(f'"{text}": {error}', param_hint=where) from None


def _moment_s(text: str, now_s: float) -> float:
    from datetime import datetime

    if text == "now":
        return now_s
    if text.startswith("+"):
        return now_s + _duration_s(text[1:], "--start")
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        rule = "a start is now, +2h, or a moment such as 2026-11-26T08:00"
        raise typer.BadParameter(f'"{text}": {rule}', param_hint="--start") from None


def _show(found: "list[Reservation]", *, as_json: bool) -> None:
    from datetime import datetime

    if as_json:
        from headrace.core.records import encode

        typer.echo(encode({"schema": 1, "reservations": found}).decode())
        return
    from headrace.cli.table import columns

    def moment(at_s: float) -> str:
        return datetime.fromtimestamp(at_s).strftime("%Y-%m-%d %H:%M:%S")

    rows = [
        (
            one.name,
            moment(one.start_s),
            moment(one.end_s),
            ",".join(one.nodes),
            "maintenance" if one.maintenance else ",".join((*one.users, *one.accounts)),
        )
        for one in found
    ]
    typer.echo(columns([("NAME", "FROM", "TO", "NODES", "FOR"), *rows]))
