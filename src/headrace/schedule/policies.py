"""Policies by name: an order and a discipline. A new policy is a new order or discipline."""

from functools import partial

from headrace.core.errors import UsageError
from headrace.schedule.disciplines.conservative import Conservative
from headrace.schedule.disciplines.displacing import Displacing
from headrace.schedule.disciplines.easy import Easy
from headrace.schedule.disciplines.slurm import Slurm
from headrace.schedule.disciplines.strict import Strict
from headrace.schedule.orders.fixed import Fifo, Sjf
from headrace.schedule.orders.las import LeastService
from headrace.schedule.orders.multifactor import FairShare
from headrace.schedule.state import Policy

POLICIES = {
    one.name: one
    for one in (
        Policy("fifo", Fifo, Strict),
        Policy("sjf", Sjf, Strict),
        Policy("easy", Fifo, Easy),
        Policy("easy-fairshare", FairShare, Easy),
        Policy("sjf-easy", Sjf, Easy),
        Policy("conservative", Fifo, Conservative),
        Policy("slurm", partial(FairShare, as_given=True), Slurm),
        Policy("las", LeastService, Displacing, displaces=False),
    )
}


class PolicyUnknown(UsageError):
    """No policy has this name."""

    code = "HR-SCHEDULE-001"

    def __init__(self, name: str) -> None:
        super().__init__(
            f'there is no policy "{name}"',
            why=f"the policies are {', '.join(POLICIES)}",
            remedy=f"use one of them, such as {next(iter(POLICIES))}",
        )


def policy(name: str) -> Policy:
    """Raise ``PolicyUnknown``."""
    if name not in POLICIES:
        raise PolicyUnknown(name)
    return POLICIES[name]
