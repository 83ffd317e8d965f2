"""Conservative backfill: every waiting run has a reservation, and none is ever made later.

When something is given back early, each reservation in queue order is taken out and put in again
(Batsched's incremental compression); building them all anew would move some later. That is done
only when no promise can hold: a run is beyond its limit, or one was stopped to make room.
"""

from math import inf

from headrace.schedule.profile import Booking, Profile
from headrace.schedule.scheduler import Scheduler
from headrace.schedule.state import Active, Waiting

_OVERRUN_S = 1.0  # a run beyond its limit is expected to end this soon


class Conservative:
    """Keeps the profile and the reservations from walk to walk."""

    wake_s = inf

    def __init__(self) -> None:
        self._profile: Profile | None = None
        self.booked: dict[Waiting, Booking] = {}

    def walk(self, scheduler: Scheduler, now_s: float) -> None:
        everything = self._broken(scheduler, now_s) or scheduler.released
        profile = self._present(scheduler, now_s)
        queue = scheduler.waiting if everything else scheduler.fresh
        for waiting in list(queue):
            old = self.booked.pop(waiting, None)
            if old is not None:
                profile.cancel(old)
            if waiting.checked and not scheduler.may_start(waiting):
                continue
            booking = profile.first_fit(waiting, scheduler)
            if booking is None:
                continue
            profile.book(booking)
            if booking.start_s <= now_s:
                scheduler.start(waiting, booking.grants, now_s)
            else:
                self.booked[waiting] = booking
        scheduler.drop_started()

    def _broken(self, scheduler: Scheduler, now_s: float) -> bool:
        """Forget everything when no promise could be kept."""
        broken = bool(scheduler.ends) and scheduler.ends[0].end_s <= now_s
        if broken or any(_breaks(active, now_s) for active in scheduler.gone):
            self._profile = None
            self.booked.clear()
        return self._profile is None

    def _present(self, scheduler: Scheduler, now_s: float) -> Profile:
        """The profile as of now: what ended early is free."""
        if self._profile is None:
            held = [
                (active.end_s if active.end_s > now_s else now_s + _OVERRUN_S, active.grants)
                for active in scheduler.ends
            ]
            held.sort(key=lambda item: item[0])
            self._profile = Profile(scheduler.pool, now_s, held)
            self._profile.split_at(scheduler.calendar.edges_s())
            return self._profile
        profile = self._profile
        profile.advance(now_s)
        for active in scheduler.gone:
            if active.end_s > now_s:
                profile.cancel(Booking(now_s, active.end_s, active.grants))
        for waiting in [one for one in self.booked if one.removed]:
            profile.cancel(self.booked.pop(waiting))
        return profile


def _breaks(active: Active, now_s: float) -> bool:
    """It ended too late, or so that another than the next in turn may start."""
    preempted = active.stop is not None and active.stop.reason == "preempt"
    return preempted or active.end_s < now_s
