"""Whatever was written, every second of a run has exactly one cause, and reading never fails."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.core.events import (
    AttemptEnded,
    AttemptStarted,
    CheckpointSaved,
    Ended,
    Entry,
    Event,
    GpuSample,
    Metric,
    NodeSample,
    PhaseChanged,
    Placed,
    Requeued,
    Started,
    StepMetric,
    Submitted,
)
from headrace.monitor.history import History, compose, load
from headrace.monitor.page import page
from headrace.monitor.report import report
from headrace.monitor.timeline import time_by_cause
from headrace.monitor.watch import Follower
from headrace.testing.rundirs import Story, write_run

BEGIN_S = 1_700_000_000.0
moments = st.floats(0, 500).map(lambda s: BEGIN_S + s)
lengths = st.floats(0, 50)
placed = st.just((Placed(node="a", address="h", cpus=(0, 1), gpus=(0,), memory_bytes=1 << 34),))
causes = st.sampled_from(["data", "forward_backward", "sync", "optimizer", "checkpoint", "x"])
events: st.SearchStrategy[Event] = st.one_of(
    st.just(Submitted(run_id="r", user="u", token="t")),
    placed.map(lambda where: Started(placed=where)),
    st.just(Requeued(reason="preempt", detail="")),
    st.just(AttemptStarted(world_size=2, nodes=("a",), master="m")),
    st.builds(
        AttemptEnded,
        outcome=st.sampled_from(["completed", "error", "hang", "oom", "stopped"]),
        detail=st.just("d"),
        step=st.none(),
        restart_in_s=st.none(),
    ),
    st.builds(
        PhaseChanged,
        rank=st.integers(0, 1),
        phase=st.sampled_from(["init", "restore", "steps", "evaluate", "checkpoint", "rollout"]),
        step=st.just(0),
    ),
    st.builds(
        CheckpointSaved,
        rank=st.integers(0, 1),
        step=st.integers(0, 9),
        path=st.just("p"),
        size_bytes=st.just(1),
        stall_s=lengths,
        durable_s=lengths,
    ),
    st.just(Ended(state="COMPLETED", exit_code=0, detail="")),
)
step_metrics = st.builds(
    StepMetric,
    rank=st.integers(0, 1),
    step=st.integers(0, 9),
    time_s=moments,
    samples=st.integers(0, 100),
    step_s=lengths,
    seconds=st.dictionaries(causes, lengths, max_size=5),
    values=st.dictionaries(st.just("loss"), st.one_of(st.none(), st.floats())),
)
node_samples = st.builds(
    NodeSample,
    time_s=moments,
    cpu_ratio=st.floats(0, 2),
    cpu_s=lengths,
    memory_bytes=st.integers(0, 1 << 40),
    gpus=st.lists(
        st.builds(
            GpuSample,
            index=st.just(0),
            utilization_ratio=st.floats(0, 1),
            memory_bytes=st.integers(0, 1 << 37),
            power_w=st.one_of(st.none(), st.floats(0, 700)),
        ),
        max_size=1,
    ).map(tuple),
    energy_j=st.one_of(st.none(), lengths),
    energy_parts=st.sampled_from([(), ("gpu",), ("cpu",), ("gpu", "cpu")]),
)
metrics: st.SearchStrategy[Metric] = st.one_of(step_metrics, node_samples)


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Events and metrics in any order, at any time, of up to three attempts."""
    drawn = draw(st.lists(st.tuples(st.integers(0, 2), moments, events), max_size=14))
    entries = [
        Entry(seq=seq, attempt=attempt, time_s=time_s, event=event)
        for seq, (attempt, time_s, event) in enumerate(drawn)
    ]
    entries.sort(key=lambda entry: (entry.attempt, entry.time_s))
    series = draw(
        st.dictionaries(
            st.tuples(st.integers(0, 2), st.sampled_from(["a", "b"])),
            st.lists(metrics, max_size=8),
            max_size=3,
        )
    )
    return compose(
        run_id="r-1", job="", entries=entries, metrics=series, placements={}, total_steps=None
    )


@given(histories())
def test_time_by_cause_adds_up_to_the_wall_time_and_is_never_negative(history: History) -> None:
    found = time_by_cause(history)
    assert sum(found.seconds.values()) == pytest.approx(history.end_s - history.begin_s, abs=1e-4)
    assert all(seconds >= 0 for seconds in found.seconds.values())
    assert 0 <= found.useful_s <= history.end_s - history.begin_s + 1e-4


@given(histories())
def test_each_step_is_kept_exactly_once_and_by_its_last_attempt(history: History) -> None:
    kept = history.kept_steps
    assert [m.step for m in kept] == sorted({step.metric.step for step in history.steps})
    for step in history.steps:
        last = max(s.attempt for s in history.steps if s.metric.step == step.metric.step)
        assert step.repeated or step.attempt == last


@given(histories())
def test_a_report_can_be_made_of_any_history(history: History) -> None:
    found = report(history)
    energy = found.usage.energy
    assert 0 <= found.goodput <= 1 + 1e-6
    if energy.total_kwh is not None:
        assert energy.total_kwh == pytest.approx(energy.measured_kwh + energy.estimated_kwh)
    assert page(found, b"").endswith("</html>\n")


STORY = Story(steps=6, checkpoint_every=2, crash_after=3, queue_s=2.0)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(cuts=st.lists(st.floats(0, 1), min_size=6, max_size=6))
def test_a_run_directory_torn_at_any_byte_loads_and_adds_up(
    cuts: list[float], tmp_path_factory: pytest.TempPathFactory
) -> None:
    run = write_run(tmp_path_factory.mktemp("torn"), STORY)
    files = sorted(
        path for path in run.root.rglob("*") if path.suffix in (".jsonl", ".json", ".yaml")
    )
    for path, cut in zip(files, cuts, strict=False):
        data = path.read_bytes()
        path.write_bytes(data[: int(cut * len(data))])
    history = load(run.root)
    seconds = time_by_cause(history).seconds
    assert sum(seconds.values()) == pytest.approx(history.end_s - history.begin_s, abs=1e-4)
    assert report(history).run_id == run.run_id
    assert Follower(run.root).frame(history.end_s).run_id == run.run_id


def test_the_story_that_is_torn_has_files_enough(tmp_path: Path) -> None:
    run = write_run(tmp_path, STORY)
    assert len([p for p in run.root.rglob("*") if p.suffix == ".jsonl"]) == 6
