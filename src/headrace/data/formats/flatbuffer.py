"""Just enough of FlatBuffers to find fields in the messages of Arrow, with every step in bounds.

A table begins with the distance back to its list of fields: u16 its own size, u16 the table's size,
then for each field u16 how far into the table it lies, 0 when it is left out. Source: "FlatBuffers
internals", https://flatbuffers.dev/internals.
"""

from typing import NamedTuple, Self


class Table(NamedTuple):
    """A table at ``at`` in ``data``. Its methods raise ``ValueError`` for places outside of it."""

    data: bytes
    at: int

    @classmethod
    def root(cls, data: bytes) -> Self:
        return cls(data, _number(data, 0, 4))

    def number(self, field: int, size: int) -> int:
        """A signed number of ``size`` bytes; 0 when it is left out."""
        place = self._place(field)
        return _number(self.data, place, size, signed=True) if place else 0

    def table(self, field: int) -> "Table | None":
        """The table that a field leads to."""
        place = self._place(field)
        return Table(self.data, place + _number(self.data, place, 4)) if place else None

    def pairs(self, field: int, size: int) -> list[tuple[int, int]]:
        """A list of structs of ``size`` bytes: the first and the last i64 of each."""
        place = self._place(field)
        if not place:
            return []
        begin = place + _number(self.data, place, 4) + 4
        count = _number(self.data, begin - 4, 4)
        if begin + count * size > len(self.data):
            raise ValueError(f"a list of {count} ends outside of its message")
        return [
            (
                _number(self.data, at, 8, signed=True),
                _number(self.data, at + size - 8, 8, signed=True),
            )
            for at in range(begin, begin + count * size, size)
        ]

    def _place(self, field: int) -> int:
        """Where a field lies; 0 when it is left out."""
        fields = self.at - _number(self.data, self.at, 4, signed=True)
        entry = 4 + 2 * field
        if entry + 2 > _number(self.data, fields, 2):
            return 0
        offset = _number(self.data, fields + entry, 2)
        return self.at + offset if offset else 0


def _number(data: bytes, at: int, size: int, *, signed: bool = False) -> int:
    if at < 0 or at + size > len(data):
        raise ValueError(f"{size} bytes at {at} are outside of its message")
    return int.from_bytes(data[at : at + size], "little", signed=signed)
