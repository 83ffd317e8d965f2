"""The agent of one node: starts its ranks, listens to them, leaves nothing behind.

An agent is two processes. The outer *guard* (``guard.py``) and this inner *agent* are both
sub-reapers and watch each other: when one dies, the other kills the tree. The ranks are children of
the agent. When the lead is lost, the agent kills the ranks and leaves, too.

One thread, one selector. What the agent decides is little: the lead decides.
"""

import contextlib
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from headrace.cluster.nodes.cgroup import read_oom_kills
from headrace.cluster.nodes.sample import Sampler
from headrace.core.events import (
    DumpStacks,
    Event,
    Heartbeat,
    NodeSample,
    Noted,
    Placed,
    RankExited,
    RankStarted,
    Staged,
    StopAsked,
    StopBy,
    TreeKilled,
    Up,
)
from headrace.core.order import Order, Placement, RankPlace
from headrace.core.process import become_subreaper
from headrace.core.records import decode, encode, read_record
from headrace.core.rundir import EventWriter, RunDir
from headrace.launch import before, probe, tree, wire
from headrace.launch import rank as ranks
from headrace.launch.facts import Neighbour
from headrace.launch.found import find
from headrace.launch.gap import Gap
from headrace.launch.logfile import LogFile
from headrace.launch.meet import meet
from headrace.launch.memory import claim, release
from headrace.launch.port import hold_port
from headrace.launch.preflight import on_several_hosts
from headrace.launch.rank import Rank
from headrace.launch.ranks import bind_near, rank_environment
from headrace.launch.reach import Answerer, socket_interfaces, unreached

WARNINGS = (signal.SIGTERM, signal.SIGUSR2)
_SAMPLE_S = 1.0
_ROOT = Path("/")
_KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)  # the rank, or what a shell ran in it


