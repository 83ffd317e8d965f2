"""Bring a source near before ranks start: whole, in part, or, if it does not fit, not at all.

Several runs, and several nodes of one host, share the copies: who comes second finds them there,
or waits for the owner that makes them. What an owner left half done when it died is gone on with.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from headrace.data.cache import limit
from headrace.data.cache.admission import Kept, Wanted, admit
from headrace.data.cache.copying import Copied, Copying
from headrace.data.cache.errors import CacheRefused
from headrace.data.cache.folder import CachedSet, CacheFolder, open_folder
from headrace.data.cache.listing import Listing, list_source
from headrace.data.cache.owner import Holder, owned, this_process
from headrace.data.places import SUFFIX

_GIB = 1 << 30


class Staged(NamedTuple):
    """What has become of a source. ``root``: of its copies (``CachedSet.root``), None without any.

    ``tree``: stands for the whole source, None where only a part of it was copied. ``why``: what
    kept the rest from being copied. ``copied_bytes``: now, not by runs before.
    """

    tree: str | None
    root: str | None
    size_bytes: int
    near_bytes: int
    copied_bytes: int
    seconds: float
    why: str | None


class Progress(NamedTuple):
    """``waits_for``: the run that writes in the cache now."""

    near_bytes: int
    size_bytes: int
    waits_for: str | None = None


class Stager:
    """Copies sources to ``tier`` for ``user``, the agent of a run on ``node``, while it lives."""

    def __init__(
        self,
        tier: str,
        *,
        user: Holder,
        node: str,
        environ: Mapping[str, str] = os.environ,
        say: Callable[[Progress], None] = lambda said: None,
    ) -> None:
        self._tier = tier
        self._user = user
        self._node = node
        self._environ = environ
        self._say = say

    def stage(self, source: Path, *, in_parts: bool) -> Staged:
        """``in_parts``: whether readers find their way among copies and source, file by file.

        Raise ``SourceMissing``, ``LimitUnclear``. A cache that cannot be used is no error: the
        source is read then.
        """
        begin_s = time.monotonic()
        listing = list_source(source)
        if not listing.files:
            return Staged(None, None, 0, 0, 0, time.monotonic() - begin_s, "it holds no file")
        try:
            cache = open_folder(limit.place(self._tier, self._environ))
            copied = self._bring(cache, listing, in_parts=in_parts)
            one = cache.get(listing)
            near = one.present()
        except (CacheRefused, OSError) as error:
            why = f"{error} ({error.why})" if isinstance(error, CacheRefused) else str(error)
            took_s = time.monotonic() - begin_s
            return Staged(None, None, listing.size_bytes, 0, 0, took_s, why)
        whole = len(near) == len(listing.files)
        return Staged(
            tree=str(one.tree) if whole else None,
            root=str(one.root) if near else None,
            size_bytes=listing.size_bytes,
            near_bytes=sum(file.size_bytes for file in near),
            copied_bytes=copied.size_bytes,
            seconds=time.monotonic() - begin_s,
            why=None if whole else copied.why,
        )

    def _bring(self, cache: CacheFolder, listing: Listing, *, in_parts: bool) -> Copied:
        one = cache.get(listing)
        if one.use(self._user, self._node) and not one.bad() and _is_whole(one):
            return Copied(0, 0, None)

        def waiting(other: Holder) -> None:
            self._say(Progress(0, listing.size_bytes, waits_for=other.run_id))

        with owned(cache.root, this_process(self._user.run_id), waiting=waiting):
            cache.sweep()
            one = cache.add(listing)
            one.use(self._user, self._node)
            copied = self._fill(cache, one, in_parts=in_parts)
            if not one.present():
                one.leave(self._user, self._node)
                cache.let_go(one.key)
            return copied

    def _fill(self, cache: CacheFolder, one: CachedSet, *, in_parts: bool) -> Copied:
        listing, present = one.listing, {file.name for file in one.present()}
        missing = [file for file in listing.files if file.name not in present]
        missing.sort(key=lambda file: file.name.endswith(SUFFIX))  # of a part, nobody needs it near
        limit_bytes = limit.limit_bytes(
            limit.measure(cache.root, self._tier),
            sum(each.size_bytes() for each in cache.sets()),
            self._environ.get("HEADRACE_CACHE_LIMIT"),
        )
        while True:
            kept = cache.kept()
            admission = admit(
                [Wanted(file.name, file.size_bytes) for file in missing],
                kept,
                key=one.key,
                source=listing.source,
                limit_bytes=limit_bytes,
                in_parts=in_parts,
            )
            if all(cache.let_go(key) for key in admission.evict):
                break  # else a run came to use one of them just now: it stays
        if in_parts:
            others = (each for each in kept if each.key not in (one.key, *admission.evict))
            room_bytes = limit_bytes - sum(each.size_bytes for each in others)
            one.reserve(None if admission.whole else max(0, room_bytes))
        chosen = {wanted.name for wanted in admission.copy}
        near_bytes = listing.size_bytes - sum(file.size_bytes for file in missing)
        copied = Copying(one, [file for file in missing if file.name in chosen]).run(
            lambda done_bytes: self._say(Progress(near_bytes + done_bytes, listing.size_bytes))
        )
        if admission.whole or copied.why is not None:
            return copied
        return copied._replace(why=_does_not_fit(listing.size_bytes, limit_bytes, kept, one.key))


def _is_whole(one: CachedSet) -> bool:
    return len(one.present()) == len(one.listing.files)


def _does_not_fit(size_bytes: int, limit_bytes: int, kept: Sequence[Kept], key: str) -> str:
    used_bytes = sum(one.size_bytes for one in kept if one.in_use and one.key != key)
    held = f", of which other runs use {used_bytes / _GIB:.2f} GiB" if used_bytes else ""
    return (
        f"{size_bytes / _GIB:.2f} GiB do not fit in the {limit_bytes / _GIB:.2f} GiB "
        f"that copies may take{held}"
    )
