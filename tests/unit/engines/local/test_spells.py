"""What the files of a user may and may not say of a run."""

import json

import pytest

from headrace.core.events import Ended, Entry, Placed, Requeued, Started
from headrace.core.states import State
from headrace.engines.local.spells import attempts_claimed, claims_of, past_of, plain, sane_j


def entry(seq: int, event: object, time_s: float = 0.0, attempt: int = 0) -> Entry:
    return Entry(seq=seq, attempt=attempt, time_s=time_s, event=event)  # type: ignore[arg-type]


PLACE = (Placed(node="n", address="a", cpus=(0,)),)


def test_every_start_is_an_attempt_and_time_is_counted_while_the_place_is_held() -> None:
    past = past_of(
        [
            entry(0, Started(placed=PLACE), 10.0),
            entry(1, Requeued(reason="node", detail="the lead died"), 15.0),
            entry(2, Started(placed=PLACE), 20.0, attempt=1),
            entry(3, Ended(state="COMPLETED", exit_code=0, detail=""), 22.0, attempt=1),
        ]
    )
    assert past.state is State.COMPLETED
    assert [(one.number, one.outcome) for one in past.attempts] == [(0, "node"), (1, "completed")]
    assert past.lead_time_s == 7.0
    assert past.started_s == 10.0


@pytest.mark.parametrize(
    "event",
    [
        {"kind": "ended", "state": "ROOT", "exit_code": 0, "detail": ""},
        {"kind": "ended", "state": "COMPLETED", "exit_code": "0", "detail": ""},
        {"kind": "held", "by": "root"},
        {"kind": "started", "placed": []},
        {"kind": "no_such_kind"},
        7,
        pytest.param([[]], id="nested"),
    ],
)
def test_what_is_no_end_and_no_beginning_of_a_lead_is_left_out(event: object) -> None:
    line = json.dumps({"seq": 0, "attempt": 0, "time_s": 1.0, "event": event})
    line = line.replace("[[]]", "[" * 100_000)
    assert list(claims_of(f"{line}\nnot json\n\n{line[:20]}")) == []


def test_an_exit_code_is_bounded_and_words_are_one_plain_line() -> None:
    end = {"kind": "ended", "state": "FAILED", "exit_code": 10**9, "detail": "\x1b[2Jgone\n" * 99}
    line = json.dumps({"seq": 0, "attempt": 0, "time_s": 1.0, "event": end})
    (claim,) = claims_of(line)
    assert isinstance(claim.event, Ended)
    assert claim.event.exit_code == 255
    assert claim.event.detail.isprintable()
    assert len(claim.event.detail) <= 300


def test_attempts_are_shown_without_what_a_terminal_would_act_on() -> None:
    start = {"kind": "attempt_started", "world_size": 1, "nodes": ["a\x1b[31m"], "master": "x"}
    end = {
        "kind": "attempt_ended", "outcome": "er\aror", "detail": "\x9b31m", "step": 1,
        "restart_in_s": None,
    }  # fmt: skip
    lines = [
        json.dumps({"seq": n, "attempt": 0, "time_s": 1.0, "event": event})
        for n, event in enumerate((start, end))
    ]
    (row,) = attempts_claimed("\n".join(lines))
    assert "".join((*row.nodes, row.outcome or "", row.detail)).isprintable()


def test_an_energy_that_cannot_be_is_none() -> None:
    assert [sane_j(one) for one in (None, -1.0, float("nan"), 1e300, 5.0)] == [*[None] * 4, 5.0]


def test_plain_keeps_words_of_any_script() -> None:
    assert plain("größe  naïve\t日本\n") == "größe naïve 日本"
