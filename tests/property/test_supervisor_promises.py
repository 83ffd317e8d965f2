"""Whatever happens, in whatever order, the supervisor keeps its promises."""

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.core.order import RestartPolicy
from headrace.core.states import State
from headrace.launch.supervisor import (
    AskToStop,
    Effect,
    End,
    Event,
    HeardNobody,
    KillRanks,
    LimitIs,
    MemoryExceeded,
    NodeDead,
    NodeGone,
    NodeReady,
    Phase,
    RankDied,
    RankSpoke,
    Run,
    StartAttempt,
    StartFailed,
    StopWanted,
    Tick,
    next_wake_s,
    on_event,
)

NODES = ("a", "b")

events = st.one_of(
    st.builds(NodeReady, st.sampled_from(NODES)),
    st.builds(NodeGone, st.sampled_from(NODES), st.just("gone")),
    st.builds(NodeDead, st.sampled_from(NODES), st.just("dead")),
    st.builds(RankDied, st.integers(0, 2), st.sampled_from([0, 0, 1, -9])),
    st.builds(RankSpoke, st.integers(0, 1), st.integers(0, 100)),
    st.builds(StartFailed, st.sampled_from(NODES), st.just("setup"), st.just(2)),
    st.builds(MemoryExceeded, st.sampled_from(NODES), st.just("too much")),
    st.builds(
        StopWanted, st.sampled_from(["cancel", "preempt", "time"]), st.sampled_from([None, 0.0, 5])
    ),
    st.builds(LimitIs, st.floats(0.0, 300.0)),
    st.builds(HeardNobody, st.floats(10.0, 100.0), st.booleans()),
    st.just(Tick()),
)
histories = st.lists(st.tuples(st.floats(0.0, 50.0), events), max_size=60)
policies = st.builds(
    RestartPolicy,
    max=st.integers(0, 3),
    on=st.sets(st.sampled_from(["node", "hang", "error", "oom"])).map(tuple),
    silent_error=st.booleans(),
    no_progress=st.integers(1, 3),
)


def start(policy: RestartPolicy, limit_s: float | None, nodes_min: int | None = None) -> Run:
    return Run(
        restart=policy,
        nodes=frozenset(NODES),
        nodes_min=nodes_min,
        world_size=2,
        stop_grace_s=5.0,
        kill_wait_s=2.0,
        hang_s=100.0,
        limit_at_s=limit_s,
        attempt=0,
        asks_limit=True,
    )


@settings(max_examples=400)
@given(policies, st.sampled_from([None, 60.0]), st.sampled_from([None, 1]), histories)
def test_attempts_never_overlap_end_once_and_respect_the_policy(
    policy: RestartPolicy,
    limit_s: float | None,
    nodes_min: int | None,
    history: list[tuple[float, Event]],
) -> None:
    run, now_s = start(policy, limit_s, nodes_min), 0.0
    ready: set[str] = set()
    all_effects: list[Effect] = []
    stop_asked = False
    for pause_s, event in history:
        now_s += pause_s
        if isinstance(event, NodeReady):
            ready.add(event.node)
        if isinstance(event, NodeGone | NodeDead):
            ready.discard(event.node)
        was_running = run.phase is Phase.RUNNING
        run, effects = on_event(run, event, now_s)
        for effect in effects:
            if isinstance(effect, StartAttempt):
                assert ready >= run.nodes, "a node was not clear of the last attempt"
                assert not was_running
                assert not stop_asked, "a stop was turned into a restart"
            if isinstance(effect, KillRanks):
                ready.clear()
        if isinstance(event, StopWanted) and run.phase is not Phase.ENDED:
            stop_asked = run.stop is not None
        all_effects += effects
    starts = [effect.attempt for effect in all_effects if isinstance(effect, StartAttempt)]
    assert starts == sorted(set(starts))
    assert len(starts) <= policy.max + 1
    ends = [effect for effect in all_effects if isinstance(effect, End)]
    assert len(ends) <= 1
    assert (run.phase is Phase.ENDED) == (len(ends) == 1)
    if ends:
        assert isinstance(all_effects[-1], End)
        assert (ends[0].exit_code == 0) == (ends[0].state is State.COMPLETED)


@settings(max_examples=200)
@given(policies, histories)
def test_every_asked_stop_ends_the_run_once_nodes_report_clear(
    policy: RestartPolicy, history: list[tuple[float, Event]]
) -> None:
    """Drive any history, ask to stop, then only let time pass and nodes clear: it must end."""
    run, now_s = start(policy, None), 0.0
    for pause_s, event in history:
        now_s += pause_s
        run, _ = on_event(run, event, now_s)
    run, effects = on_event(run, StopWanted("cancel"), now_s)
    for _ in range(6):
        for effect in effects:
            if isinstance(effect, AskToStop):
                assert effect.deadline_s <= now_s + 5.0
        wake_s = next_wake_s(run)
        now_s = max(now_s, wake_s if wake_s is not None else now_s)
        run, effects = on_event(run, Tick(), now_s)
        for node in NODES:
            run, more = on_event(run, NodeReady(node), now_s)
            effects = [*effects, *more]
    assert run.phase is Phase.ENDED
