"""The supervisor's promises, one sentence each; the property tests drive it with any events."""

import pytest

from headrace.core.errors import EXIT_NODE_LOST
from headrace.core.order import RestartPolicy
from headrace.core.records import replace
from headrace.core.states import State
from headrace.launch import supervisor
from headrace.launch.supervisor import (
    AskLimit,
    AskToStop,
    AttemptOver,
    DumpStacks,
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
    on_event,
)


def new_run(**changes: object) -> Run:
    run = Run(
        restart=RestartPolicy(),
        nodes=frozenset({"a", "b"}),
        world_size=2,
        stop_grace_s=20.0,
        kill_wait_s=10.0,
        hang_s=600.0,
        limit_at_s=None,
        attempt=0,
    )
    return replace(run, **changes)


def drive(run: Run, *steps: tuple[float, Event]) -> tuple[Run, list[Effect]]:
    """Feed timed events; return the last state and all effects."""
    effects: list[Effect] = []
    for now_s, event in steps:
        run, new = on_event(run, event, now_s)
        effects += new
    return run, effects


def running(**changes: object) -> Run:
    run, effects = drive(new_run(**changes), (0.0, NodeReady("a")), (0.0, NodeReady("b")))
    assert effects == [StartAttempt(0)]
    return run


def both_ready(now_s: float) -> tuple[tuple[float, Event], ...]:
    return (now_s, NodeReady("a")), (now_s, NodeReady("b"))


def test_ranks_start_only_when_every_node_is_ready() -> None:
    _, effects = drive(new_run(), (0.0, NodeReady("a")))
    assert effects == []


def test_a_run_whose_ranks_all_end_well_is_completed_after_its_nodes_are_clear() -> None:
    run, effects = drive(running(), (5.0, RankDied(0, 0)), (6.0, RankDied(1, 0)))
    assert effects == [KillRanks(0.0)]
    _, effects = drive(run, *both_ready(6.1))
    assert [type(effect) for effect in effects] == [AttemptOver, End]
    assert effects[-1] == End(State.COMPLETED, 0, "all ranks ended well")


def test_a_dead_rank_ends_the_attempt_and_a_new_one_follows_after_the_backoff() -> None:
    run, effects = drive(running(), (5.0, RankSpoke(0, 7)), (6.0, RankDied(1, -9)))
    assert effects == [KillRanks(1.0)]
    run, effects = drive(run, *both_ready(7.0))
    assert isinstance(effects[0], AttemptOver)
    assert effects[0].restart_in_s == 1.0
    assert effects[0].outcome.exit_code == 137
    run, effects = drive(run, (7.5, Tick()))
    assert effects == []
    run, effects = drive(run, (8.0, Tick()))
    assert effects == [StartAttempt(1)]
    assert run.restarts == 1


def test_a_program_that_never_reported_a_step_is_not_restarted_on_error() -> None:
    _, effects = drive(running(), (1.0, RankDied(0, 1)), *both_ready(2.0))
    assert effects[-1] == End(
        State.FAILED,
        1,
        "rank 0 ended with exit code 1; it had reported no step and the job file asks for no"
        " restart on error",
    )


def test_a_silent_program_is_restarted_on_error_when_the_job_file_says_so() -> None:
    run = running(restart=RestartPolicy(silent_error=True))
    run, effects = drive(run, (1.0, RankDied(0, 1)), *both_ready(2.0))
    assert run.phase is Phase.WAITING
    assert not any(isinstance(effect, End) for effect in effects)


def test_attempts_that_get_no_further_are_given_up() -> None:
    run = running()
    effects: list[Effect] = []
    now_s = 1.0
    for _ in range(10):
        if run.phase is Phase.ENDED:
            break
        run, effects = drive(
            run, (now_s, RankSpoke(0, 40)), (now_s, RankDied(0, 1)), *both_ready(now_s)
        )
        now_s += 100.0
        run, _ = drive(run, (now_s, Tick()))
    assert run.restarts == 3, "one that got to step 40, then three that got no further"
    assert isinstance(effects[-1], End)
    assert effects[-1].detail.endswith("3 attempts in a row got no further")


