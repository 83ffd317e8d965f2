"""The lead of one run: carries out what the supervisor decides.

``python -m headrace.launch.lead RUN_DIR`` reads ``order.json``, starts an agent a node, and ends
when the run has ended, with the run's exit code. Its last event is ``Ended``. SIGTERM means "stop":
for the reason in ``stop.json``, else the run is cancelled.

Agents are forked off it, or started on other hosts by a command of the batch system (``holder``). A
lead is a sub-reaper: what a killed agent and its guard leave behind becomes its child and is
killed. If the lead itself dies, the agents kill their ranks, and the engine that started it finds
no ``Ended`` and requeues the run.
"""

import contextlib
import os
import secrets
import selectors
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from headrace.core import events
from headrace.core.events import Placed
from headrace.core.order import Order, StopRequest
from headrace.core.process import become_subreaper, boot_id, identify, wait_readable
from headrace.core.records import (
    DecodeError,
    Record,
    read_record,
    replace,
    write_file,
    write_record,
)
from headrace.core.rundir import EventWriter, RunDir
from headrace.launch import holder, supervisor, tree, wire
from headrace.launch.gap import Gap
from headrace.launch.holder import Holder
from headrace.launch.judge import given_up
from headrace.launch.memory import release
from headrace.launch.preflight import Preflight
from headrace.launch.question import answered, ask
from headrace.launch.ranks import place_ranks

_AGENT_START_S = 60.0
_AGENT_START_MORE_S = 0.5  # a node: 512 Pythons read the same files of a shared file system at once
_AGENT_STARTS = 3
_BYE_S = 10.0
_LAST_WORD_S = 60.0
_LAST_WORD_PAUSE_S = 1.0


class Peer:
    """A connection to the lead's port: not yet trusted, then the agent of one node."""

    def __init__(self, connection: socket.socket, nonce: str) -> None:
        self.channel = wire.Channel(connection)
        self.nonce = nonce
        self.node: str | None = None
        self.heard_at_s = time.monotonic()
        self.idle = wire.Idle(port=0)


