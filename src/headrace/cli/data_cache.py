"""``headrace data cache``: what copies of data this machine holds, and letting them go."""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.data.cache.folder import CachedSet, CacheFolder

app = typer.Typer(
    rich_markup_mode=None, no_args_is_help=True, help="Look at copies of data on this machine."
)

_GIB = 1 << 30
AsJson = Annotated[bool, typer.Option("--json", help="Print for a program.")]


@app.command()
def ls(as_json: AsJson = False) -> None:
    """List the copies that runs made here: of what, how large, last used when, in use by whom."""
    from headrace.cli.table import ago, columns
    from headrace.core.records import encode

    rows = [_row(tier, cache, one) for tier, cache in _folders() for one in cache.sets()]
    if as_json:
        typer.echo(encode({"schema": 1, "sets": rows}).decode())
        return
    if not rows:
        typer.echo("no copies of data are here", err=True)
        return
    now_s = time.time()
    shown = [
        (
            str(row["tier"]),
            f"{row['near_bytes'] / _GIB:.2f} of {row['size_bytes'] / _GIB:.2f} GiB",
            str(row["files"]),
            ago(row["used_s"], now_s),
            ", ".join(row["runs"]) or "-",
            str(row["source"]) + (f" ({row['bad']} bad)" if row["bad"] else ""),
        )
        for row in rows
    ]
    typer.echo(columns([("TIER", "SIZE", "FILES", "UNUSED FOR", "RUNS", "SOURCE"), *shown]))


@app.command()
def clear(
    sources: Annotated[
        list[Path] | None, typer.Argument(help="Only copies of these files and folders.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would go; delete nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Delete copies that no running run uses. Sources, and what is in use, are never touched."""
    from headrace.core.records import encode
    from headrace.data.cache.owner import owned, this_process

    wanted = {os.path.realpath(source) for source in sources or ()}
    gone: list[dict[str, Any]] = []
    kept: list[dict[str, Any]] = []
    for tier, cache in _folders():
        chosen = [one for one in cache.sets() if not wanted or one.listing.source in wanted]
        if dry_run:
            for one in chosen:
                (kept if one.users() else gone).append(_row(tier, cache, one))
            continue
        with owned(cache.root, this_process("headrace data cache clear")):
            cache.sweep()
            for one in chosen:
                row = _row(tier, cache, one)
                (gone if cache.let_go(one.key) else kept).append(row)
    if as_json:
        typer.echo(encode({"schema": 1, "cleared": gone, "kept": kept}).decode())
        return
    verb = "would be deleted" if dry_run else "deleted"
    for row in gone:
        typer.echo(f"{verb}: {row['near_bytes'] / _GIB:.2f} GiB, {row['source']} ({row['tier']})")
    for row in kept:
        typer.echo(f"in use by {', '.join(row['runs'])}: {row['source']} ({row['tier']})", err=True)


def _folders() -> "Iterator[tuple[str, CacheFolder]]":
    from headrace.data.cache.folder import find_folder
    from headrace.data.cache.limit import TIERS, place

    for tier in TIERS:
        found = find_folder(place(tier, os.environ))
        if found is not None:
            yield tier, found


def _row(tier: str, cache: "CacheFolder", one: "CachedSet") -> dict[str, Any]:
    present = one.present()
    return {
        "tier": tier,
        "folder": str(cache.root),
        "source": one.listing.source,
        "size_bytes": one.listing.size_bytes,
        "near_bytes": sum(file.size_bytes for file in present),
        "files": len(present),
        "used_s": one.used_s(),
        "runs": sorted({user.run_id for user in one.users()}),
        "bad": one.bad(),
    }
