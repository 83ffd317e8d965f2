"""``headrace simulate TRACE``: a recorded workload under other policies, or with other nodes."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.core.errors import HeadraceError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from headrace.simulate.comparison import Comparison
    from headrace.simulate.replay import Replay
    from headrace.simulate.rows import Row
    from headrace.simulate.trace import Trace

app = typer.Typer(rich_markup_mode=None, add_completion=False)


class OptionInvalid(UsageError):
    """The value of an option cannot be used."""

    code = "HR-SIM-012"

    def __init__(self, option: str, text: str, rule: str, example: str) -> None:
        super().__init__(f'{option}: "{text}"', why=rule, remedy=f"{option} {example}")


class NotWritten(HeadraceError):
    """A file of results could not be written."""

    code = "HR-SIM-013"

    def __init__(self, path: Path, detail: str) -> None:
        super().__init__(
            f"cannot write {path}: {detail}",
            why="the results are ready, but the file system refuses them",
            remedy="name a file in a folder of yours that exists and has room",
        )


@app.command()
def simulate(
    trace: Annotated[Path, typer.Argument(help="SWF, Batsim, sacct, Philly, CSV ...; may be .xz.")],
    policies: Annotated[
        list[str] | None, typer.Option("--policy", help="Repeat it to compare; the first counts.")
    ] = None,
    nodes: Annotated[
        str | None, typer.Option("--nodes", help="Nodes more or less: +16, +4:a100, -8.")
    ] = None,
    cluster: Annotated[
        str | None, typer.Option("--cluster", help="The nodes: 321x8gpu, 64xH100:8,96cpu+16x64cpu.")
    ] = None,
    slurm_conf: Annotated[
        Path | None, typer.Option("--slurm-conf", help="Nodes, partitions, weights of a site.")
    ] = None,
    sacctmgr: Annotated[
        Path | None, typer.Option("--sacctmgr", help="Its accounts, shares, QOS and limits.")
    ] = None,
    form: Annotated[
        str | None, typer.Option("--format", help="Of TRACE, where its content does not tell.")
    ] = None,
    history: Annotated[
        str | None, typer.Option("--history", help="The policy the cluster had, to check against.")
    ] = None,
    failures: Annotated[
        str | None, typer.Option("--failures", help="rsc1, rsc2, llama3; rate=4,repair=8h.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of failures and intervals.")] = 0,
    curve: Annotated[
        str | None, typer.Option("--curve", help="Waits with so many nodes more: 0,4,8,16.")
    ] = None,
    wait_under: Annotated[
        str, typer.Option("--wait-under", help="What 9 of 10 jobs may wait, for --curve.")
    ] = "4h",
    starts: Annotated[
        Path | None, typer.Option("--starts", help="Write when and where each job ran, as CSV.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print for a program.")] = False,
    png: Annotated[Path | None, typer.Option("--png", help="Write the plots.")] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write one page with all.")] = None,
) -> None:
    """Replay TRACE under policies; say first how far a replay can be believed."""
    from headrace.cli.progress import Progress
    from headrace.core.records import encode
    from headrace.simulate.comparison import Scenario, compare
    from headrace.simulate.failures import parse_failures

    scenario = Scenario(
        policies=tuple(dict.fromkeys(policies or ("fifo", "easy"))),
        nodes=nodes,
        history=history,
        failures=None if failures is None else parse_failures(failures),
        seed=seed,
        added=_counts(curve),
        allocations=starts is not None,
    )
    limit_s = _limit_s(wait_under)
    with Progress() as progress:
        progress("reading", 0.0)
        recorded = _read(trace, form, cluster, slurm_conf, sacctmgr)
        found, replays = compare(recorded, scenario, progress=progress)
    _write(found, replays, starts=starts, png=png, html=html)
    if as_json:
        typer.echo(encode(found).decode())
        return
    from rich.console import Console

    width = None if sys.stdout.isatty() else max(80, 30 + 26 * len(found.measures))
    print_comparison(found, Console(width=width, highlight=False), limit_s)


def _read(
    path: Path, form: str | None, cluster: str | None, conf: Path | None, accounts: Path | None
) -> "Trace":
    from headrace.simulate.notebook import read

    if accounts is not None and conf is None:
        rule = "accounts belong to the partitions and weights of a slurm.conf"
        raise OptionInvalid(
            "--sacctmgr", str(accounts), rule, f"{accounts} --slurm-conf slurm.conf"
        )
    return read(path, format=form, cluster=cluster, slurm_conf=conf, sacctmgr=accounts)


def _counts(text: str | None) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in text.split(",")) if text is not None else ()
    except ValueError:
        rule = "it is numbers of nodes to add, joined by commas"
        raise OptionInvalid("--curve", str(text), rule, "0,4,8,16") from None


def _limit_s(text: str) -> float:
    from headrace.core.units import parse_duration_s

    try:
        return parse_duration_s(text)
    except ValueError as error:
        raise OptionInvalid("--wait-under", text, str(error), "4h") from None


def _write(
    found: "Comparison",
    replays: "Sequence[Replay]",
    *,
    starts: Path | None,
    png: Path | None,
    html: Path | None,
) -> None:
    """``starts``: one file; with several policies one each, the policy in its name."""
    from headrace.core.records import write_file

    files: dict[Path, bytes] = {}
    if starts is not None:
        from headrace.simulate.write import starts_csv

        for one in replays:
            name = starts.stem if len(replays) == 1 else f"{starts.stem}-{one.policy}"
            files[starts.with_stem(name)] = "".join(starts_csv(one)).encode()
    if png is not None or html is not None:
        from headrace.simulate.page import page
        from headrace.simulate.picture import draw

        picture = draw(found)
        if png is not None:
            files[png] = picture
        if html is not None:
            files[html] = page(found, picture).encode()
    for path, data in files.items():
        try:
            write_file(path, data)
        except OSError as error:
            raise NotWritten(path, error.strerror or str(error)) from None
        typer.echo(str(path), err=True)


def print_comparison(found: "Comparison", console: "Console", limit_s: float) -> None:
    """The replay check, the tables, the notes. Nothing in it is taken for markup."""
    from rich.text import Text

    from headrace.simulate.rows import by, curve_rows, enough, heads, never_started, summary

    console.print(Text(f"{found.trace}: {found.jobs:,} jobs on {found.machine}", style="bold"))
    if found.fidelity is not None:
        good = found.fidelity.verdict == "faithful"
        console.print(Text(found.fidelity.sentence, style="green" if good else "bold yellow"))
    if found.failures is not None:
        source = found.failures.source or found.failures.name
        console.print(Text(f"Failures: {source}; seed {found.seed}."))
    names = heads(found)
    _print_table(console, "", names, summary(found))
    _print_table(console, "mean wait by size (jobs)", names, by(found, "size"))
    if found.curves:
        console.print()
    for line in enough(found, limit_s):
        console.print(Text(line))
    policies = [one.policy for one in found.curves]
    _print_table(console, "90th percentile wait by nodes", policies, curve_rows(found))
    console.print(Text("* best of the policies\n"), style="dim")
    for note in (*never_started(found), *found.notes):
        console.print(Text.assemble(("Note ", "bold yellow"), note))


def _print_table(
    console: "Console", title: str, columns: "Sequence[str]", rows: "Sequence[Row]"
) -> None:
    from rich.table import Table
    from rich.text import Text

    if not rows:
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(Text(title, style="bold"), no_wrap=True)
    for name in columns:
        table.add_column(Text(name, style="bold"), justify="right")
    for row in rows:
        cells = (
            Text(f"{cell} *", style="bold green") if number in row.best else Text(f"{cell}  ")
            for number, cell in enumerate(row.cells)
        )
        table.add_row(Text(row.label), *cells)
    console.print()
    console.print(table)
