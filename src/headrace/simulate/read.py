"""Find a trace, unpack it, tell its format, and read it. The only place that opens files.

``.xz``, ``.gz`` and tar archives are read in place; ``archive.tar.xz/member`` names one of several.
"""

import gzip
import lzma
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath
from typing import BinaryIO, NamedTuple

from headrace.core.records import replace
from headrace.schedule.cluster import Cluster
from headrace.simulate.errors import FormatUnknown, TraceUnusable
from headrace.simulate.machine import onto
from headrace.simulate.readers import (
    batsim,
    openb,
    philly,
    sacct,
    sacctmgr,
    slurm_conf,
    swf,
    table,
    ub_events,
)
from headrace.simulate.readers.site import SlurmSite
from headrace.simulate.trace import Trace

_TEXT_MAX_BYTES = 2 << 30
_INCLUDES_MAX = 50
_VC_NODES = "philly_vc_nodes.csv"
_NODE_LISTS = ("openb_node_list_gpu_node.csv", "openb_node_list_all_node.csv")
_USERS = "users.sim"
_PACKED = ("", ".xz", ".gz")
_BROKEN = (OSError, EOFError, lzma.LZMAError, zlib.error, tarfile.TarError)


class _Given(NamedTuple):
    """What the caller knows of the machine."""

    cluster: Cluster | None
    site: SlurmSite | None


def read_trace(
    path: Path,
    *,
    format: str | None = None,
    cluster: Cluster | None = None,
    site: SlurmSite | None = None,
) -> Trace:
    """The trace in ``path``, on ``cluster``, else on the ``site``'s, else on its own if it has one.

    ``format``: one of ``FORMATS``; None looks at the content. Raise ``TraceUnusable``,
    ``FormatUnknown`` or ``RowInvalid``.
    """
    if format is not None and format not in _READERS:
        raise FormatUnknown(str(path), f'"{format}" is not a format', FORMATS)
    member, text = _load(path, wanted=format)
    kind = format or detect(text)
    if kind is None:
        raise FormatUnknown(member, "its format cannot be told from its beginning", FORMATS)
    trace = _READERS[kind](text, member, path, _Given(cluster, site))
    where = cluster or (site.cluster if site is not None else None)
    return trace if where is None or trace.cluster is where else onto(trace, where)


def read_site(
    slurm_conf_path: Path, *, accounts: Path | None = None, topology: Path | None = None
) -> SlurmSite:
    """A Slurm site: its slurm.conf with all includes, and ``sacctmgr`` commands or a dump.

    A topology.conf beside slurm.conf is read too. Raise ``TraceUnusable`` or ``RowInvalid``.
    """
    text = _included(slurm_conf_path, [])
    beside = slurm_conf_path.with_name("topology.conf")
    switches = _load(topology)[1] if topology else _load(beside)[1] if beside.is_file() else ""
    site = slurm_conf.read(text, name=slurm_conf_path.name, topology=switches)
    if accounts is None:
        return site
    return sacctmgr.onto_site(site, _load(accounts)[1], name=accounts.name)


def detect(text: str) -> str | None:
    """The format, by its first lines."""
    lines = [line for line in text[: 1 << 16].split("\n") if line.strip()]
    first = lines[0].strip() if lines else ""
    header = set(first.split(","))
    if first.startswith("{"):
        return "batsim"
    if first.startswith(";") or re.fullmatch(r"\s*(-?\d[\d.]*\s+){10,}-?\d[\d.]*\s*", first):
        return "swf"
    if "submit_batch_job" in first:
        return "ub"
    if header.issuperset(philly.COLUMNS):
        return "philly"
    if header.issuperset(openb.COLUMNS):
        return "openb"
    if {"jobid", "jobidraw"} & {word.strip().lower() for word in first.split("|")}:
        return "sacct"
    return "csv" if header.issuperset(table.REQUIRED) else None


def _read_philly(text: str, name: str, path: Path, given: _Given) -> Trace:
    """With the sizes of its VCs where the file of them lies beside it and no cluster is given."""
    sizes = next(_beside(path, _VC_NODES), None)
    if sizes is None or given.cluster is not None or given.site is not None:
        return philly.read(text, name=name)
    vc_nodes = philly.read_vc_nodes(_load(sizes)[1], name=sizes.name)
    trace = philly.read(text, name=name, vc_nodes=vc_nodes)
    note = f"nodes of each VC from {sizes.name} beside it: {sum(vc_nodes.values())} of 8 GPUs"
    return replace(trace, notes=(note, *trace.notes))


def _read_openb(text: str, name: str, path: Path, given: _Given) -> Trace:
    """With the list of nodes beside it, where no cluster is given."""
    nodes = next(_beside(path, *_NODE_LISTS), None)
    if nodes is None or given.cluster is not None or given.site is not None:
        return openb.read(text, name=name)
    cluster = openb.read_nodes(_load(nodes)[1], name=nodes.name)
    trace = openb.read(text, name=name, cluster=cluster)
    note = f"{len(cluster.nodes):,} nodes from {nodes.name} beside it"
    return replace(trace, notes=(note, *trace.notes))