class Agent:
    """State of one node's agent; ``serve`` runs it until the run is over."""

    def __init__(
        self,
        run: RunDir,
        node: str,
        channel: wire.Channel,
        guard_pidfd: int,
        *,
        clock: wire.Clock,
    ) -> None:
        self._run = run
        self._node = node
        self._channel = channel
        self._clock = clock
        self._order = read_record(run.order, Order)
        self._given = next(one for one in self._order.placed if one.node == node)
        self._found = None if self._given.cpus else find(os.environ)
        self._events = EventWriter(run, f"agent-{node}", now_s=time.time)
        self._selector = selectors.DefaultSelector()
        self._selector.register(channel, selectors.EVENT_READ, self._hear_lead)
        self._selector.register(guard_pidfd, selectors.EVENT_READ, self._leave)
        self._signals, self._wake = socket.socketpair()
        self._signals.setblocking(False)
        self._wake.setblocking(False)
        signal.set_wakeup_fd(self._wake.fileno())
        for number in WARNINGS:
            signal.signal(number, lambda *_: None)  # the wakeup descriptor carries it to the loop
        self._selector.register(self._signals, selectors.EVENT_READ, self._hear_signal)
        memory = None if self._order.session.checkpoint_memory == 0 else claim(run, node)
        self._memory = {} if memory is None else {"HEADRACE_MEMORY": str(memory)}
        self._ranks: dict[int, Rank] = {}
        self._before: list[before.Step] = []
        self._setup: Rank | None = None
        self._staged: list[Staged] = []
        self._because = ""
        self._launch: wire.Launch | None = None
        self._log: LogFile | None = None
        self._metrics: LogFile | None = None
        self._sampler: Sampler | None = None
        self._oom_kills = 0
        self._kill_at_s: float | None = None
        self._heard_lead_at_s = time.monotonic()
        self._next_beat_s = 0.0
        self._next_sample_s = 0.0
        self._port: socket.socket | None = None
        self._answerer: Answerer | None = None
        self._network: Mapping[str, str] = {}
        self._numa_of_gpu: dict[int, int | None] = {}
        self._numa_of_cpu: dict[int, int] = {}
        self._leaving = False
        self._lead_lost = False

    # --- the loop -----------------------------------------------------------------------------

    def serve(self) -> bool:
        """Until the lead says bye, is lost, or the guard dies. Nothing of ours is left then.

        Return whether the lead was there to the end.
        """
        if self._order.agents_by:
            tree.clear_node(self._run, self._node)
        self._look()
        self._report_idle()
        gap = Gap(time.monotonic())
        while not self._leaving:
            ready = self._selector.select(self._timeout_s())
            self._heard_lead_at_s += gap.since_s(time.monotonic())
            for key, _ in ready:
                if self._selector.get_map().get(key.fd) is key:  # else let go of in this round
                    key.data()
            self._on_time(time.monotonic())
        self._end_attempt("the agent leaves")
        if not self._lead_lost:  # else there may be a next lead of the run
            release(self._run, self._node)
        self._channel.flush()
        return not self._lead_lost

    def _timeout_s(self) -> float:
        times = [self._next_beat_s, self._kill_at_s]
        if self._ranks or self._setup:
            times.append(self._next_sample_s)
        times.extend(file.due_s() for file in (self._log, self._metrics) if file is not None)
        return max(0.0, min(time_s for time_s in times if time_s is not None) - time.monotonic())

    def _on_time(self, now_s: float) -> None:
        if now_s >= self._next_beat_s:
            self._channel.send(wire.Beat())
            self._next_beat_s = now_s + wire.BEAT_S
            before.keep(self._order.run_id, self._staged)
            if now_s - self._heard_lead_at_s > wire.SILENCE_S:
                self._lose_lead()
        if self._sampler is not None and now_s >= self._next_sample_s:
            self._next_sample_s = now_s + _SAMPLE_S
            self._sample()
        for file in (self._log, self._metrics):
            if file is not None and (due_s := file.due_s()) is not None and now_s >= due_s:
                file.flush(now_s)
        if self._kill_at_s is not None and now_s >= self._kill_at_s:
            self._end_attempt("the attempt is over")
            self._report_idle()
        self._watch_writes()

    def _watch_writes(self) -> None:
        """Ask the selector for room in a socket only while something waits to be sent."""
        for channel in (self._channel, *(rank.channel for rank in self._ranks.values())):
            with contextlib.suppress(KeyError):
                key = self._selector.get_key(channel)
                wanted = selectors.EVENT_READ
                if channel.wants_write:
                    channel.flush()
                    wanted |= selectors.EVENT_WRITE if channel.wants_write else 0
                if key.events != wanted:
                    self._selector.modify(channel, wanted, key.data)

    def _leave(self) -> None:
        self._leaving = True

    def _lose_lead(self) -> None:
        self._lead_lost = not self._leaving
        self._leaving = True

    # --- the lead -----------------------------------------------------------------------------

    def _hear_lead(self) -> None:
        for line in self._channel.lines():
            self._heard_lead_at_s = time.monotonic()
            match wire.decode_to_agent(line):
                case wire.Reach(others=others):
                    self._reach(others)
                case wire.Launch() as launch:
                    self._start_attempt(launch)
                case wire.Stop(reason=reason, deadline_s=deadline_s):
                    self._ask_to_stop(reason, deadline_s)
                case wire.Dump():
                    self._dump_stacks()
                case wire.Kill(grace_s=grace_s):
                    self._kill_at_s = time.monotonic() + (grace_s if self._ranks else 0.0)
                case wire.Bye():
                    self._leave()
                case _:
                    pass
        if self._channel.closed:
            self._lose_lead()

    def _hear_signal(self) -> None:
        with contextlib.suppress(BlockingIOError):
            for number in self._signals.recv(64):
                self._channel.send(wire.Warned(signal=number))

    def _look(self) -> None:
        """Tell the lead what the node is like; from then on answer other nodes."""
        order, here = self._order, self._given
        names = [str(gpu) for gpu in here.gpus] if self._found is None else self._found.gpu_names
        facts = probe.look(here.address, names)
        if facts.gpus:
            from headrace.cluster.nodes.cpus import read_numa

            numbers = here.gpus if self._found is None else self._found.gpus
            numa_of_name = {gpu.name: gpu.numa_node for gpu in facts.gpus}
            self._numa_of_gpu = {
                number: numa_of_name.get(name) for number, name in zip(numbers, names, strict=True)
            }
            self._numa_of_cpu = {cpu: numa.index for numa in read_numa(_ROOT) for cpu in numa.cpus}
        if on_several_hosts(order):
            self._answerer = Answerer(self._node)
            self._selector.register(self._answerer, selectors.EVENT_READ, self._answerer.answer)
            facts = probe.look_around(
                facts,
                port=self._answerer.port,
                clock=self._clock,
                survivors=probe.ranks_left(self._run.root, self._node),
                argv=order.command,
                environment=self._submitter() | order.env,
            )
            self._network = socket_interfaces(facts.interface)
        self._channel.send(wire.Looked(facts=facts))

    def _reach(self, others: Sequence[Neighbour]) -> None:
        assert self._answerer is not None
        self._channel.send(wire.Reached(failed=unreached(others, self._answerer)))

    def _submitter(self) -> dict[str, str]:
        return decode(Path(self._order.environment_file).read_bytes(), dict[str, str])

    def _report_idle(self) -> None:
        """Hold a port for the next rendezvous and say that the node is clear."""
        if self._port is not None:
            self._port.close()
        self._port = hold_port()
        port, found = self._port.getsockname()[1], self._found
        cpus, gpus = ((), ()) if found is None else (found.cpus, found.gpus)
        self._channel.send(wire.Idle(port=port, cpus=cpus, gpus=gpus))

    def _ask_to_stop(self, reason: str, deadline_s: float) -> None:
        self._write(StopAsked(reason=reason, deadline_s=deadline_s))
        if self._setup is not None:
            self._setup.terminate()
        for rank in self._ranks.values():
            if rank.spoke:
                rank.tell(StopBy(reason=reason, deadline_s=deadline_s))
            else:
                rank.terminate()

    def _dump_stacks(self) -> None:
        folder = self._folder() / "stacks"
        folder.mkdir(exist_ok=True)
        for number, rank in self._ranks.items():
            rank.tell(DumpStacks(path=str(folder / f"rank-{number}.txt")))

    # --- an attempt ---------------------------------------------------------------------------

    def _start_attempt(self, launch: wire.Launch) -> None:
        self._launch = launch
        folder = self._folder()
        folder.mkdir(parents=True, exist_ok=True)
        self._log = LogFile(folder / "log")
        self._metrics = LogFile(folder / "metrics.jsonl")
        placed = self._placed()
        if placed.gpus:
            (folder / "flight").mkdir(exist_ok=True)
        self._sampler = Sampler(cpus=len(placed.cpus), gpus=placed.gpus)
        self._next_sample_s = 0.0
        self._staged, self._because = [], ""
        self._before = before.steps(self._run, self._order, self._node, self._submitter())
        self._go_on()

    def _go_on(self) -> None:
        """With what comes before the ranks, one after the other; then with them."""
        if not self._before:
            self._start_ranks()
            return
        step, placed = self._before.pop(0), self._placed()
        place = RankPlace(
            rank=before.RANK,
            local_rank=0,
            node=self._node,
            node_rank=self._placement().nodes.index(placed),
            cpus=placed.cpus,
            gpus=placed.gpus,
        )
        self._setup = self._start_one(step.argv, place, step.environment)
        watch = self._call(self._step_ended, self._setup, step.what)
        self._selector.register(self._setup.pidfd, selectors.EVENT_READ, watch)

    def _step_ended(self, step: Rank, what: str) -> None:
        code = self._take_exit_code(step)
        self._setup = None
        if code == 0:
            self._go_on()
        else:
            detail = f"{what} ended with exit code {code}{self._because}"
            self._channel.send(wire.NotStarted(detail=detail, exit_code=abs(code)))

    def _start_ranks(self) -> None:
        self._oom_kills = read_oom_kills(_ROOT)
        places = [place for place in self._placement().ranks if place.node == self._node]
        for place in bind_near(places, self._numa_of_gpu, self._numa_of_cpu):
            started = self._start_one(self._order.command, place)
            self._ranks[place.rank] = started
            watch = self._call(self._rank_ended, started)
            self._selector.register(started.pidfd, selectors.EVENT_READ, watch)
            self._write(
                RankStarted(rank=place.rank, pid=started.pid, cpus=place.cpus, gpus=place.gpus)
            )

    def _start_one(
        self, argv: tuple[str, ...], place: RankPlace, own: Mapping[str, str] | None = None
    ) -> Rank:
        assert self._launch is not None
        environment = own
        if environment is None:
            theirs = rank_environment(
                order=self._order,
                placement=self._launch.placement,
                place=place,
                master_address=self._launch.master_address,
                master_port=self._launch.master_port,
                run_dir=self._run.root,
                submitter={**self._network, **self._submitter()},
                found=None if self._found is None else self._found.environment,
            )
            theirs |= self._memory
            argv, environment = before.near(self._order, self._staged, argv, theirs)
        started = ranks.start(
            argv, place=place, environment=environment, workdir=self._order.workdir
        )
        for stream in started.streams:
            watch = self._call(self._hear_stream, started, stream)
            self._selector.register(stream, selectors.EVENT_READ, watch)
        watch = self._call(self._hear_rank, started)
        self._selector.register(started.channel, selectors.EVENT_READ, watch)
        return started

    def _rank_ended(self, rank: Rank) -> None:
        code = self._take_exit_code(rank)
        del self._ranks[rank.place.rank]
        self._write(RankExited(rank=rank.place.rank, exit_code=code))
        if code in _KILLED and read_oom_kills(_ROOT) > self._oom_kills:
            detail = f"the kernel killed rank {rank.place.rank} for want of memory"
            self._channel.send(wire.OverMemory(detail=detail))
        self._channel.send(wire.RankGone(rank=rank.place.rank, exit_code=code))
        if not self._ranks:
            for text in before.damaged_copies(self._staged):
                self._write(Noted(level="warning", text=text))
            self._flush_files()

    def _take_exit_code(self, rank: Rank) -> int:
        _, status = os.waitpid(rank.pid, 0)
        self._forget(rank)
        return os.waitstatus_to_exitcode(status)

    def _forget(self, rank: Rank) -> None:
        """Read what an ended rank left in its pipes, and let go of it."""
        self._hear_rank(rank)
        for stream in rank.streams:
            if not stream.closed:
                self._hear_stream(rank, stream)
        self._unwatch(rank.pidfd)
        self._unwatch(rank.channel)
        for stream in rank.streams:
            if not stream.closed:
                self._unwatch(stream)
        rank.close()

    def _unwatch(self, watched: int | wire.Channel | ranks.Stream) -> None:
        with contextlib.suppress(KeyError):
            self._selector.unregister(watched)

    def _end_attempt(self, why: str) -> None:
        """Kill and reap everything below us; write what was found."""
        self._kill_at_s = None
        known = {rank.pid: rank for rank in self._ranks.values()}
        if self._setup is not None:
            known[self._setup.pid] = self._setup

        def on_exit(pid: int, exit_code: int) -> None:
            rank = known.get(pid)
            if rank is not None and rank is not self._setup:
                self._write(RankExited(rank=rank.place.rank, exit_code=exit_code))

        killed = tree.clear(on_exit=on_exit)
        strays = tuple(pid for pid in killed if pid not in known)
        if strays:
            self._write(TreeKilled(pids=strays, detail=why))
        for rank in known.values():
            self._forget(rank)
        self._ranks.clear()
        self._setup = None
        self._sampler = None
        for file in (self._log, self._metrics):
            if file is not None:
                file.close(time.monotonic())
        self._log = self._metrics = None

    # --- what ranks say -----------------------------------------------------------------------

    def _hear_stream(self, rank: Rank, stream: ranks.Stream) -> None:
        lines = stream.lines()
        if self._log is not None and lines:
            self._log.add_output(rank.place.rank, stream.tag, lines, time.monotonic())
        if stream.closed:
            self._unwatch(stream)
            os.close(stream.descriptor)

    def _hear_rank(self, rank: Rank) -> None:
        for message in rank.messages():
            self._take(rank, message)
        if rank.channel.closed:
            self._unwatch(rank.channel)

    def _take(self, rank: Rank, message: Up) -> None:
        if isinstance(message, Heartbeat):
            for step in message.steps:
                self._metric(step)
        else:
            self._write(message)
        if rank is self._setup:
            self._staged += [message] if isinstance(message, Staged) else []
            self._because = f": {message.text}" if isinstance(message, Noted) else ""
            return
        rank.step = max(rank.step, getattr(message, "step", -1))
        self._channel.send(wire.Spoke(rank=rank.place.rank, step=rank.step))

    def _metric(self, metric: object) -> None:
        if self._metrics is not None:
            self._metrics.append(encode(metric) + b"\n", time.monotonic())

    def _sample(self) -> None:
        assert self._sampler is not None
        sample: NodeSample = self._sampler.sample(tree.below(os.getpid()), now_s=time.time())
        self._metric(sample)
        limit = self._placed().memory_bytes
        if limit is not None and sample.memory_bytes > limit and self._kill_at_s is None:
            used_gib, limit_gib = sample.memory_bytes / 2**30, limit / 2**30
            detail = f"ranks use {used_gib:.2f} GiB, the run asked for {limit_gib:.2f} GiB"
            self._channel.send(wire.OverMemory(detail=detail))

    # --- small things -------------------------------------------------------------------------

    def _placement(self) -> Placement:
        assert self._launch is not None
        return self._launch.placement

    def _placed(self) -> Placed:
        return next(node for node in self._placement().nodes if node.node == self._node)

    def _folder(self) -> Path:
        return self._run.node(self._placement().attempt, self._node)

    def _flush_files(self) -> None:
        for file in (self._log, self._metrics):
            if file is not None:
                file.flush(time.monotonic())

    def _write(self, event: Event) -> None:
        attempt = self._launch.placement.attempt if self._launch else self._order.attempt
        with contextlib.suppress(OSError):  # a full disk must not end a run
            self._events.write(event, attempt=attempt)

    @staticmethod
    def _call(function: Callable[..., None], *arguments: object) -> Callable[[], None]:
        return lambda: function(*arguments)


def serve(run: RunDir, node: str, host: str, port: int, number: int, guard_pid: int) -> bool:
    """The inner process. Returns when the run is over, another agent has taken its place, or its
    lead or guard is gone: False if the lead was lost. ``number``: of the lead's start."""
    become_subreaper()
    guard_pidfd = os.pidfd_open(guard_pid)
    if os.getppid() != guard_pid:
        return True
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    met = meet(run, node, host, port, number)
    if met is None:
        return True
    channel, clock = met
    return Agent(run, node, channel, guard_pidfd, clock=clock).serve()
