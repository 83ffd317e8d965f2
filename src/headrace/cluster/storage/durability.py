"""File systems on which "flush, then rename" does not make a checkpoint safe. Pure."""

_OBJECTS = ("fuse.s3fs", "fuse.goofys", "fuse.gcsfuse", "fuse.rclone", "fuse.blobfuse")
_NO_BARRIER = frozenset(("nobarrier", "barrier=0"))


def weakness(kind: str, fstype: str, options: tuple[str, ...]) -> str | None:
    """Why a rename or an fsync there promises less than it should; None where nothing says so.

    Sources: the limitations that s3fs, gcsfuse and rclone name (a rename copies), sshfs(1)
    (workaround=rename), the kernel's 9p.rst (cache=loose), ext4.rst (barrier), tmpfs.rst.
    """
    if fstype.startswith(_OBJECTS):
        return "it is an object store: a rename copies, and other nodes may see half of it"
    if kind == "sshfs":
        return "its rename over a file that exists is not one step, and fsync may do nothing"
    if kind in ("tmpfs", "ramfs"):
        return "it is memory: all is gone when the machine is off"
    if kind == "overlay":
        return "it is a container's own layer: it is gone with the container"
    if kind == "9p" and {"cache=loose", "cache=fscache"} & set(options):
        return "its cache is loose: other machines may see old bytes"
    if kind == "nfs" and "soft" in options:
        return "it is mounted soft: a slow server becomes a lost write"
    if _NO_BARRIER & set(options):
        return "it is mounted without barriers: a power cut may lose what was flushed"
    return None