def test_a_run_that_gets_further_each_time_is_restarted_up_to_the_limit() -> None:
    run = running(restart=RestartPolicy(max=5))
    effects: list[Effect] = []
    for attempt in range(7):
        now_s = 100.0 * attempt
        run, effects = drive(
            run, (now_s, RankSpoke(0, attempt)), (now_s, RankDied(0, 1)), *both_ready(now_s)
        )
        if run.phase is Phase.ENDED:
            break
        run, _ = drive(run, (now_s + 50, Tick()))
    assert run.restarts == 5
    assert isinstance(effects[-1], End)
    assert "5 of 5 restarts are used" in effects[-1].detail


def test_backoff_doubles_while_nothing_is_gained_and_is_bounded() -> None:
    policy = RestartPolicy(backoff_s=1.0, backoff_max_s=60.0)
    waits = [supervisor.backoff_s(policy, n) for n in (0, 1, 2, 6, 100)]
    assert waits == [1.0, 2.0, 4.0, 60.0, 60.0]


def test_exit_codes_of_never_on_exit_end_the_run() -> None:
    run = running(restart=RestartPolicy(never_on_exit=(93,)))
    _, effects = drive(run, (1.0, RankSpoke(0, 1)), (2.0, RankDied(0, 93)), *both_ready(3.0))
    assert isinstance(effects[-1], End)
    assert effects[-1].exit_code == 93


def test_a_lost_node_restarts_the_attempt_when_its_new_agent_is_up() -> None:
    run, effects = drive(running(), (3.0, NodeGone("b", "its agent died")))
    assert effects == [KillRanks(1.0)]
    run, effects = drive(run, (3.1, NodeReady("a")))
    assert effects == []
    run, effects = drive(run, (4.0, NodeReady("b")))
    assert isinstance(effects[0], AttemptOver)
    assert effects[0].outcome.kind == "node"
    assert run.phase is Phase.WAITING


def test_a_lost_node_ends_the_run_as_node_fail_when_the_policy_does_not_name_it() -> None:
    run = running(restart=RestartPolicy(on=("error",)))
    _, effects = drive(run, (3.0, NodeGone("b", "its agent died")), *both_ready(4.0))
    assert isinstance(effects[-1], End)
    assert effects[-1].state is State.NODE_FAIL


def test_ranks_that_speak_get_the_grace_and_silent_ones_the_kill_wait() -> None:
    _, effects = drive(running(), (1.0, RankSpoke(0, 1)), (2.0, StopWanted("cancel")))
    assert effects == [AskToStop("cancel", 22.0)]
    _, effects = drive(running(), (2.0, StopWanted("cancel")))
    assert effects == [AskToStop("cancel", 12.0)]


def test_a_stop_is_never_turned_into_a_restart() -> None:
    run, effects = drive(
        running(),
        (1.0, RankSpoke(0, 1)),
        (2.0, StopWanted("cancel")),
        (3.0, RankDied(0, -15)),
        *both_ready(4.0),
    )
    assert effects[-1] == End(State.CANCELLED, 130, "stopped (cancel)")
    assert run.phase is Phase.ENDED


def test_ranks_that_do_not_leave_are_killed_at_the_deadline() -> None:
    run, _ = drive(running(), (2.0, StopWanted("cancel")))
    assert supervisor.next_wake_s(run) == 12.0
    _, effects = drive(run, (12.0, Tick()))
    assert effects == [KillRanks(0.0)]


def test_a_later_stop_can_only_bring_the_deadline_forward() -> None:
    run, _ = drive(running(), (2.0, StopWanted("cancel")))
    run, effects = drive(run, (3.0, StopWanted("cancel")))
    assert effects == []
    run = replace(run, spoke=True)
    _, effects = drive(run, (3.0, StopWanted("preempt", 1.0)))
    assert effects == [AskToStop("cancel", 4.0)]


@pytest.mark.parametrize("first", ["requeue", "preempt", "time"])
def test_a_cancel_wins_over_an_earlier_stop_while_the_run_still_saves(first: str) -> None:
    run = running(restart=RestartPolicy(on=("time",)))
    run, _ = drive(run, (1.0, RankSpoke(0, 1)), (2.0, StopWanted(first)))
    run, effects = drive(run, (3.0, StopWanted("cancel")))
    assert effects == [AskToStop("cancel", 22.0)]
    dead = (4.0, RankDied(0, 0)), (4.0, RankDied(1, 0))
    _, effects = drive(run, (3.5, StopWanted(first)), *dead, *both_ready(5.0))
    assert effects[-1] == End(State.CANCELLED, 130, "stopped (cancel)")


