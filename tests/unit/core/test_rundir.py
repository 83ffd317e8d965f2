import resource
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.core.events import Noted
from headrace.core.rundir import EventWriter, RunDir, merged_events, read_events, read_lines


def note(text: str) -> Noted:
    return Noted(level="info", text=text)


def texts(run: RunDir, writer: str) -> list[tuple[int, str]]:
    found = []
    for entry in read_events(run.events / f"{writer}.jsonl"):
        assert isinstance(entry.event, Noted)
        found.append((entry.seq, entry.event.text))
    return found


def test_a_second_process_goes_on_with_the_next_number(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    for text in ("one", "two"):
        writer = EventWriter(run, "lead", now_s=lambda: 1.0)
        writer.write(note(text), attempt=0)
        writer.close()
    assert texts(run, "lead") == [(0, "one"), (1, "two")]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_file_torn_at_any_byte_reads_as_its_whole_lines_and_grows_without_gap(
    tmp_path: Path, data: st.DataObject
) -> None:
    run = RunDir(tmp_path)
    path = run.events / "lead.jsonl"
    path.unlink(missing_ok=True)
    writer = EventWriter(run, "lead", now_s=lambda: 1.0)
    for number in range(3):
        writer.write(note("x" * number), attempt=0, durable=True)
    writer.close()
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    survived = whole[:cut].count(b"\n")
    assert len(texts(run, "lead")) == survived
    writer = EventWriter(run, "lead", now_s=lambda: 2.0)
    writer.write(note("after"), attempt=0)
    writer.close()
    assert [seq for seq, _ in texts(run, "lead")] == list(range(survived + 1))
    assert texts(run, "lead")[-1][1] == "after"


def test_of_an_event_that_finds_no_room_nothing_is_left_and_the_next_try_is_whole(
    tmp_path: Path,
) -> None:
    run = RunDir(tmp_path)
    writer = EventWriter(run, "lead", now_s=lambda: 1.0)
    writer.write(note("first"), attempt=0)
    path = run.events / "lead.jsonl"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            writer.write(note("second"), attempt=0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    writer.write(note("second"), attempt=0)
    writer.close()
    assert texts(run, "lead") == [(0, "first"), (1, "second")]


def test_writers_are_merged_by_attempt_then_time(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    times = iter([5.0, 1.0, 3.0])
    lead = EventWriter(run, "lead", now_s=lambda: next(times))
    agent = EventWriter(run, "agent-a", now_s=lambda: next(times))
    lead.write(note("second attempt"), attempt=1)
    lead.write(note("first"), attempt=0)
    agent.write(note("second"), attempt=0)
    merged = [(writer, entry.event) for writer, entry in merged_events(run)]
    assert merged == [
        ("lead", note("first")),
        ("agent-a", note("second")),
        ("lead", note("second attempt")),
    ]
    lead.close()
    agent.close()


def test_events_of_a_newer_version_are_skipped(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.events.mkdir()
    known = b'{"seq":1,"attempt":0,"time_s":1,"event":{"kind":"held","by":"ada"}}\n'
    newer = b'{"seq":0,"attempt":0,"time_s":1,"event":{"kind":"teleported"}}\n'
    (run.events / "lead.jsonl").write_bytes(newer + known)
    assert [entry.seq for entry in read_events(run.events / "lead.jsonl")] == [1]


def test_an_absent_file_has_no_lines(tmp_path: Path) -> None:
    assert read_lines(tmp_path / "nothing") == []