def _read_ub(text: str, name: str, path: Path, given: _Given) -> Trace:
    """Jobs without an account go to the user's default one, else to its group in users.sim."""
    users = next(_beside(path, _USERS), None)
    groups = ub_events.read_groups(_load(users)[1]) if users else {}
    return ub_events.read(text, name=name, site=given.site, groups=groups)


_READERS: dict[str, Callable[[str, str, Path, _Given], Trace]] = {
    "csv": lambda text, name, path, given: table.read(text, name=name),
    "swf": lambda text, name, path, given: swf.read(text, name=name),
    "batsim": lambda text, name, path, given: batsim.read(text, name=name),
    "philly": _read_philly,
    "openb": _read_openb,
    "sacct": lambda text, name, path, given: sacct.read(text, name=name, site=given.site),
    "ub": _read_ub,
}
FORMATS = tuple(_READERS)


def _beside(path: Path, *names: str) -> Iterator[Path]:
    for name in names:
        for ending in _PACKED:
            if (found := path.with_name(name + ending)).is_file():
                yield found


def _load(path: Path, *, wanted: str | None = None) -> tuple[str, str]:
    """(name, text) of a file or of the one member of an archive that is a trace."""
    archive, member = _split(path)
    try:
        if tarfile.is_tarfile(archive):
            return _member(archive, member, wanted)
        data = _unpacked(archive)
    except FileNotFoundError:
        raise _unusable(path, "is not there", "nothing has this name", "check the path") from None
    except IsADirectoryError:
        remedy = "name the file in it"
        raise _unusable(path, "is a folder", "a trace is one file", remedy) from None
    except _BROKEN as error:
        raise _unusable(path, "cannot be read", str(error) or "it ends too early", _AGAIN) from None
    return path.name, _text(path, data)


_AGAIN = "check its permissions, or copy it again from its source"


def _split(path: Path) -> tuple[Path, str]:
    """``archive.tar/inside/file`` as the archive and the name in it."""
    if not path.exists():
        for above in path.parents:
            if above.is_file():
                return above, str(path.relative_to(above))
    return path, ""


def _unpacked(path: Path) -> bytes:
    with _opened(path) as file:
        data = file.read(_TEXT_MAX_BYTES + 1)
    if len(data) > _TEXT_MAX_BYTES:
        raise OSError(f"it is larger than {_TEXT_MAX_BYTES >> 30} GiB")
    return data


def _opened(path: Path) -> BinaryIO | gzip.GzipFile | lzma.LZMAFile:
    if path.suffix == ".xz":
        return lzma.open(path)
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")


def _member(path: Path, member: str, wanted: str | None) -> tuple[str, str]:
    with tarfile.open(path) as archive:
        files = [one for one in archive.getmembers() if one.isfile()]
        names = [one.name.removeprefix("./") for one in files]
        texts: dict[str, str] = {}
        for name, one in zip(names, files, strict=True):
            if (member and name != member) or one.size > _TEXT_MAX_BYTES:
                continue
            stream = archive.extractfile(one)
            if stream is None:
                continue
            head = stream.read(1 << 16)
            kind = detect(head.decode("utf-8", errors="replace"))
            known = kind is not None and wanted in (None, kind)
            if member or known or len(files) == 1:
                texts[name] = _text(path / name, head + stream.read())
    if len(texts) == 1:
        return next(iter(texts.items()))
    found = ", ".join(list(texts or names)[:8]) or "nothing"
    what = f"no member {member}" if member else f"{len(texts)} of its members are traces"
    remedy = f"name one member, as {path}/{next(iter(texts or names), 'jobs.swf')}"
    raise _unusable(path, what, f"it holds {found}", remedy)


def _text(path: PurePath, data: bytes) -> str:
    if b"\0" in data:
        remedy = "unpack it first, if it is packed in another way"
        raise _unusable(path, "is not text", "there are zero bytes in it", remedy)
    if not data.strip():
        raise _unusable(path, "is empty", "a trace has jobs in it", _AGAIN)
    return data.decode("utf-8-sig", errors="replace").replace("\r\n", "\n")


def _included(path: Path, seen: list[Path]) -> str:
    """The text with what its Include lines name in their place."""
    seen.append(path)
    if len(seen) > _INCLUDES_MAX:
        raise _unusable(path, "includes too much", "files include each other", "mend the includes")

    def insert(found: re.Match[str]) -> str:
        return _included(path.parent / found[1].strip(), seen)

    return re.sub(r"^include\s+(\S+).*$", insert, _load(path)[1], flags=re.M | re.I)


def _unusable(path: PurePath, what: str, why: str, remedy: str) -> TraceUnusable:
    return TraceUnusable(str(path), what, why=why, remedy=remedy)
