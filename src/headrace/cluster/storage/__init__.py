"""What lies under a path: file system, layout, servers, room; and what follows from it.

``of(path)`` looks, ``advice.advise`` concludes (pure), ``apply`` sets a layout, ``bench`` measures.
"""

from headrace.cluster.storage.probe import of
from headrace.cluster.storage.storage import Storage

__all__ = ["Storage", "of"]
