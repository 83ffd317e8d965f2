"""What would happen: traces replayed on the very code that schedules live runs.

For programs and notebooks: ``simulate.read``, ``simulate.replay``, ``simulate.compare``. They hide
the modules of the same names, whose own names are imported with ``from``.
"""

from headrace.simulate.notebook import compare, read, replay

__all__ = ["compare", "read", "replay"]
