"""The reservations that were made by command, in one file; those of the site file come on top."""

from collections.abc import Sequence
from pathlib import Path

from headrace.core.errors import NotFound, Refused
from headrace.core.records import DecodeError, Record, read_record, write_record
from headrace.schedule.cluster import Reservation


class ReservationRefused(Refused):
    """A reservation that cannot be."""

    code = "HR-LOCAL-006"


class ReservationNotFound(NotFound):
    """No reservation has this name."""

    code = "HR-LOCAL-007"

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(
            f'there is no reservation "{name}"',
            why=f"there are {', '.join(known)}" if known else "nothing is reserved",
            remedy="headrace reserve lists them",
        )


class _File(Record, frozen=True, kw_only=True):
    reservations: tuple[Reservation, ...] = ()


class Reservations:
    """Kept in ``path``. One that is over is dropped when the next is made."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self.made = read_record(path, _File).reservations
        except (FileNotFoundError, DecodeError):
            self.made = ()

    def add(
        self, asked: Reservation, known: Sequence[Reservation], nodes: Sequence[str], now_s: float
    ) -> None:
        """``known``: all that are in force. Raise ``ReservationRefused``."""
        require_sound(asked, known, nodes, now_s)
        current = tuple(one for one in self.made if one.end_s > now_s)
        self._keep((*current, asked))

    def drop(self, name: str) -> None:
        """Raise ``ReservationNotFound``."""
        if all(one.name != name for one in self.made):
            raise ReservationNotFound(name, [one.name for one in self.made])
        self._keep(tuple(one for one in self.made if one.name != name))

    def _keep(self, made: tuple[Reservation, ...]) -> None:
        write_record(self._path, _File(reservations=made))
        self.made = made


def require_sound(
    asked: Reservation, known: Sequence[Reservation], nodes: Sequence[str], now_s: float
) -> None:
    """Raise ``ReservationRefused`` for one that nobody could keep."""

    def refuse(why: str, remedy: str) -> None:
        raise ReservationRefused(
            f'the reservation "{asked.name}" is not possible', why=why, remedy=remedy
        )

    if not asked.name or any(one.name == asked.name for one in known):
        refuse("its name is empty or taken", "give it a name of its own")
    if not now_s < asked.end_s or not asked.start_s < asked.end_s:
        refuse("it ends before it begins, or is over already", "give a later end or a duration")
    missing = [name for name in asked.nodes if name not in nodes]
    if missing or not asked.nodes:
        word = f"there is no node {missing[0]}" if missing else "it names no node"
        refuse(word, f"--nodes takes names out of {', '.join(nodes)}")
    if not asked.maintenance and not asked.users and not asked.accounts:
        refuse("it is for nobody", "name --user or --account, or say --maintenance")
    for one in known:
        if one.start_s < asked.end_s and asked.start_s < one.end_s:
            both = sorted(set(one.nodes) & set(asked.nodes))
            if both:
                refuse(f'{both[0]} is in "{one.name}" at that time', "choose other nodes or times")
