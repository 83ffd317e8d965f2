"""What lies under one path: frozen records that ``probe`` fills and everything above reads.

A field that nothing told is None or empty, and ``unknown`` says why; a fact is never guessed.
"""

from headrace.core.records import Record

TO_END = None
"""``Component.end_bytes`` of the last part of a layout."""
ALL_TARGETS = -1
"""``Component.count`` of a part that is spread over all there are."""


class Component(Record, frozen=True, kw_only=True):
    """A part of a layout: bytes ``start`` to ``end`` lie on ``count`` targets, in ``size`` pieces.

    ``pattern``: raid0, raid1, mdt (on the metadata server), or as the file system says.
    ``targets``: the targets of this very file, empty for a folder's default.
    """

    start_bytes: int = 0
    end_bytes: int | None = TO_END
    count: int
    size_bytes: int
    pattern: str = "raid0"
    pool: str | None = None
    targets: tuple[int, ...] = ()


class Layout(Record, frozen=True, kw_only=True):
    """How a file is spread, or how new files of a folder will be (``default``).

    ``tool``: the program that can set it: lfs, beegfs-ctl, beegfs; empty where none can.
    """

    components: tuple[Component, ...]
    default: bool = False
    mirrors: int = 1
    tool: str = ""

    @property
    def widest(self) -> Component:
        """The part with the most targets; a negative count is all of them."""
        return max(self.components, key=lambda part: (part.count < 0, part.count))


class Target(Record, frozen=True, kw_only=True):
    """A server's store. ``kind``: ost (data) or mdt (metadata). ``active`` False: it is out."""

    name: str
    kind: str
    index: int
    size_bytes: int | None = None
    free_bytes: int | None = None
    inodes: int | None = None
    inodes_free: int | None = None
    active: bool = True


class Brick(Record, frozen=True, kw_only=True):
    """A part of a GlusterFS volume. ``up`` is None where the client does not tell."""

    host: str
    path: str
    up: bool | None = None


class Volume(Record, frozen=True, kw_only=True):
    """A GlusterFS volume as its client sees it. ``replica`` 1: no copies; ``redundancy``: bricks
    of a dispersed set that may be lost; ``quorum``: how many copies a write needs (auto, fixed).
    """

    name: str
    bricks: tuple[Brick, ...]
    replica: int = 1
    redundancy: int = 0
    quorum: str | None = None


class Device(Record, frozen=True, kw_only=True):
    """The disk below a local file system. ``rotating`` is None where the kernel does not tell."""

    name: str
    nvme: bool
    rotating: bool | None


class Quota(Record, frozen=True, kw_only=True):
    """What this user has and may have; a limit of None is none."""

    used_bytes: int
    soft_bytes: int | None = None
    hard_bytes: int | None = None
    files: int | None = None
    files_hard: int | None = None


class Files(Record, frozen=True, kw_only=True):
    """The first files of the folder, not below it. ``more``: there are others.

    ``small``: below 64 KiB. ``without_blocks``: large, but no byte is on disk: sparse, or moved to
    tape or a cloud.
    """

    count: int
    size_bytes: int
    small: int
    without_blocks: int
    more: bool


class Storage(Record, frozen=True, kw_only=True):
    """What is under ``path``.

    ``looked_at``: the path itself, links followed, or the nearest folder above that exists.
    ``kind``: lustre, beegfs, gpfs, nfs, ceph, gluster, weka, panfs, 9p, ext4, xfs, tmpfs, ...;
    ``fstype``: the mount line's word; ``magic``: f_type of statfs(2), 32 bits.
    ``answers`` False: it did not answer in time, and only the mount line is known.
    ``flock``: flock (locks hold on all nodes), localflock (this node's only), noflock (an error).
    ``block_bytes``: what reads and writes should be multiples of. ``offline``: the file's bytes are
    on tape or in a cloud. ``inodes`` is 0 where they are not counted.
    ``rpcs_in_flight``: requests a client has at once at one target.
    """

    path: str
    looked_at: str
    kind: str
    fstype: str
    source: str
    mount: str
    options: tuple[str, ...] = ()
    network: bool
    answers: bool = True
    folder: bool = True
    empty: bool | None = None
    magic: int | None = None
    size_bytes: int | None = None
    free_bytes: int | None = None
    inodes: int | None = None
    inodes_free: int | None = None
    block_bytes: int | None = None
    subblock_bytes: int | None = None
    version: str | None = None
    flock: str | None = None
    layout: Layout | None = None
    targets: tuple[Target, ...] = ()
    pools: tuple[str, ...] = ()
    rpcs_in_flight: int | None = None
    volume: Volume | None = None
    device: Device | None = None
    quota: Quota | None = None
    files: Files | None = None
    offline: bool = False
    unknown: tuple[str, ...] = ()

    @property
    def osts(self) -> tuple[Target, ...]:
        """Targets that hold data and are in use."""
        return tuple(one for one in self.targets if one.kind == "ost" and one.active)
