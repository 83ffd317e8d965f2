"""Just enough of Thrift's compact protocol to read the footer of a Parquet file, in bounds.

pyarrow ends the process when it is asked for a column of a damaged footer. Source:
doc/specs/thrift-compact-protocol.md in apache/thrift.
"""

from typing import Any

Struct = dict[int, Any]
"""Field number -> bool, int, bytes, list or ``Struct``; doubles, maps and sets are passed over."""

TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT, UUID = range(1, 14)
DEEPEST = 32


def read_struct(data: bytes) -> Struct:
    """The struct that ``data`` begins with. Raise ``ValueError`` when it is none."""
    try:
        return _Reader(data).struct(0)
    except IndexError:
        raise ValueError("it is cut off") from None


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def struct(self, depth: int) -> Struct:
        if depth > DEEPEST:
            raise ValueError(f"structs lie in each other more than {DEEPEST} deep")
        found: Struct = {}
        number = 0
        while header := self._byte():
            delta, kind = header >> 4, header & 15
            number = number + delta if delta else self._signed()
            found[number] = kind == TRUE if kind in (TRUE, FALSE) else self._value(kind, depth)
        return found

    def _value(self, kind: int, depth: int) -> object:
        """A field, or an element of a list, where a truth value takes a byte."""
        if kind in (TRUE, FALSE, BYTE):
            return self._byte()
        if kind in (I16, I32, I64):
            return self._signed()
        if kind == BINARY:
            return self._take(self._unsigned())
        if kind in (LIST, SET):
            header = self._byte()
            count = header >> 4 if header >> 4 < 15 else self._unsigned()
            self._check_room(count)
            return [self._value(header & 15, depth + 1) for _ in range(count)]
        if kind == MAP:
            count = self._unsigned()
            self._check_room(count)
            kinds = self._byte() if count else 0
            for _ in range(count):
                self._value(kinds >> 4, depth + 1)
                self._value(kinds & 15, depth + 1)
            return None
        if kind == STRUCT:
            return self.struct(depth + 1)
        if kind in (DOUBLE, UUID):
            return self._take(8 if kind == DOUBLE else 16)
        raise ValueError(f"there is no type {kind}")

    def _check_room(self, count: int) -> None:
        """Every element takes a byte at least."""
        if count > len(self._data) - self._at:
            raise ValueError(f"a list of {count} is longer than what follows")

    def _byte(self) -> int:
        value = self._data[self._at]
        self._at += 1
        return value

    def _take(self, size: int) -> bytes:
        self._check_room(size)
        self._at += size
        return self._data[self._at - size : self._at]

    def _unsigned(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ValueError("a number has more than 64 bits")

    def _signed(self) -> int:
        value = self._unsigned()
        return value >> 1 ^ -(value & 1)
