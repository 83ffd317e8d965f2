"""slurm.conf and topology.conf as a cluster: nodes, partitions, weights, and how it schedules.

Nodes stand in the order in which Slurm fills them: by Weight, then as written. What the scheduler
here does not model is named in the notes.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from headrace.core.records import replace
from headrace.schedule.cluster import Cluster, NodeSpec, Partition, Tres
from headrace.simulate.errors import RowInvalid
from headrace.simulate.readers.hostlist import NODES_MAX, expand
from headrace.simulate.readers.remarks import BadField, Remarks, integer
from headrace.simulate.readers.site import DefaultMemory, SlurmSite
from headrace.simulate.readers.slurm_options import scheduling, weights
from headrace.simulate.readers.slurm_words import gpus, time_s, tres_weights, truth

Pairs = dict[str, str]
_PAIR = re.compile(r'([\w/]+)\s*=\s*("[^"]*"|\S*)')
_MIB = 1 << 20
_ABSENT = ("down", "drain", "fail", "future", "cloud", "powerdown")
_SWITCH_DEPTH_MAX = 32


def read(text: str, *, name: str, topology: str = "") -> SlurmSite:
    """``topology``: the text of topology.conf. Raise ``RowInvalid``."""
    return _Conf(name).read(text, topology)


def lines(text: str) -> Iterator[tuple[int, str]]:
    r"""Lines of a Slurm file: comments gone (``\#`` is a #), ``\`` at the end joins the next."""
    held, first = "", 0
    for number, line in enumerate(text.split("\n"), start=1):
        bare = re.sub(r"(?<!\\)#.*", "", line).replace("\\#", "#").rstrip()
        first = first or number
        if bare.endswith("\\"):
            held += bare[:-1] + " "
            continue
        if whole := (held + bare).strip():
            yield first, whole
        held, first = "", 0
    if held.strip():
        yield first, held.strip()


class _Conf:
    """One file as it is read. Nodes and partitions take the DEFAULT line before them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.remarks = Remarks(name)
        self.options: Pairs = {}
        self.nodes: dict[str, tuple[int, NodeSpec]] = {}
        self.sets: dict[str, str] = {}
        self.partitions: list[Partition] = []
        self.memory: dict[str, DefaultMemory] = {}
        self._defaults: dict[str, Pairs] = {"nodename": {}, "partitionname": {}}

    def read(self, text: str, topology: str) -> SlurmSite:
        late = []
        for line, pairs in _pairs(text):
            kind = next(iter(pairs))
            if kind == "partitionname":
                late.append((line, pairs))
            elif kind == "nodename":
                with self._at(line):
                    self._node(pairs)
            elif kind == "nodeset":
                self.sets[pairs[kind]] = pairs.get("nodes", "") or "@" + pairs.get("feature", "")
            else:
                self.options |= pairs
        for line, pairs in late:  # nodes may stand after the partitions that name them
            with self._at(line):
                self._partition(pairs)
        specs = [spec for _, spec in sorted(self.nodes.values(), key=lambda item: item[0])]
        if not specs:
            raise RowInvalid(
                self.name,
                line=None,
                field="NodeName",
                value="none",
                rule="a cluster has nodes; no line of the file defines one that is up",
                remedy="give the slurm.conf with the NodeName lines, its includes beside it",
            )
        with self._at(None):
            self.memory[""] = _default_memory(self.options)
            cluster = Cluster(
                nodes=self._on_switches(specs, topology),
                partitions=tuple(self.partitions),
                weights=weights(self.options, specs, self.remarks),
                scheduling=scheduling(self.options, self.remarks),
            )
            return SlurmSite(
                cluster=cluster,
                memory=self.memory,
                notes=self.remarks.close(len(specs)),
            )

    @contextmanager
    def _at(self, line: int | None) -> Iterator[None]:
        """What is wrong inside is said of this line."""
        try:
            yield
        except BadField as bad:
            raise RowInvalid(
                self.name, line=line, field=bad.field, value=bad.value, rule=bad.rule
            ) from None

    def _merged(self, kind: str, pairs: Pairs) -> Pairs | None:
        """With the defaults; None for a line of defaults."""
        if pairs[kind].upper() == "DEFAULT":
            self._defaults[kind] |= pairs
            return None
        return self._defaults[kind] | pairs

    def _node(self, given: Pairs) -> None:
        pairs = self._merged("nodename", given)
        if pairs is None:
            return
        names = expand(pairs["nodename"], field="NodeName")
        state = pairs.get("state", "up").lower()
        if state.startswith(_ABSENT):
            self.remarks.say(f"{len(names)} nodes are {state.upper()} and left out: {names[0]}...")
            return
        spec = NodeSpec(
            name="",
            cpus=_cpus(pairs),
            memory_bytes=integer("RealMemory", pairs.get("realmemory", "1")) * _MIB,
            gpus=gpus("Gres", pairs.get("gres", "")),
            features=tuple(
                filter(None, pairs.get("features", pairs.get("feature", "")).split(","))
            ),
        )
        weight = integer("Weight", pairs.get("weight", "1"))
        if len(self.nodes) + len(names) > NODES_MAX:
            raise BadField("NodeName", pairs["nodename"], f"{NODES_MAX:,} nodes at most")
        for name in names:
            self.nodes[name] = (weight, replace(spec, name=name))

    def _partition(self, given: Pairs) -> None:
        pairs = self._merged("partitionname", given)
        if pairs is None:
            return
        name, get = pairs["partitionname"], pairs.get
        if get("state", "up").lower() in ("down", "inactive"):
            self.remarks.say(f"partition {name} is {get('state')} and left out")
            return
        both = get("priority", "1")
        self.partitions.append(
            Partition(
                name=name,
                nodes=self._members(get("nodes", "")),
                default=truth(get("default", "no")),
                tier=integer("PriorityTier", get("prioritytier", both)),
                job_factor=integer("PriorityJobFactor", get("priorityjobfactor", both)),
                max_time_s=time_s("MaxTime", get("maxtime", "unlimited")),
                default_time_s=time_s("DefaultTime", get("defaulttime", "unlimited")),
                max_nodes=_count("MaxNodes", get("maxnodes", "unlimited")),
                allow_accounts=_names(get("allowaccounts", "")),
                allow_qos=_names(get("allowqos", "")),
                qos=get("qos"),
                billing=_billing(get("tresbillingweights", "")),
            )
        )
        for unmodelled in ("denyaccounts", "denyqos", "allowgroups", "minnodes", "maxcpuspernode"):
            if get(unmodelled, "all").lower() not in ("all", "0", "1"):
                self.remarks.say(f"partition {name}: {unmodelled} is not modelled")
        if get("oversubscribe", get("shared", "no")).lower().startswith(("exclusive", "force")):
            self.remarks.say(f"partition {name}: OverSubscribe is not modelled")
        memory = _default_memory(pairs)
        if memory != DefaultMemory():
            self.memory[name] = memory

    def _members(self, text: str) -> tuple[str, ...]:
        if not text or text.upper() == "ALL":
            return ()
        found: list[str] = []
        for name in expand(text, field="Nodes"):
            nodes = self.sets.get(name)
            if nodes is None:
                found.append(name)
            elif nodes.startswith("@"):
                specs = (spec for _, spec in self.nodes.values())
                found += [spec.name for spec in specs if nodes[1:] in spec.features]
            else:
                found += self.nodes if nodes.upper() == "ALL" else expand(nodes, field="Nodes")
        known = tuple(dict.fromkeys(name for name in found if name in self.nodes))
        if not known:
            raise BadField("Nodes", text, "a partition's nodes have a NodeName line and are up")
        return known

    def _on_switches(self, specs: list[NodeSpec], topology: str) -> tuple[NodeSpec, ...]:
        """Each node with the path of its leaf: SwitchName lines, or BlockName ones."""
        leaf_of: dict[str, str] = {}
        above: dict[str, str] = {}

        for line, pairs in _pairs(topology):
            switch = pairs.get("switchname") or pairs.get("blockname")
            with self._at(line):
                if switch and pairs.get("nodes"):
                    leaf_of |= dict.fromkeys(expand(pairs["nodes"], field="Nodes"), switch)
                if switch and pairs.get("switches"):
                    above |= dict.fromkeys(expand(pairs["switches"], field="Switches"), switch)

        def path(switch: str) -> str:
            parts = [switch]
            while parts[-1] in above and len(parts) < _SWITCH_DEPTH_MAX:
                parts.append(above[parts[-1]])
            return "/".join(reversed(parts))

        return tuple(
            replace(spec, switch=path(leaf_of[spec.name])) if spec.name in leaf_of else spec
            for spec in specs
        )


def _pairs(text: str) -> Iterator[tuple[int, Pairs]]:
    """Line by line what it sets, keys in lower case."""
    for line, words in lines(text):
        if pairs := {key.lower(): value.strip('"') for key, value in _PAIR.findall(words)}:
            yield line, pairs


def _billing(text: str) -> Tres:
    return tres_weights("TRESBillingWeights", text, memory_unit=True) if text else Tres(cpu=1.0)


def _default_memory(pairs: Mapping[str, str]) -> DefaultMemory:
    def size(key: str) -> int:
        text = pairs.get(key, "0")
        return 0 if text.lower() == "unlimited" else integer(key, text) * _MIB

    return DefaultMemory(
        per_cpu_bytes=size("defmempercpu"),
        per_gpu_bytes=size("defmempergpu"),
        per_node_bytes=size("defmempernode"),
    )


def _cpus(pairs: Mapping[str, str]) -> int:
    def part(*keys: str) -> int:
        text = next((pairs[key] for key in keys if key in pairs), "1")
        return integer(keys[0], text, least=1)

    if "cpus" in pairs or "procs" in pairs:
        return part("cpus", "procs")
    sockets = part("sockets") if "sockets" in pairs else part("boards") * part("socketsperboard")
    return sockets * part("corespersocket") * part("threadspercore")


def _count(field: str, text: str) -> int | None:
    return None if text.lower() in ("unlimited", "infinite", "-1") else integer(field, text)


def _names(text: str) -> tuple[str, ...]:
    return () if text.upper() == "ALL" else tuple(filter(None, text.split(",")))
