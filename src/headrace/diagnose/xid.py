"""NVIDIA's Xid messages in a kernel log: which GPU, which code, what to do.

Pure. Actions follow NVIDIA's public Xid catalogue (docs.nvidia.com, GPU deployment and management,
"Xid errors"); the words are ours. A code that is not in the table is reported all the same.
"""

import re
from enum import StrEnum

from headrace.core.records import Record

_XID = re.compile(r"NVRM: Xid \((?:PCI:)?([0-9a-fA-F:.]+)\): (\d+)(?:, (.*))?")


class Action(StrEnum):
    """What brings the GPU back."""

    NOTHING = "nothing"
    PROGRAM = "program"
    RESET = "reset"
    REBOOT = "reboot"
    SUPPORT = "support"


REMEDIES = {
    Action.NOTHING: "no action is needed",
    Action.PROGRAM: "start the program again; if it returns, run it under compute-sanitizer",
    Action.RESET: "drain the node and reset the GPU (nvidia-smi --gpu-reset -i GPU)",
    Action.REBOOT: "drain the node and power it off and on",
    Action.SUPPORT: "drain the node, run dcgmi diag -r 3, and ask the vendor",
}

CODES: dict[int, tuple[str, Action]] = {
    13: ("the program made an illegal access on the GPU", Action.PROGRAM),
    31: ("the program used an unmapped GPU address", Action.PROGRAM),
    43: ("the GPU stopped the program's work after its fault", Action.PROGRAM),
    45: ("work was cancelled after an earlier fault", Action.NOTHING),
    46: ("the GPU stopped answering", Action.RESET),
    48: ("GPU memory had an error that ECC cannot correct", Action.RESET),
    61: ("a controller inside the GPU stopped at a breakpoint", Action.RESET),
    62: ("a controller inside the GPU halted", Action.RESET),
    63: ("a bad row of GPU memory was replaced by a spare", Action.NOTHING),
    64: ("a bad row of GPU memory could not be replaced", Action.RESET),
    74: ("an NVLink connection failed", Action.SUPPORT),
    79: ("the GPU has fallen off the bus", Action.REBOOT),
    92: ("GPU memory has many correctable errors", Action.SUPPORT),
    94: ("a memory error was contained to one program", Action.PROGRAM),
    95: ("a memory error reached other programs", Action.RESET),
    119: ("the GPU's system processor did not answer the driver", Action.RESET),
    120: ("the GPU's system processor failed", Action.RESET),
    140: ("GPU memory had an error that ECC cannot correct", Action.RESET),
    143: ("the GPU failed to start its firmware", Action.RESET),
    154: ("the driver asks for a recovery of the GPU", Action.SUPPORT),
}


class Xid(Record, frozen=True, kw_only=True):
    """``count`` messages of one code on one GPU; ``text`` is the last one's."""

    pci: str
    code: int
    count: int
    text: str

    @property
    def meaning(self) -> str:
        return CODES.get(self.code, ("an Xid this version does not know", Action.SUPPORT))[0]

    @property
    def action(self) -> Action:
        return CODES.get(self.code, ("", Action.SUPPORT))[1]


def parse_xids(kernel_log: str) -> list[Xid]:
    """One entry for each GPU and code, in the order of first appearance."""
    found: dict[tuple[str, int], Xid] = {}
    for line in kernel_log.splitlines():
        if (match := _XID.search(line)) is None:
            continue
        key = (match[1].lower(), int(match[2]))
        count = found[key].count + 1 if key in found else 1
        found[key] = Xid(pci=key[0], code=key[1], count=count, text=(match[3] or "").strip())
    return list(found.values())