class Lead:
    """One run's lead. ``lead`` runs it and returns the exit code."""

    def __init__(self, run: RunDir, order: Order) -> None:
        self._run = run
        self._order = order
        self._secret = secrets.token_hex(32)
        write_file(run.root / "secret", self._secret.encode(), mode=0o600)
        self._events = EventWriter(run, "lead", now_s=time.time)
        self._selector = selectors.DefaultSelector()
        self._listener = socket.create_server((order.placed[0].address, 0), backlog=1024)
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._signals, self._wake = socket.socketpair()
        self._signals.setblocking(False)
        self._wake.setblocking(False)
        signal.set_wakeup_fd(self._wake.fileno())
        for number in (signal.SIGTERM, signal.SIGUSR2):
            signal.signal(number, lambda *_: None)  # the wakeup descriptor carries it to the loop
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGUSR2))
        self._selector.register(self._signals, selectors.EVENT_READ, self._hear_signal)
        self._peers: list[Peer] = []
        self._holders: list[Holder] = []
        self._starts = 0
        self._agent_start_s = _AGENT_START_S + _AGENT_START_MORE_S * len(order.placed)
        self._vain_starts: Counter[str] = Counter()
        self._checks = Preflight(order)
        self._clear: set[str] = set()
        self._next_beat_s = 0.0
        self._ended: events.Ended | None = None
        now_s = time.monotonic()
        limit_s = order.time_limit_s
        self._state = supervisor.Run(
            restart=order.restart,
            nodes=frozenset(placed.node for placed in order.placed),
            world_size=len(order.placed) * order.ranks_per_node,
            stop_grace_s=order.stop_grace_s,
            kill_wait_s=order.kill_wait_s,
            hang_s=order.hang_s,
            limit_at_s=None if limit_s is None else now_s + limit_s - order.time_used_s,
            attempt=order.attempt,
            nodes_min=order.nodes_min,
            restarts=order.restarts_used,
            furthest_step=order.furthest_step,
            no_progress=order.no_progress,
            asks_limit=bool(order.limit_by),
        )

    # --- the loop -----------------------------------------------------------------------------

    def lead(self) -> int:
        me = identify(os.getpid())
        assert me is not None
        began = events.LeadStarted(pid=me.pid, start_ticks=me.start_ticks, boot_id=boot_id())
        self._events.write(began, attempt=self._state.attempt, durable=True)
        self._start_agents([placed.node for placed in self._order.placed])
        if self._run.stop.exists():  # asked for before we could hear the signal
            self._stop()
        gap = Gap(time.monotonic())
        while self._ended is None:
            ready = self._selector.select(self._timeout_s())
            self._pass_over(gap.since_s(time.monotonic()), suspended=True)
            for key, _ in ready:
                key.data()
            self._on_time(time.monotonic())
            self._pass_over(gap.since_s(time.monotonic()), suspended=False)
        self._dismiss()
        return self._ended.exit_code

    def _pass_over(self, gap_s: float, *, suspended: bool) -> None:
        """``suspended``: it was not our own work, such as a write to a slow file system, that took
        so long."""
        if gap_s:
            for peer in self._peers:
                peer.heard_at_s += gap_s
            for held in self._holders:
                held.started_at_s += gap_s
            self._feed(supervisor.HeardNobody(gap_s, suspended))

    def _timeout_s(self) -> float:
        wake_s = supervisor.next_wake_s(self._state)
        times = [self._next_beat_s] + ([] if wake_s is None else [wake_s])
        return max(0.0, min(times) - time.monotonic())

    def _on_time(self, now_s: float) -> None:
        if now_s >= self._next_beat_s:
            self._next_beat_s = now_s + wire.BEAT_S
            self._check_agents(now_s)
        wake_s = supervisor.next_wake_s(self._state)
        if wake_s is not None and now_s >= wake_s:
            self._feed(supervisor.Tick())
        for peer in self._peers:
            key = self._selector.get_key(peer.channel)
            wanted = selectors.EVENT_READ
            if peer.channel.wants_write:
                peer.channel.flush()
                wanted |= selectors.EVENT_WRITE if peer.channel.wants_write else 0
            if key.events != wanted:
                self._selector.modify(peer.channel, wanted, key.data)

    def _check_agents(self, now_s: float) -> None:
        for peer in list(self._peers):
            if peer.node is not None:  # before that, it waits for our Welcome and nothing else
                peer.channel.send(wire.Beat())
            if now_s - peer.heard_at_s > wire.SILENCE_S:
                self._drop(peer, f"no word from its agent for {wire.SILENCE_S:.0f} s")
        met = {peer.node for peer in self._peers}
        for held in list(self._holders):
            if now_s - held.started_at_s > self._agent_start_s:
                for node in held.nodes - met:
                    detail = f"its agent did not come up in {self._agent_start_s:.0f} s"
                    self._lose_node(node, detail)
        tree.reap(spare=self._holder_pids())

    # --- deciding and doing -------------------------------------------------------------------

    def _feed(self, event: supervisor.Event) -> None:
        self._state, effects = supervisor.on_event(self._state, event, time.monotonic())
        for effect in effects:
            self._carry_out(effect)

    def _carry_out(self, effect: supervisor.Effect) -> None:
        match effect:
            case supervisor.StartAttempt(attempt):
                self._start_attempt(attempt)
            case supervisor.AskToStop(reason, deadline_s):
                wall_s = time.time() + deadline_s - time.monotonic()
                self._write(events.StopAsked(reason=reason, deadline_s=wall_s))
                self._tell_all(wire.Stop(reason=reason, deadline_s=wall_s))
            case supervisor.DumpStacks():
                self._tell_all(wire.Dump())
            case supervisor.AskLimit():
                question = ask(self._order.limit_by)
                hear = self._call(self._hear_limit, question)
                self._selector.register(question, selectors.EVENT_READ, hear)
            case supervisor.KillRanks(grace_s):
                self._tell_all(wire.Kill(grace_s=grace_s))
            case supervisor.AttemptOver(outcome, step, restart_in_s):
                over = events.AttemptEnded(
                    outcome=outcome.kind,
                    detail=outcome.detail,
                    step=step,
                    restart_in_s=restart_in_s,
                )
                number = self._state.attempt - (0 if restart_in_s is None else 1)
                self._write(over, attempt=number)
            case supervisor.End(state, exit_code, detail):
                self._ended = events.Ended(state=state, exit_code=exit_code, detail=detail)

    def _hear_limit(self, question: int) -> None:
        self._selector.unregister(question)
        limit_s = answered(question)
        if limit_s is None:
            return
        before_s = self._state.limit_at_s
        self._feed(supervisor.LimitIs(limit_s + time.monotonic() - time.time()))
        if self._state.limit_at_s != before_s:
            self._write(events.LimitMoved(limit_s=limit_s))

    def _start_attempt(self, attempt: int) -> None:
        idle = {peer.node: peer.idle for peer in self._peers}
        kept = [one for one in self._order.placed if one.node in self._state.nodes]
        placed = [_filled(one, idle[one.node]) for one in kept]
        placement = place_ranks(self._order, placed, attempt)
        first, port = placed[0], idle[placed[0].node].port
        folder = self._run.attempt(attempt)
        folder.mkdir(parents=True, exist_ok=True)
        write_record(folder / "placement.json", placement)
        launch = wire.Launch(placement=placement, master_address=first.address, master_port=port)
        write_record(
            folder / "rendezvous.json",
            {"master_address": first.address, "master_port": port},
        )
        self._write(
            events.AttemptStarted(
                world_size=placement.world_size,
                nodes=tuple(placed.node for placed in placement.nodes),
                master=f"{first.address}:{port}",
            )
        )
        self._tell_all(launch)

    def _tell_all(self, message: Record) -> None:
        for peer in self._peers:
            if peer.node is not None:
                peer.channel.send(message)

    def _hear_signal(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._signals.recv(64)
        self._stop()

    def _stop(self) -> None:
        reason, grace_s = self._why_signalled(), None
        with contextlib.suppress(FileNotFoundError, DecodeError):
            request = read_record(self._run.stop, StopRequest)
            reason, grace_s = request.reason, request.grace_s
        self._feed(supervisor.StopWanted(reason, grace_s))

    def _why_signalled(self) -> str:
        limit_at_s = self._state.limit_at_s
        is_near = limit_at_s is not None and (
            time.monotonic() >= limit_at_s - self._order.limit_warned_s
        )
        return "time" if is_near else self._order.signal_means

    # --- agents -------------------------------------------------------------------------------

    def _start_agents(self, nodes: Sequence[str]) -> None:
        host, port = self._listener.getsockname()[:2]
        self._starts += 1
        for held in holder.start(
            self._run, self._order, nodes, host=host, port=port, number=self._starts
        ):
            self._holders.append(held)
            watch = self._call(self._holder_ended, held)
            self._selector.register(held.pidfd, selectors.EVENT_READ, watch)

    def _holder_ended(self, held: Holder) -> None:
        self._selector.unregister(held.pidfd)
        os.close(held.pidfd)
        os.waitpid(held.pid, 0)
        self._holders.remove(held)
        killed = tree.clear(spare=self._holder_pids())
        if killed:
            detail = f"left behind by the agent of {', '.join(sorted(held.nodes))}"
            self._write(events.TreeKilled(pids=tuple(killed), detail=detail))
        for node in sorted(held.nodes):
            self._lose_node(node, "its agent died")

    def _holder_pids(self) -> tuple[int, ...]:
        return tuple(held.pid for held in self._holders)

    def _lose_node(self, node: str, detail: str) -> None:
        """Whatever is left of the node's agent goes; a new one is started, unless that is vain."""
        self._checks.lost(node)
        self._clear.discard(node)
        for peer in [peer for peer in self._peers if peer.node == node]:
            self._close(peer)
        for held in self._holders:
            if held.nodes == {node}:
                os.kill(held.pid, signal.SIGKILL)  # its end brings us here again
                return
            held.nodes.discard(node)  # without us, its agent leaves by itself
        self._vain_starts[node] += 1
        vain = self._vain_starts[node] > _AGENT_STARTS
        self._write(events.NodeLost(node=node, detail=detail, given_up=vain))
        gone = supervisor.NodeDead if vain else supervisor.NodeGone
        self._feed(gone(node, detail))
        if self._ended is None and not vain:
            self._start_agents([node])
        self._check()

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            connection, _ = self._listener.accept()
            wire.prepare(connection)
            peer = Peer(connection, secrets.token_hex(16))
            self._peers.append(peer)
            watch = self._call(self._hear_peer, peer)
            self._selector.register(peer.channel, selectors.EVENT_READ, watch)
            peer.channel.send(wire.Challenge(nonce=peer.nonce))

    def _hear_peer(self, peer: Peer) -> None:
        try:
            for line in peer.channel.lines():
                peer.heard_at_s = time.monotonic()
                message = wire.decode_to_lead(line)
                if peer.node is None:
                    self._greet(peer, message)
                else:
                    self._take(peer, peer.node, message)
        except DecodeError:
            peer.channel.closed = True
        if peer.channel.closed and peer in self._peers:
            self._drop(peer, "the connection to its agent ended")

    def _greet(self, peer: Peer, message: wire.ToLead) -> None:
        """Only who knows the secret and was started last on a node of ours is let in, once."""
        if not isinstance(message, wire.Hello) or not wire.proves(
            message.proof, self._secret, "agent", peer.nonce, message.node
        ):
            peer.channel.closed = True
            return
        wanted = any(
            message.node in held.nodes and message.start == held.number for held in self._holders
        )
        if not wanted or any(message.node == other.node for other in self._peers):
            peer.channel.send(wire.Bye())
            peer.channel.closed = True
            return
        peer.node = message.node
        answer = wire.proof(self._secret, "lead", message.nonce, message.node)
        peer.channel.send(wire.Welcome(proof=answer, time_s=time.time()))

    def _take(self, peer: Peer, node: str, message: wire.ToLead) -> None:
        match message:
            case wire.Idle():
                peer.idle = message
                self._vain_starts[node] = 0
                self._clear.add(node)
                self._check()
            case wire.Looked(facts=facts):
                self._checks.looked(node, facts)
                self._check()
            case wire.Reached(failed=failed):
                self._checks.reached(node, failed)
                self._check()
            case wire.Warned():
                self._stop()
            case wire.RankGone(rank=rank, exit_code=exit_code):
                self._feed(supervisor.RankDied(rank, exit_code))
            case wire.Spoke(rank=rank, step=step):
                self._feed(supervisor.RankSpoke(rank, step))
            case wire.NotStarted(detail=detail, exit_code=exit_code):
                self._feed(supervisor.StartFailed(node, detail, exit_code))
            case wire.OverMemory(detail=detail):
                self._feed(supervisor.MemoryExceeded(node, detail))
            case _:
                pass

    def _check(self) -> None:
        """Let nodes that are clear go on when all have been checked, those that cannot be used not
        at all."""
        nodes = [one.node for one in self._order.placed if one.node in self._state.nodes]
        asked = self._checks.whom_to_reach(nodes)
        for peer in self._peers:
            if peer.node in asked:
                peer.channel.send(wire.Reach(others=asked[peer.node]))
        findings = self._checks.findings(nodes)
        for finding in findings or ():
            self._write(finding)
        self._give_up(given_up(findings or ()))
        if self._checks.passed:
            for node in sorted(self._clear):
                self._clear.discard(node)
                self._feed(supervisor.NodeReady(node))

    def _give_up(self, bad: Mapping[str, str]) -> None:
        """All are named before the run may end for the first."""
        for node, detail in bad.items():
            self._clear.discard(node)
            self._write(events.NodeLost(node=node, detail=detail, given_up=True))
            self._send_home(node)
        for node, detail in bad.items():
            self._feed(supervisor.NodeDead(node, detail))

    def _send_home(self, node: str) -> None:
        for peer in [peer for peer in self._peers if peer.node == node]:
            peer.channel.send(wire.Bye())
            self._close(peer)
        for held in self._holders:
            held.nodes.discard(node)

    def _drop(self, peer: Peer, detail: str) -> None:
        self._close(peer)
        if peer.node is not None:
            self._lose_node(peer.node, detail)

    def _close(self, peer: Peer) -> None:
        if peer in self._peers:
            self._peers.remove(peer)
            self._selector.unregister(peer.channel)
            peer.channel.close()

    def _dismiss(self) -> None:
        """Send the agents home, make sure that nothing is left, and say how the run ended."""
        self._tell_all(wire.Bye())
        deadline_s = time.monotonic() + _BYE_S
        for held in self._holders:
            wait_readable(held.pidfd, deadline_s - time.monotonic())
        killed = tree.clear()
        if killed:
            self._write(events.TreeKilled(pids=tuple(killed), detail="left when the run ended"))
        for placed in self._order.placed:  # of a node of this host whose agent was killed
            release(self._run, placed.node)
        (self._run.root / "secret").unlink(missing_ok=True)
        assert self._ended is not None
        self._say_last(self._ended)

    def _say_last(self, ended: events.Ended) -> None:
        """Wait for room on a full file system: without this word the run would run again."""
        until_s = time.monotonic() + _LAST_WORD_S
        while True:
            try:
                self._events.write(ended, attempt=self._state.attempt, durable=True)
                return
            except OSError:
                if time.monotonic() > until_s:
                    raise
                time.sleep(_LAST_WORD_PAUSE_S)

    def _write(self, event: events.Event, *, attempt: int | None = None) -> None:
        number = self._state.attempt if attempt is None else attempt
        with contextlib.suppress(OSError):  # a full disk must not end a run
            self._events.write(event, attempt=number)

    @staticmethod
    def _call(function: Callable[..., None], *arguments: object) -> Callable[[], None]:
        return lambda: function(*arguments)


def _filled(placed: Placed, idle: wire.Idle) -> Placed:
    """With what the agent found, where the order left that open."""
    return placed if placed.cpus else replace(placed, cpus=idle.cpus, gpus=idle.gpus)


def main(arguments: list[str]) -> int:
    run = RunDir(Path(arguments[0]))
    become_subreaper()
    order = read_record(run.order, Order)
    os.environ["HEADRACE_RUN_ID"] = order.run_id
    os.environ["HEADRACE_RUN_DIR"] = str(run.root)
    return Lead(run, order).lead()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
