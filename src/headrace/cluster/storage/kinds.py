"""Kinds of file systems: the mount line's word and the number of statfs(2). Pure.

Numbers: linux/magic.h, and the headers of Lustre, GPFS, BeeGFS, PanFS, OrangeFS, OpenZFS.
"""

from headrace.cluster.nodes.mounts import NETWORK

_WORDS = {
    "lustre": "lustre",
    "lustre_lite": "lustre",
    "gpfs": "gpfs",
    "mmfs": "gpfs",
    "beegfs": "beegfs",
    "beegfs_nodev": "beegfs",
    "nfs": "nfs",
    "nfs4": "nfs",
    "ceph": "ceph",
    "fuse.ceph": "ceph",
    "fuse.ceph-fuse": "ceph",
    "glusterfs": "gluster",
    "fuse.glusterfs": "gluster",
    "wekafs": "weka",
    "panfs": "panfs",
    "9p": "9p",
    "cifs": "smb",
    "smb3": "smb",
    "pvfs2": "orangefs",
    "orangefs": "orangefs",
    "fuse.dfuse": "daos",
    "fuse.juicefs": "juicefs",
    "fuse.sshfs": "sshfs",
}
_MAGIC = {
    0x0BD00BD0: "lustre",
    0x47504653: "gpfs",
    0x19830326: "beegfs",
    0x6969: "nfs",
    0x00C36400: "ceph",
    0xAAD7AAEA: "panfs",
    0x20030528: "orangefs",
    0x7461636F: "ocfs2",
    0x01161970: "gfs2",
    0xFE534D42: "smb",
    0xFF534D42: "smb",
    0x65735546: "fuse",
    0x01021997: "9p",
    0xEF53: "ext4",
    0x58465342: "xfs",
    0x9123683E: "btrfs",
    0x2FC12FC1: "zfs",
    0xF2F52010: "f2fs",
    0x01021994: "tmpfs",
    0x794C7630: "overlay",
}
_SHARED = frozenset(("ocfs2", "gfs2"))
"""Several nodes mount one disk: local by the mount line, shared by nature."""

NAMES = {
    "lustre": "Lustre",
    "gpfs": "GPFS",
    "beegfs": "BeeGFS",
    "nfs": "NFS",
    "ceph": "CephFS",
    "gluster": "GlusterFS",
    "weka": "WekaFS",
    "panfs": "PanFS",
    "orangefs": "OrangeFS",
    "smb": "SMB",
    "daos": "DAOS",
}
"""Kind -> its name in a sentence; a kind that is not here is written as it is."""


def kind_of(fstype: str, magic: int | None) -> str:
    """The mount line's word where it is known, else by statfs's number, else the word itself.

    FUSE has one number for all that use it, so the word comes first. ext2 and ext3 share ext4's.
    """
    if fstype in _WORDS:
        return _WORDS[fstype]
    found = None if magic is None else _MAGIC.get(magic & 0xFFFFFFFF)
    if fstype and (found is None or found in ("fuse", "ext4")):
        return fstype
    return found or "unknown"


def is_network(fstype: str, kind: str) -> bool:
    return fstype in NETWORK or kind in _WORDS.values() or kind in _SHARED


def may_hang(fstype: str) -> bool:
    """Whether to look from another process: servers, daemons in user space, mounts on demand."""
    return fstype in NETWORK or fstype in _WORDS or fstype.startswith(("fuse", "autofs"))


def flock_mode(kind: str, options: tuple[str, ...], settings: dict[str, str]) -> str | None:
    """flock, localflock, noflock, or None where it is not known.

    ``settings``: the client's own, as BeeGFS has them in /proc. Sources: mount.lustre(8) (an active
    mode is shown in the mount line), nfs(5), BeeGFS's beegfs-client.conf.
    """
    if kind == "lustre":
        shown = [option for option in options if option in ("flock", "localflock")]
        return shown[0] if shown else "noflock"
    if kind == "nfs":
        local = {"nolock", "local_lock=all", "local_lock=flock"}
        return "localflock" if local & set(options) else "flock"
    if kind == "beegfs":
        told = settings.get("tuneUseGlobalFileLocks", "").lower()
        return None if not told else "flock" if told in ("true", "1", "yes") else "localflock"
    if kind == "9p":
        return "localflock"
    if kind in ("ceph", "gluster", "weka"):
        return "flock"
    return None if is_network("", kind) else "localflock"
