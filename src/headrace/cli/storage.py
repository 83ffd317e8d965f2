"""``headrace storage``: what lies under a path, what follows, a layout set, speed measured."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from headrace.cluster.storage.advice import Advice
    from headrace.cluster.storage.apply import Granted
    from headrace.cluster.storage.layouts import Proposal, Use
    from headrace.cluster.storage.measure import Speed, Wish
    from headrace.cluster.storage.storage import Layout, Storage

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def storage(
    path: Annotated[Path, typer.Argument(help="A folder or file; it need not exist yet.")],
    purpose: Annotated[
        str | None, typer.Option("--for", help="What the folder is for: checkpoint or data.")
    ] = None,
    file_size: Annotated[
        str | None, typer.Option("--file-size", help="Of a usual file there: 4G.")
    ] = None,
    ranks: Annotated[
        int, typer.Option("--ranks", min=1, help="How many write or read at once.")
    ] = 1,
    apply: Annotated[
        bool, typer.Option("--apply", help="Set the layout that is advised, on an empty folder.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --apply: print the command.")
    ] = False,
    bench: Annotated[bool, typer.Option("--bench", help="Measure it.")] = False,
    size: Annotated[
        str | None, typer.Option("--size", help="With --bench: bytes to write in all.")
    ] = None,
    time: Annotated[
        str, typer.Option("--time", help="With --bench: at most, for each number.")
    ] = "10s",
    jobs: Annotated[
        int, typer.Option("--jobs", min=1, max=256, help="With --bench: files at once.")
    ] = 4,
    read_on: Annotated[
        str | None,
        typer.Option(
            "--read-on", help='With --bench: words that run a command elsewhere: "ssh n2".'
        ),
    ] = None,
    own: Annotated[
        bool, typer.Option("--own", help="With --bench: not with fio, though it is there.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print for a program.")] = False,
) -> None:
    """Show what file system lies under PATH, how it is laid out, and what follows for a run.

    A file system that does not answer is reported, not waited for; the exit status is 5 then.
    """
    from headrace.cluster.storage import of
    from headrace.cluster.storage.advice import advise
    from headrace.core.errors import Unreachable

    uses = _uses(purpose, file_size, ranks)
    found = of(path)
    if apply:
        _apply(found, uses, dry_run, as_json)
        return
    if bench:
        _bench(found, _wish(size, time, jobs, read_on, own), as_json)
        return
    advice = advise(found, uses)
    if as_json:
        _print_json(storage=found, advice=advice)
    else:
        from headrace.cli.table import columns

        typer.echo(found.path)
        typer.echo(columns(list(rows(found))))
        for line in advice_lines(advice):
            typer.echo(line)
    if not found.answers:
        raise typer.Exit(Unreachable.exit_status)


def _uses(purpose: str | None, file_size: str | None, ranks: int) -> "list[Use]":
    """What is asked about: one purpose, or both."""
    from headrace.cluster.storage.layouts import Purpose, Use
    from headrace.core.units import parse_bytes

    if purpose is not None and purpose not in list(Purpose):
        raise typer.BadParameter(f"{purpose} is neither checkpoint nor data", param_hint="--for")
    file_bytes = None if file_size is None else _quantity(parse_bytes, file_size, "--file-size")
    wanted = list(Purpose) if purpose is None else [Purpose(purpose)]
    return [Use(purpose=one, file_bytes=file_bytes, ranks=ranks) for one in wanted]


def _apply(found: "Storage", uses: "Sequence[Use]", dry_run: bool, as_json: bool) -> None:
    import shlex

    from headrace.cluster.storage.apply import apply, check
    from headrace.cluster.storage.errors import NotAnswering
    from headrace.cluster.storage.layouts import propose

    if len(uses) != 1:
        raise typer.BadParameter("say what the folder is for", param_hint="--for")
    if not found.answers:
        raise NotAnswering(found.path, found.source)
    proposal = check(found, propose(found, uses[0]))
    command = shlex.join(proposal.command)
    granted = None if dry_run else apply(found, proposal)
    if as_json:
        _print_json(command=command, asked=proposal.layout, granted=granted)
        return
    typer.echo(command)
    if granted is not None:
        typer.echo(granted_text(granted, proposal))


def _quantity(parse: "Callable[[str], int]", text: str, flag: str) -> int:
    try:
        return parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=flag) from None


def _wish(size: str | None, time: str, jobs: int, read_on: str | None, own: bool) -> "Wish":
    import shlex

    from headrace.cluster.storage.measure import Wish
    from headrace.core.units import parse_bytes, parse_duration_s

    return Wish(
        size_bytes=None if size is None else _quantity(parse_bytes, size, "--size"),
        seconds=max(1, _quantity(parse_duration_s, time, "--time")),
        jobs=jobs,
        other=tuple(shlex.split(read_on or "")),
        own=own,
    )


def _bench(found: "Storage", wish: "Wish", as_json: bool) -> None:
    from headrace.cli.progress import Progress
    from headrace.cli.table import columns
    from headrace.cluster.storage.measure import measure

    with Progress() as progress:
        measured = measure(found, wish, progress)
    if as_json:
        _print_json(storage=found, measured=measured)
        return
    size_gib = measured.size_bytes / (1 << 30)
    typer.echo(f"{measured.path}: {measured.jobs} files, {size_gib:.2f} GiB, by {measured.worker}")
    typer.echo(columns([speed_row(speed) for speed in measured.speeds]))
    for note in measured.notes:
        typer.echo(f"- {note}")


def speed_row(speed: "Speed") -> tuple[str, ...]:
    """What, bytes a second, operations a second, the slow ones, how it was taken."""
    mib_s = "" if speed.bytes_s is None else f"{speed.bytes_s / (1 << 20):10,.1f} MiB/s"
    slow = "" if speed.p99_ms is None else f"99 % in {speed.p99_ms:,.2f} ms"
    return speed.what, mib_s, f"{speed.operations_s:10,.0f}/s", slow, speed.how


def granted_text(granted: "Granted", proposal: "Proposal") -> str:
    if granted.layout is None:
        return "set; what was granted is not told"
    got = layout_text(granted.layout)
    return f"granted: {got}" + (
        "" if granted.as_asked else f"; asked was {layout_text(proposal.layout)}"
    )


def _print_json(**facts: object) -> None:
    from headrace.core.records import encode

    typer.echo(encode({"schema": 1, **facts}).decode())


def advice_lines(advice: "Sequence[Advice]") -> "Iterator[str]":
    for one in advice:
        mark = {"act": "!", "know": "-"}[one.level]
        yield ""
        yield f"{mark} {one.topic}: {one.text}"
        yield f"  → {one.remedy}"


def rows(found: "Storage") -> Iterator[tuple[str, str]]:
    """(what, value) in the order of interest; what is not known is not there."""
    from headrace.cluster.storage.kinds import NAMES
    from headrace.cluster.storage.sizes import format_size

    version = f" {found.version}" if found.version else ""
    name = NAMES.get(found.kind, found.kind)
    yield "file system", f"{name}{version}, {found.source or '?'} on {found.mount} ({found.fstype})"
    if not found.answers:
        yield "state", "it does not answer"
    if found.looked_at != found.path:
        yield "looked at", found.looked_at
    if found.device is not None:
        spins = {None: "", True: ", rotating", False: ", not rotating"}[found.device.rotating]
        yield "disk", f"{found.device.name}{', NVMe' if found.device.nvme else spins}"
    if found.size_bytes and found.free_bytes is not None:
        yield "room", f"{format_size(found.free_bytes)} of {format_size(found.size_bytes)} free"
    if found.inodes and found.inodes_free is not None:
        yield "inodes", f"{found.inodes_free:,} of {found.inodes:,} free"
    if found.quota is not None:
        used, hard = found.quota.used_bytes, found.quota.hard_bytes or found.quota.soft_bytes
        limit = "no limit" if hard is None else f"of {format_size(hard)}"
        yield "your quota", f"{format_size(used)} used, {limit}"
    if found.block_bytes:
        sub = found.subblock_bytes
        yield (
            "block",
            format_size(found.block_bytes) + (f", in parts of {format_size(sub)}" if sub else ""),
        )
    if found.flock is not None:
        yield "flock", FLOCK[found.flock]
    if found.layout is not None:
        yield "new files" if found.layout.default else "layout", layout_text(found.layout)
    yield from _servers(found)
    if found.offline:
        yield "state", "offline: its bytes are on tape or in a cloud"
    for missed in found.unknown:
        yield "not known", missed


FLOCK = {
    "flock": "holds on all nodes",
    "localflock": "holds on this node alone",
    "noflock": "refused (mounted without it)",
}


def _servers(found: "Storage") -> Iterator[tuple[str, str]]:
    for kind, what in (("ost", "data targets"), ("mdt", "metadata targets")):
        targets = [one for one in found.targets if one.kind == kind]
        out = sum(not one.active for one in targets)
        if targets:
            yield what, f"{len(targets)}" + (f", {out} out of use" if out else "")
    if found.rpcs_in_flight is not None:
        yield "requests in flight", f"{found.rpcs_in_flight} a target"
    if found.pools:
        yield "pools", ", ".join(found.pools)
    if found.volume is not None:
        volume = found.volume
        down = [f"{one.host}:{one.path}" for one in volume.bricks if one.up is False]
        copies = f", {volume.replica} copies" if volume.replica > 1 else ""
        spare = f", any {volume.redundancy} may be lost" if volume.redundancy else ""
        yield "volume", f"{volume.name}: {len(volume.bricks)} bricks{copies}{spare}"
        if down:
            yield "bricks down", ", ".join(down)


def layout_text(layout: "Layout") -> str:
    """ "8 x 4 MiB", or each part with the byte it ends at."""
    from headrace.cluster.storage.sizes import format_size

    parts = []
    for part in layout.components:
        if part.pattern == "mdt":
            words = "on the metadata server"
        else:
            count = "all" if part.count < 0 else str(part.count)
            pattern = "" if part.pattern == "raid0" else f" {part.pattern}"
            words = f"{count} x {format_size(part.size_bytes)}{pattern}"
        pool = f" in {part.pool}" if part.pool else ""
        end = "" if part.end_bytes is None else f" up to {format_size(part.end_bytes)}"
        parts.append(words + pool + end)
    copies = f", {layout.mirrors} copies" if layout.mirrors > 1 else ""
    return ", then ".join(parts) + copies
