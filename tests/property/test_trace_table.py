"""What the trace CSV writes it reads back, whatever the jobs."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.core.states import State
from headrace.schedule.queue import After, Queued
from headrace.schedule.request import Request
from headrace.simulate.readers import table
from headrace.simulate.trace import Trace, TraceJob

words = st.text(st.characters(categories=["L", "N"], include_characters="-_.#/"), min_size=1)
texts = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"], include_characters=' ,"|'))
names = texts.filter(lambda text: text == text.strip() and text != "")
times = st.floats(0, 1e11, allow_nan=False) | st.integers(0, 10**11).map(float)
counts = st.integers(1, 10_000)


@st.composite
def requests(draw: st.DrawFn) -> Request:
    least = draw(counts)
    return Request(
        nodes_min=least,
        nodes_max=draw(st.integers(least, 20_000)),
        ranks_per_node=draw(counts),
        cpus_per_rank=draw(counts),
        gpus_per_node=draw(st.integers(0, 16)),
        gpu_type=draw(st.none() | words.filter(lambda word: "-" not in word)),
        memory_bytes=draw(st.none() | st.integers(0, 1 << 50)),
    )


@st.composite
def jobs(draw: st.DrawFn, identity: str, others: list[str]) -> TraceJob:
    conditions = st.sampled_from(["ok", "notok", "any"])
    after = draw(st.lists(st.tuples(conditions, st.sampled_from(others)), max_size=2))
    return TraceJob(
        job=Queued(
            id=identity,
            request=draw(requests()),
            submitted_s=draw(times),
            limit_s=draw(st.none() | times),
            user=draw(texts),
            account=draw(texts),
            qos=draw(names),
            partitions=tuple(draw(st.lists(words, max_size=3))),
            constraint=draw(st.none() | names),
            reservation=draw(st.none() | names),
            priority=draw(st.integers(-9, 9)),
            nice=draw(st.integers(-9, 9)),
            held=draw(st.booleans()),
            begin_s=draw(st.none() | times),
            after=tuple(
                After(run_id=other, condition=condition, state=State.PENDING)
                for condition, other in after
            ),
            array_id=draw(st.none() | words),
            array_throttle=draw(st.none() | counts),
        ),
        run_s=draw(times),
        state=draw(st.sampled_from(State)),
        cancelled_s=draw(st.none() | times),
        start_s=draw(st.none() | times),
        end_s=draw(st.none() | times),
        allocated=draw(texts),
    )


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    identities = draw(st.lists(words, unique=True, min_size=1, max_size=5))
    drawn = [draw(jobs(one, identities)) for one in identities]
    drawn.sort(key=lambda one: one.job.submitted_s)
    return Trace(name="drawn", jobs=tuple(drawn))


@given(traces())
def test_what_is_written_is_read_back(trace: Trace) -> None:
    assert table.read("".join(table.write(trace)), name="drawn") == trace
