"""Before ranks start: the lead's side of the checks. No clock, no socket; the lead carries out.

Every agent says what it sees on its node. When all have, and nodes are on several hosts, each is
asked to reach others; when all have tried, ``judge`` has the word. An agent that comes anew makes a
new round: what was true of its node and of the ways to it need not be true any more.
"""

from collections.abc import Mapping, Sequence

from headrace.core.events import NodeFinding
from headrace.core.order import Order
from headrace.launch.facts import Neighbour, NodeFacts
from headrace.launch.judge import Setting, judge
from headrace.launch.reach import neighbours

CHECKS_VARIABLE = "HEADRACE_CHECKS"


class Preflight:
    """``passed`` when the nodes that are left may be used."""

    def __init__(self, order: Order) -> None:
        self._ranks_per_node = order.ranks_per_node
        self._elsewhere = bool(order.agents_by) and order.env.get(CHECKS_VARIABLE) != "warn"
        self._several = on_several_hosts(order)
        self._facts: dict[str, NodeFacts] = {}
        self._failed: dict[str, Mapping[str, str]] = {}
        self._asked = False
        self._said: set[NodeFinding] = set()
        self.passed = False

    def looked(self, node: str, facts: NodeFacts) -> None:
        self.lost(node)
        self._facts[node] = facts

    def reached(self, node: str, failed: Mapping[str, str]) -> None:
        self._failed[node] = failed

    def lost(self, node: str) -> None:
        self._facts.pop(node, None)
        self._failed.clear()
        self._asked = self.passed = False

    def whom_to_reach(self, nodes: Sequence[str]) -> dict[str, tuple[Neighbour, ...]]:
        """Node -> whom its agent is to try now; once a round, when all ``nodes`` have looked."""
        if self._asked or not self._several or not all(node in self._facts for node in nodes):
            return {}
        self._asked = True
        return {
            node: tuple(self._neighbour(other) for other in others)
            for node, others in neighbours(nodes).items()
        }

    def findings(self, nodes: Sequence[str]) -> list[NodeFinding] | None:
        """What has not been said yet; None while somebody has not answered. ``nodes``: in order."""
        heard = self._failed if self._several else self._facts
        if self.passed or not nodes or not all(node in heard for node in nodes):
            return None
        setting = Setting(
            nodes=tuple(nodes), ranks_per_node=self._ranks_per_node, elsewhere=self._elsewhere
        )
        found = judge(self._facts, self._failed, setting)
        self.passed = True
        fresh = [finding for finding in found if finding not in self._said]
        self._said.update(fresh)
        return fresh

    def _neighbour(self, node: str) -> Neighbour:
        facts = self._facts[node]
        return Neighbour(node=node, address=facts.address, port=facts.port or 0)


def on_several_hosts(order: Order) -> bool:
    return bool(order.agents_by) and len(order.placed) > 1
