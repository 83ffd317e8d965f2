"""The queue at one moment, to be asked about without holding the engine up."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from headrace.core.records import decode, encode, to_builtins
from headrace.engines.contract import Caller, public_id
from headrace.schedule.explain import Explanation, Ranked, explain, ranking
from headrace.schedule.scheduler import Scheduler

R = TypeVar("R", Explanation, Ranked)


@dataclass(frozen=True)
class Snapshot:
    """A scheduler of its own, which has decided. ``owners``: run id -> uid of all it knows."""

    scheduler: Scheduler
    now_s: float
    owners: Mapping[str, int | None]

    def explain(self, run_id: str, *, who: Caller, sooner: bool) -> Explanation:
        return self._seen_by(who, explain(self.scheduler, run_id, self.now_s, sooner=sooner))

    def ranking(self, *, who: Caller) -> list[Ranked]:
        return [self._seen_by(who, one) for one in ranking(self.scheduler, self.now_s)]

    def _seen_by(self, who: Caller, found: R) -> R:
        """Of others' runs, only the numbers are public."""
        if who.admin:
            return found
        names = {
            run_id: public_id(run_id)
            for run_id, uid in self.owners.items()
            if uid not in (None, who.uid)
        }
        if not names:
            return found
        return decode(encode(_renamed(to_builtins(found), names)), type(found))


def _renamed(value: object, names: Mapping[str, str]) -> object:
    match value:
        case str():
            return names.get(value, value)
        case list() | tuple():
            return [_renamed(one, names) for one in value]
        case dict():
            return {key: _renamed(one, names) for key, one in value.items()}
        case _:
            return value
