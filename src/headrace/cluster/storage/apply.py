"""Set a folder's layout as proposed, and read back what was granted."""

import os
from collections.abc import Callable

from headrace.cluster.storage.errors import FolderNotEmpty, LayoutRefused, NoLayout, NoSuchFolder
from headrace.cluster.storage.layouts import Proposal, lfs_options, same_spread
from headrace.cluster.storage.probe import of
from headrace.cluster.storage.storage import Layout, Storage
from headrace.core.bounded import bounded
from headrace.core.records import Record

_TIMEOUT_S = 30.0


class Granted(Record, frozen=True, kw_only=True):
    """``layout``: what the folder has now, None when nobody tells. ``as_asked``: it is that."""

    layout: Layout | None
    as_asked: bool


def check(storage: Storage, proposal: Proposal | None) -> Proposal:
    """Raise ``NoSuchFolder``, ``NoLayout`` or ``FolderNotEmpty`` where nothing should be set."""
    if not storage.folder or os.path.realpath(storage.path) != storage.looked_at:
        raise NoSuchFolder(storage.path)
    if proposal is None:
        raise NoLayout(storage.path, storage.kind, storage.unknown)
    if storage.empty is not True:
        raise FolderNotEmpty(storage.path, _remedy(proposal))
    return proposal


def apply(
    storage: Storage, proposal: Proposal | None, look: Callable[[str], Storage] = of
) -> Granted:
    """Run the command. A granted layout may be less than was asked: sites have limits.

    Raise as ``check`` does, or ``LayoutRefused`` with what the tool said.
    """
    proposal = check(storage, proposal)
    try:
        ended = bounded(proposal.command, _TIMEOUT_S, {**os.environ, "LC_ALL": "C"})
    except OSError as error:
        raise LayoutRefused(proposal.command, error.strerror or str(error)) from error
    if ended.status != 0:
        said = (ended.complaint.strip() or ended.output.strip()).decode(errors="replace")
        late = f"no answer in {_TIMEOUT_S:g} s" if ended.status is None else ""
        raise LayoutRefused(proposal.command, said or late or f"exit status {ended.status}")
    found = look(storage.path).layout
    return Granted(layout=found, as_asked=found is not None and same_spread(found, proposal.layout))


def _remedy(proposal: Proposal) -> str:
    """Only new files get a new layout; those that are there must be written anew."""
    if proposal.layout.tool == "lfs":
        migrate = " ".join(["lfs", "migrate", *lfs_options(proposal.layout.components), "FILE"])
        return f"give an empty folder, or rewrite each file there: {migrate}"
    return "give an empty folder, and copy the files into it"
