"""What a GlusterFS client tells in its ``.meta`` folder, as records. Pure. GlusterFS 3.7 to 11.

``MOUNT/.meta/graphs/active/volfile`` is the graph of translators; each ``client`` has a ``private``
file with ``connected = 1``. Any user may read them; no command is needed.
"""

import re

from headrace.cluster.storage.storage import Brick, Volume

VOLFILE = ".meta/graphs/active/volfile"
_BLOCK = re.compile(r"^volume\s+(\S+)\s*$(.*?)^end-volume\s*$", re.MULTILINE | re.DOTALL)
_LINE = re.compile(r"^\s+(?:option\s+)?(\S+)[ \t]+(.*?)\s*$", re.MULTILINE)


def private(client: str) -> str:
    """Where the client translator of that name says whether its brick answers."""
    return f".meta/graphs/active/{client}/private"


def clients(volfile: str) -> list[str]:
    """Names of the translators that speak to bricks, in order."""
    return [name for name, _ in _translators(volfile, "protocol/client")]


def parse_volfile(text: str, source: str, up: dict[str, bool | None]) -> Volume | None:
    """The volume; ``up``: client translator -> whether its brick answers. None without bricks."""
    bricks = tuple(
        Brick(
            host=options.get("remote-host", "?"),
            path=options.get("remote-subvolume", "?"),
            up=up.get(name),
        )
        for name, options in _translators(text, "protocol/client")
    )
    if not bricks:
        return None
    replicas = [options for _, options in _translators(text, "cluster/replicate")]
    dispersed = [options for _, options in _translators(text, "cluster/disperse")]
    copies = [len(options.get("subvolumes", "").split()) for options in replicas]
    lost = [options.get("redundancy", "") for options in dispersed]
    return Volume(
        name=source.partition(":")[2].strip("/") or source,
        bricks=bricks,
        replica=max(copies, default=1) or 1,
        redundancy=max((int(number) for number in lost if number.isdigit()), default=0),
        quorum=next((one["quorum-type"] for one in replicas if "quorum-type" in one), None),
    )


def parse_connected(text: str) -> bool | None:
    """Of a client's ``private`` file; None when it does not say."""
    found = re.search(r"^connected\s*=\s*(\d)", text, re.MULTILINE)
    return None if found is None else found[1] != "0"


def _translators(text: str, kind: str) -> list[tuple[str, dict[str, str]]]:
    return [
        (name, options)
        for name, body in _BLOCK.findall(text)
        if (options := dict(_LINE.findall(body))).get("type") == kind
    ]