def test_a_cancel_wins_over_an_earlier_stop_while_nodes_are_cleared() -> None:
    run, _ = drive(running(), (2.0, StopWanted("requeue")), (3.0, RankDied(0, 0)))
    run, _ = drive(run, (3.0, RankDied(1, 0)), (3.5, StopWanted("cancel")))
    _, effects = drive(run, *both_ready(5.0))
    assert effects[-1] == End(State.CANCELLED, 130, "stopped (cancel)")


def test_a_stop_while_waiting_for_a_restart_ends_the_run_at_once() -> None:
    run, _ = drive(running(), (5.0, RankSpoke(0, 7)), (6.0, RankDied(1, -9)), *both_ready(7.0))
    _, effects = drive(run, (7.1, StopWanted("cancel")))
    assert effects[-1] == End(State.CANCELLED, 130, "stopped (cancel)")


def test_a_preempted_run_ends_as_preempted_so_that_its_engine_requeues_it() -> None:
    _, effects = drive(
        running(),
        (2.0, StopWanted("preempt")),
        (3.0, RankDied(0, 0)),
        (3.0, RankDied(1, 0)),
        *both_ready(4.0),
    )
    assert isinstance(effects[-1], End)
    assert effects[-1].state is State.PREEMPTED


def test_the_time_limit_asks_speaking_ranks_early_and_silent_ones_at_the_limit() -> None:
    run = running(limit_at_s=100.0)
    assert supervisor.next_wake_s(run) == 100.0
    run, _ = drive(run, (1.0, RankSpoke(0, 1)))
    assert supervisor.next_wake_s(run) == 80.0
    run, effects = drive(run, (80.0, Tick()))
    assert effects == [AskToStop("time", 100.0)]
    _, effects = drive(run, (85.0, RankDied(0, 0)), (85.0, RankDied(1, 0)), *both_ready(86.0))
    assert effects[-1] == End(State.TIMEOUT, 124, "stopped (time)")


def test_before_the_time_limit_stops_a_run_it_is_asked_once_whether_it_still_holds() -> None:
    run, _ = drive(running(limit_at_s=100.0, asks_limit=True), (1.0, RankSpoke(0, 1)))
    assert supervisor.next_wake_s(run) == 65.0
    run, effects = drive(run, (65.0, Tick()), (70.0, Tick()))
    assert effects == [AskLimit()]
    assert supervisor.next_wake_s(run) == 80.0
    _, effects = drive(run, (80.0, Tick()))
    assert effects == [AskToStop("time", 100.0)]


def test_a_time_limit_that_was_put_off_is_asked_for_again_before_the_new_one() -> None:
    run = running(limit_at_s=100.0, asks_limit=True)
    run, effects = drive(run, (85.0, Tick()), (86.0, LimitIs(400.0)), (100.0, Tick()))
    assert effects == [AskLimit()]
    assert supervisor.next_wake_s(run) == 385.0
    _, effects = drive(run, (385.0, Tick()), (386.0, LimitIs(400.5)), (400.0, Tick()))
    assert effects == [AskLimit(), AskToStop("time", 410.0)]


def test_more_time_comes_too_late_for_a_run_that_was_told_to_stop() -> None:
    run, _ = drive(running(limit_at_s=100.0, asks_limit=True), (1.0, RankSpoke(0, 1)))
    run, effects = drive(run, (80.0, Tick()), (81.0, LimitIs(400.0)), (100.0, Tick()))
    assert effects == [AskToStop("time", 100.0), KillRanks(0.0)]
    assert supervisor.next_wake_s(run) == 400.0


def test_a_hang_dumps_stacks_first_then_ends_the_attempt() -> None:
    run, _ = drive(running(), (1.0, RankSpoke(0, 1)))
    run, effects = drive(run, (601.0, Tick()))
    assert effects == [DumpStacks()]
    run, effects = drive(run, (606.0, Tick()))
    assert effects == [KillRanks(0.0)]
    assert run.outcome is not None
    assert run.outcome.kind == "hang"


