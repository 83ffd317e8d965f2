"""What survives: snapshots saved in the background, verified, and found again.

::

    saver = checkpoint.Saver(root, keep=checkpoint.Keep(3))
    saver.stage(checkpoint.Snapshot(step, tensors, state))     # returns at once
    saver.poll()                                               # [Saved(...)] or [Failed(...)]
    found = checkpoint.load_newest(root)                       # newest whole one, or None

The names below are imported when first used: ``ls`` and ``verify`` work without torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.checkpoint.restore import Loaded, load, load_newest
    from headrace.checkpoint.retention import Best, Keep
    from headrace.checkpoint.saver import Failed, Saved, Saver, Skipped, Staged
    from headrace.checkpoint.staging import Snapshot
    from headrace.checkpoint.state import Json
    from headrace.checkpoint.verification import verify

__all__ = [
    "Best",
    "Failed",
    "Json",
    "Keep",
    "Loaded",
    "Saved",
    "Saver",
    "Skipped",
    "Snapshot",
    "Staged",
    "load",
    "load_newest",
    "verify",
]

_HOMES = {
    "restore": ("Loaded", "load", "load_newest"),
    "retention": ("Best", "Keep"),
    "saver": ("Failed", "Saved", "Saver", "Skipped", "Staged"),
    "staging": ("Snapshot",),
    "state": ("Json",),
    "verification": ("verify",),
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - the names' own types are declared above
    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
