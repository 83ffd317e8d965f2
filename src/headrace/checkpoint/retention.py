"""Which checkpoints to delete. Pure; deleting is ``headrace.checkpoint.saver``'s."""

from collections.abc import Mapping


def to_delete(
    verified: Mapping[int, bool], *, saved: int, keep: int, keep_every: int | None = None
) -> tuple[int, ...]:
    """Steps to delete, oldest first. ``verified``: step -> whether it is known to be whole.

    A step goes when ``keep`` newer ones up to ``saved``, the one saved last, are verified, unless
    ``keep_every`` divides it. So the newest ``keep`` (1 or more) verified ones up to ``saved``
    always stay, the last verified one among them. Steps beyond ``saved``, left by a run that went
    further before it was set back, are neither counted nor deleted.
    """
    newer, deleted = 0, []
    for step in sorted((step for step in verified if step <= saved), reverse=True):
        kept_forever = keep_every is not None and step % keep_every == 0
        if newer >= max(1, keep) and not kept_forever:
            deleted.append(step)
        newer += verified[step]
    return tuple(reversed(deleted))