def test_a_rank_that_speaks_again_while_stacks_are_written_is_not_killed() -> None:
    run, _ = drive(running(), (1.0, RankSpoke(0, 1)), (601.0, Tick()), (602.0, RankSpoke(0, 2)))
    _, effects = drive(run, (606.0, Tick()))
    assert effects == []


def test_a_suspended_run_has_its_hang_time_limit_and_time_to_save_still_before_it() -> None:
    run, _ = drive(running(limit_at_s=1000.0), (1.0, RankSpoke(0, 1)))
    run, effects = drive(run, (900.0, HeardNobody(890.0, suspended=True)), (900.0, Tick()))
    assert effects == []
    assert supervisor.next_wake_s(run) == 1.0 + 890.0 + 600.0
    run, _ = drive(run, (900.0, StopWanted("preempt")))
    run, effects = drive(run, (1000.0, HeardNobody(90.0, suspended=True)), (1000.0, Tick()))
    assert effects == []
    assert supervisor.next_wake_s(run) == 920.0 + 90.0


def test_a_lead_that_waited_for_a_file_holds_silence_against_nobody_but_knows_the_time() -> None:
    run, _ = drive(running(limit_at_s=1000.0), (1.0, RankSpoke(0, 1)))
    run, effects = drive(run, (700.0, HeardNobody(650.0, suspended=False)), (700.0, Tick()))
    assert effects == []
    assert supervisor.next_wake_s(run) == 980.0


def test_a_program_that_never_spoke_is_never_called_hung() -> None:
    _, effects = drive(running(), (100_000.0, Tick()))
    assert effects == []


def test_a_failed_start_ends_the_run_with_the_setup_exit_code() -> None:
    _, effects = drive(
        running(), (1.0, StartFailed("b", "setup ended with exit code 3", 3)), *both_ready(2.0)
    )
    assert isinstance(effects[-1], End)
    assert effects[-1].exit_code == 3


def test_memory_beyond_the_request_ends_the_run_as_out_of_memory() -> None:
    _, effects = drive(
        running(), (1.0, MemoryExceeded("a", "ranks use 2 GiB of 1")), *both_ready(2.0)
    )
    assert isinstance(effects[-1], End)
    assert effects[-1].state is State.OUT_OF_MEMORY


@pytest.mark.parametrize("event", [Tick(), NodeReady("a"), RankDied(0, 1), StopWanted("cancel")])
def test_nothing_follows_the_end(event: Event) -> None:
    ended, _ = drive(running(), (1.0, RankDied(0, 1)), *both_ready(2.0))
    assert ended.phase is Phase.ENDED
    assert on_event(ended, event, 3.0) == (ended, [])


def test_a_run_that_may_be_smaller_goes_on_without_a_dead_node() -> None:
    lost = (6.0, NodeGone("b", "gone"))
    run, _ = drive(running(nodes_min=1), (5.0, RankSpoke(0, 7)), lost, (7.0, NodeReady("a")))
    run, effects = drive(run, (20.0, NodeDead("b", "its agent died")))
    assert [type(effect) for effect in effects] == [AttemptOver]
    run, effects = drive(run, (30.0, Tick()))
    assert effects == [StartAttempt(1)]
    assert (run.world_size, run.nodes) == (1, frozenset({"a"}))
    _, effects = drive(run, (31.0, NodeReady("b")), (32.0, RankDied(0, 0)), (33.0, NodeReady("a")))
    assert effects[-1] == End(State.COMPLETED, 0, "all ranks ended well")


@pytest.mark.parametrize("nodes_min", [None, 2])
def test_a_run_that_needs_all_its_nodes_leaves_when_one_is_dead(nodes_min: int | None) -> None:
    _, effects = drive(new_run(nodes_min=nodes_min), (5.0, NodeDead("b", "its agent died")))
    assert isinstance(effects[-1], End)
    assert (effects[-1].state, effects[-1].exit_code) == (State.PREEMPTED, EXIT_NODE_LOST)


def test_attempts_of_earlier_leads_count_for_the_loop_guard() -> None:
    run = running(furthest_step=7, no_progress=2)
    _, effects = drive(run, (5.0, RankSpoke(0, 7)), (6.0, RankDied(1, 1)), *both_ready(7.0))
    assert isinstance(effects[-1], End)
    assert "3 attempts in a row got no further" in effects[-1].detail
